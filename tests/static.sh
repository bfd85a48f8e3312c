#!/bin/sh
# Checks that the command line is static, and runs it in an empty root: a folder that contains only the
# program, entered by chroot. It has no libraries, no openssl.cnf, no trust anchors, no /etc/hosts and no /dev.
#
#   tests/static.sh BINARY     `make static` builds it and calls this script
#
# Run it as root, or as a user who may create a user namespace.
set -eu
binary=$(realpath "$1")
cd "$(dirname "$0")/.."
say() { echo "static: $*"; }

# There must be no interpreter, which would load libraries, and no library to load. (A static program may
# be position-independent; then it also has a dynamic section.)
if readelf --wide --program-headers --dynamic "$binary" | grep -E 'INTERP|\(NEEDED\)'; then
    say "$binary is not static: see the lines above"
    exit 1
fi
say "static, $(du -h "$binary" | cut -f 1): ${binary##*/}"

say "building the test bench"
cargo build --quiet --package mongotls-testbench
# shellcheck source=tests/serve.sh
. tests/serve.sh

root=$work/root
mkdir "$root"
cp "$binary" "$root/mongotls"
enter=
if [ "$(id -u)" != 0 ]; then
    enter="unshare --map-root-user"
fi
chroot=$(PATH=$PATH:/usr/sbin:/sbin command -v chroot)

# Runs the program with these arguments. Its exit code and its output must be as expected.
check() { # title, exit code, pattern, arguments...
    what=$1 expected=$2 pattern=$3
    shift 3
    code=0
    # shellcheck disable=SC2086 # words, split on purpose
    env -i $enter "$chroot" "$root" /mongotls "$@" >"$work/said" 2>&1 </dev/null || code=$?
    if [ "$code" != "$expected" ] || ! grep -qE "$pattern" "$work/said"; then
        cat "$work/said"
        say "FAILED: $what: exit code $code, expected $expected and the text '$pattern'"
        exit 1
    fi
    say "passed: $what: $(grep -oE "$pattern" "$work/said" | head -n 1)"
}

server_uri="mongodb://127.0.0.1:$port/?tls=true"

check 'it starts' 0 'OpenSSL 3[0-9.]*' --version
# No CA file: the built-in roots must exist, and must not contain the CA of the test bench.
check 'the roots are built in' 1 '"trust_anchors": "[1-9][0-9]* built in"' doctor "$server_uri" --json
check 'they do not contain the CA' 1 '"cause": "(issuer-unknown|untrusted-root)"' doctor "$server_uri" --json
check 'a missing CA file is reported' 1 '"cause": "ca-file-unreadable"' \
    doctor "$server_uri&tlsCAFile=/ca.pem" --json
check 'a name cannot be resolved' 1 '"cause": "dns-(failed|not-found)"' \
    doctor 'mongodb://db.example.com/?tls=true&connectTimeoutMS=1000' --json

[ "$(ls -A "$root")" = mongotls ] || {
    say "FAILED: the root is no longer empty"
    exit 1
}
cp "$work/pki/ca.pem" "$root"
check 'the server is verified' 0 '"verification": "verified"' \
    doctor "$server_uri&tlsCAFile=/ca.pem" --json
check 'a command is answered' 0 '"ok":.*' run "$server_uri&tlsCAFile=/ca.pem" test '{"ping": 1}'
