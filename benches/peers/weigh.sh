#!/bin/sh
# Measures the smallest program with mongotls and with the mongodb crate. `make bench-weight` runs it.
#
# Crates: those that cargo compiles for it, without the program itself. Time: a release build if nothing is built yet
# and all crates are downloaded. Size: that of the program without symbols.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}/peers/weight
manifest=$here/Cargo.toml

cargo fetch --quiet ${LOCKED-} --manifest-path "$manifest"
cores=$(nproc)
printf '| %-20s | %6s | %17s | %13s |\n' "hello and a ping" crates "release build" "stripped size"
echo "|---|--:|--:|--:|"
for name in mongotls official; do
    crates=$(cargo tree --quiet --locked --manifest-path "$manifest" --package "hello-ping-$name" \
        --edges normal,build --prefix none --no-dedupe --format '{p}' |
        sed 's/ (.*//' | sort -u | grep -vc "^hello-ping-")
    rm -rf "$target"
    begun=$(date +%s.%N)
    cargo build --quiet --locked --release --manifest-path "$manifest" --target-dir "$target" \
        --package "hello-ping-$name"
    seconds=$(echo "$(date +%s.%N) $begun" | awk '{ printf "%.1f", $1 - $2 }')
    strip -o "$target/stripped" "$target/release/hello-ping-$name"
    size=$(wc -c <"$target/stripped" | awk '{ printf "%.2f", $1 / 1e6 }')
    printf '| %-20s | %6s | %17s | %13s |\n' "$name" "$crates" "$seconds s, $cores cores" "$size MB"
done
rm -rf "$target"
