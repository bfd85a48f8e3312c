#!/bin/sh
# Shows a program and the command line with a server of the test bench: a ping, documents of a collection, a
# check of the connection, and then a failure with its explanation. Every exit code is checked.
set -eu
cd "$(dirname "$0")/.."

echo "Building the command line, an example and the test bench. The first time this takes about 3 minutes on two"
echo "cores, 1 GB of disk, and a download of up to 60 MB from crates.io."
cargo build --workspace --lib --bins --example collections \
    --features "$(make --silent --no-print-directory features)"
PATH=${CARGO_TARGET_DIR:-target}/debug:${CARGO_TARGET_DIR:-target}/debug/examples:$PATH

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
printf '\nexamples/collections.rs is a program that works with documents of its own type:\n'
show 0 collections "$uri/ca.pem"
grep -q '^left: 500$' "$work/said" || {
    echo "demo: the program has not stored its documents" >&2
    exit 1
}
printf '\nThe command line sees them, too:\n'
show 0 mongotls run "$uri/ca.pem" shop '{"find": "things", "filter": {"kind": "bolt"}, "limit": 2}' --all
grep -q '"_id":1,' "$work/said" || {
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
