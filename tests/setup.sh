#!/bin/sh
# Installs the system packages that this project needs, and only those that are missing.
#
#   tests/setup.sh build    what the crate needs to compile
#   tests/setup.sh test     the same, and every program that the tests start
#   tests/setup.sh bench    the peers and tools of `make bench`
#   tests/setup.sh static   what `make static` needs, with Rust's standard library for musl
#   tests/setup.sh debian   what .ci/msrv, .ci/openssl-1.1.1 and .ci/minimal need
#
# It works on Debian and Ubuntu, as root or via sudo. Elsewhere it names missing packages, and fails if
# there are any. It never installs a Rust toolchain, because that choice is the user's.
# It starts no service, and enables none at boot: the tests start their servers themselves.
set -eu

say() { echo "setup: $*"; }

# Debian's packages for each purpose, and the commands that must exist afterwards on any system.
packages_build="ca-certificates gcc libc6-dev libssl-dev pkg-config"
packages_test="$packages_build bsdutils coreutils haproxy krb5-admin-server krb5-kdc krb5-user libclang-dev libkrb5-dev microsocks openssl python3 python3-venv strace util-linux valgrind"
packages_bench="$packages_build binutils libmongoc-dev python3 python3-venv strace util-linux valgrind"
packages_static="$packages_build make musl-tools perl"
packages_debian="debian-archive-keyring debootstrap"
case ${1-} in
    build) packages=$packages_build commands="cc pkg-config" ;;
    test) packages=$packages_test commands="cc pkg-config haproxy kadmin.local kdb5_util kinit krb5kdc microsocks mkfifo openssl python3 script strace true unshare valgrind" ;;
    bench) packages=$packages_bench commands="cc pkg-config python3 strace strip taskset valgrind" ;;
    static) packages=$packages_static commands="cc make musl-gcc perl pkg-config" ;;
    debian) packages=$packages_debian commands="debootstrap" ;;
    *)
        sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac

# Servers are in /usr/sbin, which is not in every PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing=
if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    for package in $packages; do
        # dpkg also lists removed packages if their configuration still exists.
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
            *" ok installed") ;;
            *) missing="$missing $package" ;;
        esac
    done
    if [ -n "$missing" ]; then
        sudo=
        if [ "$(id -u)" != 0 ]; then
            sudo=sudo
            if ! command -v sudo >/dev/null; then
                say "missing:$missing"
                say "Install them as root:  apt-get install --no-install-recommends$missing"
                exit 1
            fi
        fi
        say "installing with apt-get:$missing"
        # No standard input and no prompts: a build must not wait for input.
        $sudo apt-get update -qq </dev/null
        # A package must not start its service, not even until we disable it. An existing policy is kept.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap '$sudo rm -f "$policy"' EXIT
            trap 'exit 1' HUP INT TERM
            printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
            $sudo chmod 755 "$policy"
        fi
        # shellcheck disable=SC2086 # words, split on purpose
        $sudo env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends $missing </dev/null
        for service in haproxy krb5-kdc krb5-admin-server; do
            # A service that was installed before this run stays as it is.
            case " $missing " in
                *" $service "*) $sudo update-rc.d "$service" disable >/dev/null ;;
            esac
        done
    fi
else
    for command in $commands; do
        command -v "$command" >/dev/null || missing="$missing $command"
    done
    case " $commands " in
        *" pkg-config "*) pkg-config --exists openssl 2>/dev/null || missing="$missing OpenSSL's-headers" ;;
    esac
    case $1 in
        bench) pkg-config --exists libmongoc-1.0 2>/dev/null || missing="$missing libmongoc" ;;
    esac
    if [ -n "$missing" ]; then
        say "This system has no apt-get. Please install these with its own package manager:$missing"
        say "(on Debian these are the packages: $packages)"
        exit 1
    fi
fi

for command in $commands; do
    command -v "$command" >/dev/null || {
        say "The command '$command' is missing, although its package is installed."
        exit 1
    }
done

if ! command -v cargo >/dev/null; then
    say "There is no 'cargo' in PATH. Install Rust 1.85 or newer, for example from https://rustup.rs"
    exit 1
fi

# rustup can add a target to a toolchain without changing the rest of it.
target=$(uname -m)-unknown-linux-musl
has_target() { [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; }
if [ "$1" = static ] && ! has_target; then
    if command -v rustup >/dev/null; then
        say "installing with rustup: the standard library for $target"
        rustup target add "$target" || true
    fi
    if ! has_target; then
        say "This Rust has no standard library for $target, and rustup cannot add it to"
        say "$(rustc --print sysroot). Install Rust from https://rustup.rs."
        exit 1
    fi
fi
