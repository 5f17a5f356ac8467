#!/bin/sh
# Makes a Debian package of a built kith: packaging/deb.sh BUILD-FOLDER. Prints its name. Without root: owners are
# written by dpkg-deb. The same source and binary give the same bytes.
set -eu
build=$(cd "${1:?the build folder}" && pwd)
cd "$(dirname "$0")/.."
version=$("$build/kith" version | cut -d' ' -f2)
arch=$(dpkg --print-architecture)
out="$build/kith_${version}_$arch.deb"
tree="$build/deb"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
# who builds it for others says so by DEBFULLNAME and DEBEMAIL
maintainer="${DEBFULLNAME:-the authors of kith} <${DEBEMAIL:-packages@kith.example}>"
umask 022
rm -rf "$tree"
doc="$tree/usr/share/doc/kith"
mkdir -p "$tree/DEBIAN" "$doc" "$tree/usr/share/man/man1"

install -D -m 755 "$build/kith" "$tree/usr/bin/kith"
strip --strip-unneeded --remove-section=.comment "$tree/usr/bin/kith"
install -D -m 644 packaging/kith.service "$tree/lib/systemd/system/kith.service"
install -D -m 644 packaging/kith.sysusers "$tree/usr/lib/sysusers.d/kith.conf"
install -D -m 644 packaging/kith.yaml "$tree/etc/kith/kith.yaml"
gzip -9nc packaging/kith.1 >"$tree/usr/share/man/man1/kith.1.gz"
cp packaging/copyright "$doc/copyright"
{
    printf 'kith (%s) unstable; urgency=medium\n\n  * What is new stands in CHANGELOG.md.\n\n' "$version"
    printf ' -- %s  %s\n' "$maintainer" "$(date -Ru -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.gz"
cp -r CHANGELOG.md docs/operate docs/guide docs/format docs/benchmarks.md docs/openapi.json "$doc/"

# Which packages its libraries come from.
mkdir -p "$tree/debian"
echo "Source: kith" >"$tree/debian/control"
libraries=$(cd "$tree" && dpkg-shlibdeps -O usr/bin/kith 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
rm -r "$tree/debian"
[ -n "$libraries" ] || { echo "deb: the libraries of $build/kith are not known to dpkg" >&2; exit 1; }

cat >"$tree/DEBIAN/control" <<CONTROL
Package: kith
Version: $version
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $(du -sk --apparent-size "$tree" | cut -f1)
Depends: $libraries, systemd | systemd-sysusers
Section: net
Priority: optional
Description: social layer of a product: messages over HTTP and MQTT
 One program that stores and delivers the messages between an application's
 users: conversations, receipts, devices that come and go, end-to-end
 encryption by prekeys. Any MQTT 3.1.1 or 5.0 client, and any HTTP client with
 Server-Sent Events, is a client of it. What it acknowledges is durable.
CONTROL
echo /etc/kith/kith.yaml >"$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "packaging/$script" "$tree/DEBIAN/$script"; done
(cd "$tree" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0 --no-run-if-empty touch --no-dereference --date="@$SOURCE_DATE_EPOCH"
dpkg-deb --root-owner-group -Zxz --build "$tree" "$out" >/dev/null
rm -rf "$tree"
echo "$out"
