#!/bin/sh
# Shows the command line with a server of the test bench: a ping, an insert, a find, a check of the
# connection, and then a failure with its explanation. Every exit code is checked.
set -eu
cd "$(dirname "$0")/.."

echo "Building the command line and the test bench. The first time this takes about 3 minutes on two"
echo "cores, 1 GB of disk, and a download of up to 60 MB from crates.io."
cargo build --workspace --features "$(make --silent --no-print-directory features)"
PATH=${CARGO_TARGET_DIR:-target}/debug:$PATH

# shellcheck source=tests/serve.sh
. tests/serve.sh
echo "A MongoDB from the test bench listens on port $port, with TLS and new certificates."

# Prints a command line, runs it, and compares its exit code. Keeps the output in $work/said.
show() { # exit code, command...
    expected=$1
    shift
    printf '\n$'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    echo
    code=0
    "$@" >"$work/said" 2>&1 </dev/null || code=$?
    cat "$work/said"
    if [ "$code" != "$expected" ]; then
        echo "demo: exit code $code instead of $expected" >&2
        exit 1
    fi
}

uri="mongodb://localhost:$port/?tls=true&tlsCAFile=$work/pki"

show 0 mongotls ping "$uri/ca.pem" -c 3
show 0 mongotls run "$uri/ca.pem" test '{"insert": "things", "documents": [{"_id": 1, "name": "first"}]}'
show 0 mongotls run "$uri/ca.pem" test '{"find": "things"}'
grep -q first "$work/said" || {
    echo "demo: find does not return the inserted document" >&2
    exit 1
}
show 0 mongotls doctor "$uri/ca.pem"
show 0 mongotls inspect "$work/pki/ca.pem"

printf '\nNow with the certificate of another CA. This must fail with exit code 1 and explain why:\n'
show 1 mongotls doctor "$uri/other-ca.pem"
grep -qE 'issuer-unknown|untrusted-root' "$work/said" || {
    echo "demo: the failure does not name its cause" >&2
    exit 1
}

printf '\nDemo done: five commands succeeded, one failed as expected (exit code 1) and named its cause.\n'
