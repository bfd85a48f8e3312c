#!/bin/sh
# Builds FerretDB, the real MongoDB-compatible server that the tests run against,
# and prints the path of its binary on standard output. Progress goes to standard error.
#
# The binary is kept in ${MONGOTLS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/mongotls}
# and built only once. Two runs at the same time are safe: one builds, the other waits.
# Source and version come from the Go module proxy, whose checksums `go` verifies.
#
# Exit status: 0 built or found, 1 the build failed, 3 there is no `go`.
set -eu

version=1.24.2
module=github.com/FerretDB/FerretDB

cache=${MONGOTLS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/mongotls}
binary=$cache/ferretdb-$version
lock=$cache/ferretdb-$version.lock

say() { echo "get-ferretdb: $*" >&2; }

if [ -x "$binary" ]; then
    echo "$binary"
    exit 0
fi

if ! command -v go >/dev/null 2>&1; then
    say "FerretDB is built from source and there is no 'go' in PATH."
    say "Install Go 1.22 or newer (https://go.dev/dl/), or set MONGOTLS_FERRETDB to a FerretDB $version binary."
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
    say "waiting for another build (process ${owner:-unknown})"
    sleep 2
done
echo $$ >"$lock/pid"

work=$(mktemp -d "$cache/ferretdb-build.XXXXXX")
# The copy of the module is writable, so that `rm` can remove it.
trap 'rm -rf "$work" "$lock"' EXIT
trap 'exit 1' HUP INT TERM

if [ -x "$binary" ]; then # the other run built it while this one waited
    echo "$binary"
    exit 0
fi

say "fetching $module v$version"
mkdir "$work/fetch"
cd "$work/fetch"
printf 'module fetch\n\ngo 1.22\n\nrequire %s v%s\n' "$module" "$version" >go.mod
go mod download "$module" >&2
source=$(go list -mod=mod -m -f '{{.Dir}}' "$module")

cp -R "$source" "$work/source"
chmod -R u+w "$work/source"
cd "$work/source"
# The release is generated from a tag; without this file the program panics when it starts.
echo "v$version" >build/version/version.txt

say "building (a few minutes the first time)"
go build -o "$work/ferretdb" ./cmd/ferretdb >&2
mv "$work/ferretdb" "$binary"
say "ready: $binary"
echo "$binary"
