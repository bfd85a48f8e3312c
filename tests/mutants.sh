#!/bin/sh
# Checks that a test under faults finds wrong implementations: it changes a copy of the source, one mistake at a time, and
# expects the test to fail. `make bank-mutants` and `make watch-mutants` run it.
#
#   tests/mutants.sh bank|watch FEATURES
#
# MONGOTLS_BANK_SECONDS and MONGOTLS_WATCH_SECONDS set the time of each run (default: 20).
set -eu
cd "$(dirname "$0")/.."
suite=$1
features=$2
target=${CARGO_TARGET_DIR:-$PWD/target}/mutants
copy=$target/source
mkdir -p "$target"
case $suite in
    bank) tests=bank::no_money ;;
    watch) tests=change_stream_soak:: ;;
    *)
        echo "mutants: no such suite: $suite" >&2
        exit 2
        ;;
esac
export MONGOTLS_BANK_SECONDS="${MONGOTLS_BANK_SECONDS:-20}"
export MONGOTLS_WATCH_SECONDS="${MONGOTLS_WATCH_SECONDS:-20}"
export MONGOTLS_REQUIRE_PEERS=1

rm -rf "$copy"
mkdir "$copy"
# The files are newer than an earlier build, which has a mistake.
git ls-files -z | tar --null --files-from=- --create | tar --extract --touch --directory="$copy"

failed=0
mutant() { # name, file, text, replacement
    python3 - "$copy/$2" "$3" "$4" <<'END'
import sys
path, old, new = sys.argv[1:]
text = open(path).read()
if text.count(old) != 1:
    sys.exit(f"mutants: {path} has {text.count(old)} times: {old}")
open(path, "w").write(text.replace(old, new))
END
    status=0
    (cd "$copy" && timeout 900 cargo test --quiet --features "$features" --target-dir "$target/build" --test it "$tests" -- \
        --test-threads=1) </dev/null >"$target/log" 2>&1 || status=$?
    cp "$2" "$copy/$2"
    if [ "$status" = 0 ]; then
        echo "SURVIVED: $1"
        failed=1
    elif [ "$status" = 124 ]; then
        echo "NOT ENDED: $1"
        failed=1
    elif grep -q '^error' "$target/log" && ! grep -q 'panicked at' "$target/log"; then
        echo "NOT BUILT: $1; see $target/log"
        failed=1
    else
        echo "killed: $1"
        grep -A2 'panicked at tests/it/' "$target/log" | sed -n 2p | cut -c 1-200 | sed 's/^/    /'
    fi
}

case $suite in
bank)
    mutant 'a fresh txnNumber for a repeated commit' src/session/transaction.rs \
        '        self.number.get()' \
        '        self.number.get() + i64::from(self.needs_majority.get())'
    mutant 'no majority for a repeated commit' src/session/transaction.rs \
        'if self.needs_majority.get() {' 'if false {'
    mutant 'the label TransientTransactionError is ignored' src/transaction/run.rs \
        'Err(match error.has_label(TRANSIENT) {' 'Err(match false {'
    mutant 'the label UnknownTransactionCommitResult is ignored' src/transaction/run.rs \
        'let is_unknown = error.has_label(UNKNOWN_COMMIT);' 'let is_unknown = false;'
    mutant 'a spoiled transaction is committed' src/transaction/run.rs \
        'Some(failure) if is_open => Err(spoiled(failure)),' \
        'Some(failure) if is_open => { drop(spoiled(failure)); Ok(value) }'
    ;;
watch)
    mutant 'a stream continues without a token' src/change_stream/position.rs \
        '(Some(token), _) => stage.append(cstr!("resumeAfter"), token.as_document()),' \
        '(Some(_), _) => {}'
    mutant 'each event has the token behind its batch' src/change_stream/stream.rs \
        'let post_batch = post_batch.filter(|_| self.cursor.is_at_end_of_batch());' ''
    mutant 'only the last event of a batch changes the token' src/change_stream/position.rs \
        'self.token = Some(ResumeToken::new(post_batch.unwrap_or(id)));' \
        'if let (Some(token), _) = (post_batch, id) { self.token = Some(ResumeToken::new(token)); }'
    mutant 'a lost cursor ends the stream' src/change_stream/position.rs \
        'Some(failure) if failure.code == CURSOR_NOT_FOUND => true,' \
        'Some(failure) if failure.code == CURSOR_NOT_FOUND => false,'
    mutant 'an error of the network ends the stream' src/change_stream/position.rs \
        'ErrorKind::Network
                | ErrorKind::Timeout' 'ErrorKind::Timeout'
    ;;
esac
exit $failed
