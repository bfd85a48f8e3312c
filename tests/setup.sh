#!/bin/sh
# Installs the system packages that this project needs, and only those that are missing.
#
#   tests/setup.sh build    what the crate needs to compile
#   tests/setup.sh test     and the programs that the tests talk to
#   tests/setup.sh bench    what `make bench` compares with and counts with
#   tests/setup.sh static   what `make static` needs; also the standard library of Rust for musl
#   tests/setup.sh debian   what .ci/msrv and .ci/openssl-1.1.1 need
#
# Debian and Ubuntu, as root or through sudo. Elsewhere it names what is missing, and goes on if
# nothing is. A Rust toolchain is not installed but asked for: whose it is, is the user's choice.
set -eu

say() { echo "setup: $*"; }

# Packages of Debian, and below the commands that stand for them on other systems.
packages_build="ca-certificates gcc libc6-dev libssl-dev pkg-config"
packages_test="$packages_build haproxy krb5-admin-server krb5-kdc krb5-user libclang-dev libkrb5-dev microsocks openssl strace valgrind"
packages_bench="$packages_build binutils libmongoc-dev python3 python3-venv strace util-linux valgrind"
packages_static="$packages_build make musl-tools perl"
packages_debian="debian-archive-keyring debootstrap"
case ${1-} in
    build) packages=$packages_build commands="cc pkg-config" ;;
    test) packages=$packages_test commands="cc pkg-config haproxy krb5kdc microsocks openssl strace valgrind" ;;
    bench) packages=$packages_bench commands="cc pkg-config python3 strace strip taskset valgrind" ;;
    static) packages=$packages_static commands="cc make musl-gcc perl pkg-config" ;;
    debian) packages=$packages_debian commands="debootstrap" ;;
    *)
        sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac

missing=
if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    for package in $packages; do
        # Removed packages whose configuration is left are known to dpkg too.
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
        # Without standard input and questions: a build must not wait for an answer.
        $sudo apt-get update -qq </dev/null
        # shellcheck disable=SC2086 # words, split on purpose
        $sudo env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends $missing </dev/null
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
        say "This system has no apt-get. Please install by its own means:$missing"
        say "(on Debian these are the packages: $packages)"
        exit 1
    fi
fi

if ! command -v cargo >/dev/null; then
    say "There is no 'cargo' in PATH. Install Rust 1.85 or newer, for example from https://rustup.rs"
    exit 1
fi

# A toolchain of rustup can be extended without touching what is there.
target=$(uname -m)-unknown-linux-musl
has_target() { [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; }
if [ "$1" = static ] && ! has_target; then
    if command -v rustup >/dev/null; then
        say "installing with rustup: the standard library for $target"
        rustup target add "$target" || true
    fi
    if ! has_target; then
        say "This Rust has no standard library for $target, and $(rustc --print sysroot)"
        say "is no toolchain that rustup could add it to. Install Rust from https://rustup.rs."
        exit 1
    fi
fi
