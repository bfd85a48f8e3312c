#!/bin/sh
# Runs the TLS tests under valgrind: no invalid access, and no byte definitely lost. It takes a quarter of
# an hour. Tests with their own time limits are left out, because everything is twenty times slower.
set -eu
cd "$(dirname "$0")/.."

command -v valgrind >/dev/null || {
    echo "valgrind.sh: valgrind is missing; install the package valgrind"
    exit 1
}
subjects="rotation:: resumption:: trust:: settings:: identity:: certificates:: files:: crl:: protocol:: inspect:: ocsp::staple::"
tests=$(cargo test --locked --features "$(make --silent --no-print-directory features)" --test it --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/it-[^"]*\)".*/\1/p')
[ -n "$tests" ]
# shellcheck disable=SC2086 # words, split on purpose
exec valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    --error-exitcode=9 --fair-sched=yes "$tests" --test-threads=1 $subjects
