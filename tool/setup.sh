#!/bin/sh
# Installs what building (and with --test, testing) kith needs and lacks, with apt. Does nothing when all is there.
set -eu
packages="gcc g++ pkg-config meson ninja-build librocksdb-dev libssl-dev libhttp-parser-dev libsimdjson-dev libjemalloc-dev libxxhash-dev libcmocka-dev"
[ "${1:-}" = --test ] && packages="$packages mosquitto-clients python3 curl"
missing=""
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
echo "installing:$missing"
as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "these packages are missing and sudo is not there:$missing" >&2; exit 1; }
    as_root=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
