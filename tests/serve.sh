# Starts a server of the test bench and stops it when the script ends. demo.sh and static.sh source this
# file from the root of the tree. Sets $work, a folder that is removed when the script ends, and $port.
# The PKI is in $work/pki.
# shellcheck shell=sh disable=SC2034

work=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# The server prints 'ready PORT' when it is ready, and stops at the end of its input: the script waits on
# one pipe, and keeps the other one open until the end.
mkfifo "$work/input" "$work/output"
"${CARGO_TARGET_DIR:-target}/debug/mongotls-testbench" serve --dir "$work/pki" \
    <"$work/input" >"$work/output" &
server=$!
exec 3>"$work/input" 4<"$work/output"
if ! read -r word port <&4 || [ "$word" != ready ]; then
    echo "${0##*/}: the test bench did not start" >&2
    exit 1
fi
