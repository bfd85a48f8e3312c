#!/bin/sh
# Builds the selected workers separately and compares them. `make bench` runs it.
#
#   benches/peers/bench.sh [WORKLOAD]... [PEER]... [ROUNDS]
#
# Without the name of a peer, it compares all of them. An unknown word prints the list of all words.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}/peers
programs=$target/release

say() { echo "bench: $*"; }

# Prints only errors of the build.
build() { # package, what else cargo is told
    say "building $1"
    package=$1
    shift
    cargo build --quiet ${LOCKED-} --release --manifest-path "$here/Cargo.toml" --target-dir "$target" \
        --package "$package" "$@"
}

build_peer() {
    case $1 in
        floor | mongotls) build "worker-$1" ;;
        official-*) build worker-official --features "${1#official-}" ;;
        libmongoc)
            say "building worker-libmongoc"
            # shellcheck disable=SC2046 # words, split on purpose
            "${CC:-cc}" -O2 -Wall -Wextra -o "$programs/worker-libmongoc" "$here/libmongoc/worker.c" \
                $(pkg-config --cflags --libs libmongoc-1.0) -pthread
            ;;
        pymongo)
            wanted=$here/pymongo/requirements.txt
            if ! cmp -s "$wanted" "$programs/pymongo/requirements.txt"; then
                say "installing PyMongo into $programs/pymongo"
                python3 -m venv --clear "$programs/pymongo"
                "$programs/pymongo/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
                cp "$wanted" "$programs/pymongo/"
            fi
            ;;
    esac
}

all="floor mongotls libmongoc official-openssl official-rustls pymongo"
peers=
for word in "$@"; do
    case " $all " in
        *" $word "*) peers="$peers $word" ;;
    esac
done

build compare
"$programs/compare" check "$@"
for peer in ${peers:-$all}; do
    build_peer "$peer"
done
exec "$programs/compare" "$@"
