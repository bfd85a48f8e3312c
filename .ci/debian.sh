# Another Debian to build in: sourced by .ci/msrv and .ci/openssl-1.1.1, from the root of the tree.
#
# It is a small one in a cache folder outside of the tree, entered by chroot, with copies of sources
# and crates instead of mounts, and for cargo without network. What is compiled stays in it, so that
# the next run is short.
# shellcheck shell=sh

say() { echo "${0##*/}: $*"; }

debian_is_possible() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

# Sets $root to a Debian of that number, and makes it if it is not there.
debian() { # number, name, packages
    cache=${MONGOTLS_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/mongotls}
    root=$cache/debian-$1
    [ ! -d "$root" ] || return 0
    sh tests/setup.sh debian
    say "making a small Debian $1 in $root (some minutes, once)"
    mkdir -p "$cache"
    rm -rf "$root.part" # of a run that was broken off
    debootstrap --variant=minbase --include="$3" \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        "$2" "$root.part" http://deb.debian.org/debian >"$root.log" || {
        say "debootstrap failed; its last words, from $root.log:"
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
    # What git knows or would add, as it stands now; a file deleted and not yet committed is no error.
    # All of it is new (-m), for cargo goes by dates, and another checkout may have been here before.
    git ls-files -z --cached --others --exclude-standard |
        tar --null --files-from=- --ignore-failed-read -cf - 2>/dev/null | tar -xmf - -C "$root/tree"
    cargo vendor --quiet --locked --versioned-dirs "$root/crates" >/dev/null
    printf '[source.crates-io]\nreplace-with = "copies"\n[source.copies]\ndirectory = "/crates"\n' \
        >"$root/tree/.cargo/config.toml"
}

# Runs a shell command in /tree. /proc is mounted for that command alone: no one else sees it, and it
# is gone with the command, however that ends.
debian_run() { # command
    # shellcheck disable=SC2016 # $1 and $2 are for the inner shell
    unshare --mount --propagation private sh -c '
        mount -t proc proc "$1/proc"
        exec chroot "$1" env -i PATH=/rust/bin:/usr/bin:/bin HOME=/root \
            CARGO_TARGET_DIR=/target CARGO_NET_OFFLINE=true sh -euc "cd /tree; $2"' - "$root" "$1"
}
