#!/bin/sh
# Checks that the bank test finds wrong implementations of transactions: it changes a copy of the source, one mistake at a
# time, and expects the test to fail. `make bank-mutants` runs it.
#
#   tests/bank-mutants.sh FEATURES
#
# MONGOTLS_BANK_SECONDS sets the time of each run (default: 20).
set -eu
cd "$(dirname "$0")/.."
features=$1
target=$PWD/target/bank-mutants
copy=$target/source
mkdir -p "$target"

failed=0
mutant() { # name, file, text, replacement
    rm -rf "$copy"
    mkdir "$copy"
    git ls-files -z | tar --null --files-from=- --create | tar --extract --directory="$copy"
    python3 - "$copy/$2" "$3" "$4" <<'END'
import sys
path, old, new = sys.argv[1:]
text = open(path).read()
if text.count(old) != 1:
    sys.exit(f"bank-mutants: {path} has {text.count(old)} times: {old}")
open(path, "w").write(text.replace(old, new))
END
    if (cd "$copy" && MONGOTLS_BANK_SECONDS=${MONGOTLS_BANK_SECONDS:-20} MONGOTLS_REQUIRE_PEERS=1 \
        cargo test --quiet --features "$features" --target-dir "$target/build" --test it \
        bank::no_money -- --test-threads=1) >"$target/log" 2>&1; then
        echo "SURVIVED: $1"
        failed=1
    elif grep -q '^error' "$target/log" && ! grep -q 'panicked at' "$target/log"; then
        echo "NOT BUILT: $1; see $target/log"
        failed=1
    else
        echo "killed: $1"
        grep -A2 'panicked at tests/it/bank.rs' "$target/log" | head -n 3 | cut -c 1-200 | sed 's/^/    /'
    fi
}

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
exit $failed
