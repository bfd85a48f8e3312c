#!/bin/sh
# Runs the tests of TLS under valgrind: no invalid access, and no byte definitely lost. A quarter of an
# hour; tests with time limits of their own are left out, for all is slower by twenty.
set -eu
cd "$(dirname "$0")/.."

command -v valgrind >/dev/null || {
    echo "valgrind.sh: there is no valgrind; install the package valgrind"
    exit 1
}
subjects="rotation:: resumption:: trust:: settings:: identity:: certificates:: files:: crl:: protocol:: inspect:: ocsp::staple::"
tests=$(cargo test --locked --features "$(make --silent features)" --test it --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/it-[^"]*\)".*/\1/p')
[ -n "$tests" ]
# shellcheck disable=SC2086 # words, split on purpose
exec valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
    --error-exitcode=9 --fair-sched=yes "$tests" --test-threads=1 $subjects
