# Another Debian to build in. .ci/msrv, .ci/openssl-1.1.1 and .ci/minimal source it from the root of
# the tree.
#
# It is a small system in a cache folder outside the tree, entered by chroot. It holds copies of the
# sources and crates instead of mounts, and cargo runs offline. Compiled files stay in it, so the next
# run is short.
# shellcheck shell=sh

say() { echo "${0##*/}: $*"; }

debian_is_possible() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

# Sets $root to the Debian of that number, and creates it if it does not exist. An optional purpose
# gives it a root of its own.
debian() { # number, name, packages, [purpose]
    cache=${MONGOTLS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/mongotls}
    root=$cache/debian-$1${4:+-$4}
    [ ! -d "$root" ] || return 0
    sh tests/setup.sh debian
    say "creating a small Debian $1 in $root (some minutes, once)"
    mkdir -p "$cache"
    rm -rf "$root.part" # left by an interrupted run
    debootstrap --variant=minbase --include="$3" \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        "$2" "$root.part" http://deb.debian.org/debian >"$root.log" || {
        say "debootstrap failed. The last lines of $root.log:"
        tail -n 5 "$root.log"
        exit 1
    }
    mv "$root.part" "$root"
}

# Copies the tree to /tree and its crates to /crates.
debian_copy() {
    say "copying the tree and its crates"
    rm -rf "$root/tree"
    mkdir -p "$root/tree/.cargo"
    # Every file that git tracks or would add. A deleted file that is not committed yet is not an error.
    # Every file gets a new date (-m), because cargo compares dates and another checkout may be cached.
    git ls-files -z --cached --others --exclude-standard |
        tar --null --files-from=- --ignore-failed-read -cf - 2>/dev/null | tar -xmf - -C "$root/tree"
    cargo vendor --quiet --locked --versioned-dirs "$root/crates" >/dev/null
    printf '[source.crates-io]\nreplace-with = "copies"\n[source.copies]\ndirectory = "/crates"\n' \
        >"$root/tree/.cargo/config.toml"
}

# Copies the Rust toolchain in use here to /rust, without the documentation.
debian_toolchain() {
    toolchain=$(rustc --version)
    [ "$(cat "$root/rust/version" 2>/dev/null)" != "$toolchain" ] || return 0
    say "copying the toolchain, $toolchain"
    rm -rf "$root/rust" "$root/target" # the output of another compiler is useless
    mkdir "$root/rust"
    (cd "$(rustc --print sysroot)" && tar -cf - bin/cargo bin/rustc bin/rustdoc lib) |
        tar -xf - -C "$root/rust"
    echo "$toolchain" >"$root/rust/version"
}

# Runs a shell command in /tree. /proc and /dev/pts, which tests with a terminal need, are mounted only for
# that command, and are unmounted with it.
debian_run() { # command
    # shellcheck disable=SC2016 # $1 and $2 are for the inner shell
    unshare --mount --propagation private sh -c '
        mount -t proc proc "$1/proc"
        mount -t devpts -o ptmxmode=0666 devpts "$1/dev/pts"
        exec chroot "$1" env -i PATH=/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            CARGO_TARGET_DIR=/target CARGO_NET_OFFLINE=true sh -euc "cd /tree; $2"' - "$root" "$1"
}
