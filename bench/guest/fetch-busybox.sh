#!/usr/bin/env bash
# fetch-busybox.sh FILE: Debian's static busybox, with which the plain guest starts. Installs nothing.
set -euo pipefail
out=$(realpath -m "${1:?file to write}")
[ -x "$out" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -o APT::Sandbox::User=root download -qq busybox-static
dpkg-deb --extract busybox-static_*.deb package
mkdir -p "$(dirname "$out")"
install -m 755 package/bin/busybox "$out"
