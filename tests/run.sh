#!/bin/sh
# Runs all tests. Then lists the tests that could not run, and how to get what they need.
#
#   tests/run.sh FEATURES [CARGO-OPTION...]     `make test` calls it
#
# A failure does not stop the rest. MONGOTLS_REQUIRE_PEERS=1 turns a missing server into a failure.
set -u
cd "$(dirname "$0")/.." || exit 1
features=$1
shift

cat <<'END'
The first run builds everything: about 10 minutes on two cores, 5 GB of disk. It downloads crates from
crates.io, SecantusDB from PyPI and, if Go is installed, FerretDB's source from the Go module proxy
(250 MB in total).
Later runs take about 5 minutes.
END

skipped=
skip() { # what, reason and remedy
    skipped="$skipped
SKIPPED: $1
  $2"
}

failed=0
if [ -z "${MONGOTLS_FERRETDB-}" ]; then
    sh tests/support/get-ferretdb.sh >/dev/null || {
        [ -z "${MONGOTLS_REQUIRE_PEERS-}" ] || failed=1
        skip "the tests against FerretDB" \
            "It could not be built; the lines that begin with 'get-ferretdb' explain why."
    }
fi
if [ -z "${MONGOTLS_SECANTUS-}" ]; then
    sh tests/support/get-secantus.sh >/dev/null || {
        [ -z "${MONGOTLS_REQUIRE_PEERS-}" ] || failed=1
        skip "the tests against SecantusDB" \
            "It could not be installed; the lines that begin with 'get-secantus' explain why."
    }
fi
[ -n "${SPEC_TESTS_DIR-}" ] || [ -d ../shared/spec-tests ] ||
    skip "the specifications' tests, whose files are not part of this repository. To run them:" \
        "git clone https://github.com/mongodb/specifications
  SPEC_TESTS_DIR=\$PWD/specifications/source make test"

cargo test --no-fail-fast "$@" --workspace --features "$features" || failed=1
# Without the default features, the error must name the missing feature.
cargo test --no-fail-fast "$@" --lib --no-default-features auth:: || failed=1

# 200 sequences of operations, compared with those of other drivers. An old Rust cannot build them.
case " $* " in *" --locked "*) LOCKED=--locked && export LOCKED ;; esac
status=0
sh tests/differential.sh 200 || status=$?
case $status in
    0) ;;
    3) skip "the comparison with other drivers" "The lines that begin with 'differential' explain why." ;;
    *) failed=1 ;;
esac

[ -z "$skipped" ] || printf '%s\n' "$skipped"
if [ "$failed" != 0 ]; then
    printf '\nSome tests FAILED: see above.\n'
    exit 1
fi
printf '\nAll tests that could run have passed.\n'
