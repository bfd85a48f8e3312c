#!/bin/sh
# Runs referee.py with PyMongo's runner. `make referee` calls it, after it has built the bench.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD
bench=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)/mongotls-testbench
spec=${SPEC_TESTS_DIR:-$here/../shared/spec-tests}
spec=$(cd "$spec" && pwd)
folder=$(sh tests/support/get-referee.sh)
cd "$folder/source"
exec "$folder/bin/python" "$here/tests/support/referee.py" "$bench" "$spec" "$here/tests/spec/server_cannot.txt" "$@"
