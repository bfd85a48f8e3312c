#!/bin/sh
# Installs SecantusDB, a MongoDB-compatible server, which stores the documents in tests of whole operations,
# and prints the path of its program on standard output. Progress goes to standard error.
#
# It is a Python package with a compiled part, in a virtual environment of its own:
# ${MONGOTLS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/mongotls}/secantusdb-VERSION. It is installed only once.
# Two runs at the same time are safe: one installs, the other waits. Versions are pinned, and pip compares the
# downloads with the registry's checksums.
#
# `get-secantus.sh download FOLDER X.Y` instead downloads the packages for Python X.Y into FOLDER, for a system that
# cannot reach the registry: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER installs them there.
#
# Exit status: 0 installed or found, 1 the installation failed, 3 there is no Python with `venv`.
set -eu

version=0.7.0b3
# Its requirements, pinned too, so that every run tests the same server.
requirements="dnspython==2.9.2 future==1.0.0 numpy==2.4.6 pymongo==4.20.1 python-dateutil==4.0.0 s2sphere==0.2.5
    shapely==2.2.0 tzdata==2026.6"

cache=${MONGOTLS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/mongotls}
venv=$cache/secantusdb-$version
program=$venv/bin/secantusd-py
lock=$venv.lock

say() { echo "get-secantus: $*" >&2; }

if [ "${1-}" = download ]; then
    machine=$(uname -m)
    # shellcheck disable=SC2086 # words, split on purpose
    python3 -m pip download --quiet --disable-pip-version-check --dest "$2" --only-binary :all: --no-deps \
        --implementation cp --python-version "$3" --platform "manylinux_2_28_$machine" \
        --platform "manylinux_2_27_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine" \
        "secantusdb==$version" $requirements
    exit
fi

# An upgrade of the system's Python can leave an environment behind that no longer starts.
works() { [ -x "$program" ] && "$venv/bin/python" -c 'import secantus' 2>/dev/null; }

if works; then
    echo "$program"
    exit 0
fi

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    say "SecantusDB is a Python package, and there is no 'python3' with the module 'venv' in PATH."
    say "Install Python 3.11 or newer (Debian: python3 and python3-venv), or set MONGOTLS_SECANTUS to a program."
    exit 3
fi

mkdir -p "$cache"

# A folder is the lock, because creating one is atomic everywhere. A lock of a dead process is removed.
until mkdir "$lock" 2>/dev/null; do
    owner=$(cat "$lock/pid" 2>/dev/null || true)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
        say "process $owner left its lock behind; removing $lock"
        rm -rf "$lock"
        continue
    fi
    say "waiting for another installation (process ${owner:-unknown})"
    sleep 2
done
echo $$ >"$lock/pid"
trap 'rm -rf "$lock"' EXIT
trap 'exit 1' HUP INT TERM

if works; then # the other run installed it while this one waited
    echo "$program"
    exit 0
fi

say "installing secantusdb $version in $venv"
rm -rf "$venv"
python3 -m venv "$venv" >&2
# shellcheck disable=SC2086 # words, split on purpose
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    "secantusdb==$version" $requirements >&2 || ! works; then
    rm -rf "$venv"
    say "The installation failed. SecantusDB $version has packages for Python 3.11 to 3.13 on Linux."
    exit 1
fi
say "ready: $program"
echo "$program"
