#!/bin/sh
# Builds the differential test and runs it: the same operations through this crate, the `mongodb` crate and PyMongo.
#
#   tests/differential.sh SEEDS [ferretdb]     `make differential` and `make test` call it
#
# SEEDS is a number of seeds, or FIRST-END. PyMongo is that of SecantusDB's environment, or of the Python that
# MONGOTLS_PYMONGO names. With `ferretdb` the documents are in FerretDB instead of SecantusDB.
#
# Exit status: 0 no difference, 1 a difference or a failure, 3 something that it needs is missing.
set -eu
cd "$(dirname "$0")/.."

say() { echo "differential: $*" >&2; }

secantus=${MONGOTLS_SECANTUS:-$(sh tests/support/get-secantus.sh)} || {
    say "SecantusDB could not be installed; the lines that begin with 'get-secantus' explain why."
    exit 3
}
python=${MONGOTLS_PYMONGO:-$(dirname "$secantus")/python}
"$python" -c 'import pymongo' 2>/dev/null || {
    say "There is no PyMongo in $python. Set MONGOTLS_PYMONGO to a Python with pymongo 4.20."
    exit 3
}

target=${CARGO_TARGET_DIR:-target}/peers
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
say "building (a few minutes the first time)"
# shellcheck disable=SC2086 # no word, or one
cargo build --quiet ${LOCKED-} --manifest-path benches/peers/Cargo.toml --target-dir "$target" \
    --package differential 2>"$log" || {
    cat "$log" >&2
    if grep -q 'is not supported by the following packages' "$log"; then
        say "The mongodb crate needs a newer Rust."
        exit 3
    fi
    exit 1
}
"$target/debug/differential" "$1" "$python" ${2+"$2"}
