#!/bin/sh
# Installs PyMongo with its runner of the specifications' unified tests, and prints the folder. Progress goes to
# standard error. `make referee` uses it.
#
# The folder is ${MONGOTLS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/mongotls}/pymongo-VERSION: a virtual environment,
# and in `source` the Python files of the source distribution's folder `test`. Its JSON files are the
# specifications' tests; they are not extracted, because the runner gets those of SPEC_TESTS_DIR.
#
# Exit status: 0 installed or found, 1 the installation failed, 3 there is no Python with `venv`.
set -eu

version=4.20.1

cache=${MONGOTLS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/mongotls}
folder=$cache/pymongo-$version

say() { echo "get-referee: $*" >&2; }

if [ -f "$folder/source/test/unified_format.py" ]; then
    echo "$folder"
    exit 0
fi

if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    say "There is no 'python3' with the module 'venv' in PATH (Debian: python3 and python3-venv)."
    exit 3
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/pymongo-install.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

say "installing pymongo $version and its test runner in $folder"
rm -rf "$folder"
python3 -m venv "$folder" >&2
pip="$folder/bin/python -m pip --quiet --disable-pip-version-check"
$pip install "pymongo==$version" 'pytest==9.0.2' >&2
$pip download --no-deps --no-binary pymongo --dest "$work" "pymongo==$version" >&2
mkdir "$work/source"
tar -xzf "$work/pymongo-$version.tar.gz" -C "$work/source" --strip-components=1 --wildcards '*/test/*.py'
mv "$work/source" "$folder/source"
say "ready: $folder"
echo "$folder"
