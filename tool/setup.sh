#!/bin/sh
# Installs what building (and with --test testing, with --bench measuring) kith needs and lacks, with apt. Does nothing when all is there.
set -eu
packages="gcc g++ pkg-config meson ninja-build librocksdb-dev libssl-dev libhttp-parser-dev libwslay-dev libsimdjson-dev libjemalloc-dev libxxhash-dev libcyaml-dev libicu-dev libcurl4-openssl-dev libcmocka-dev"
testing="mosquitto-clients libpaho-mqtt-dev python3 python3-jsonschema curl openssl"
# Its tests are skipped where it cannot be had.
wished=""
# libFuzzer lies in a package named after clang's version. Nothing, where apt does not know: then our own driver fuzzes.
libfuzzer() {
    apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9][0-9]*\)$/libclang-rt-\1-dev/p' | head -1
}
case "${1:-}" in
"") ;;
--test)
    packages="$packages $testing"
    wished="chromium nodejs python3-aiosmtpd"
    ;;
--all)
    fuzzer=$(libfuzzer)
    packages="$packages $testing clang $fuzzer"
    wished="chromium nodejs python3-aiosmtpd"
    ;;
--bench)
    packages="$packages mosquitto python3"
    wished="nats-server redis-server nodejs npm"
    ;;
*) echo "usage: tool/setup.sh [--test | --all | --bench]" >&2; exit 2 ;;
esac
fail() {
    echo "setup: $1" >&2
    exit 1
}

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail "this is not Debian or Ubuntu; install the counterparts of these packages by hand: $packages"
# One question for all: asking for each takes longer than the rest of a build that has nothing to do.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages $wished 2>/dev/null | sed -n 's/^installed //p' | tr '\n' ' ') || true
missing=""
for p in $packages; do
    case " $installed" in
    *" $p "*) ;;
    *) missing="$missing $p" ;;
    esac
done
lacking=""
for p in $wished; do
    case " $installed" in
    *" $p "*) ;;
    *) [ -z "$missing" ] && ! apt-cache show "$p" >/dev/null 2>&1 || lacking="$lacking $p" ;;
    esac
done
wished=$lacking
[ -z "$missing" ] && [ -z "$wished" ] && exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { [ -z "$missing" ] && exit 0; } || fail "these packages are missing, and there is no sudo to install them with:$missing"
    as_root=sudo
fi
echo "setup: installing:$missing${wished:+ and, if it can be had:$wished}"
# `env` behind sudo, because sudo drops what is exported.
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
if [ -n "$missing" ]; then
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || fail "apt-get update failed; these packages are missing:$missing"
    install $missing || fail "apt-get could not install:$missing (its reason is above)"
fi
for p in $wished; do
    install "$p" || echo "setup: $p cannot be had here; its tests will be skipped"
done
# A fresh machine's apt knew nothing of clang before its lists came.
[ "${1:-}" = --all ] && [ -z "$fuzzer" ] && [ -n "$(libfuzzer)" ] && exec sh "$0" --all
exit 0
