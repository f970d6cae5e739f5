#!/usr/bin/env bash
# Fetches what tests/boot.rs starts a guest with: Debian's 6.12 cloud kernel and its cuse module, and
# OVMF.amdsev from sid, without touching the system's package state.
set -euo pipefail
out=${1:?folder to fill}
mkdir -p "$out"
out=$(realpath "$out")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# apt drops its privileges to _apt, which needs to write here.
chmod 755 "$work"
kernel=$(apt-cache depends linux-image-6.12-cloud-amd64 | awk '/Depends: linux-image-6.12/ { print $2; exit }' || true)
[ -n "$kernel" ] || { echo "no linux-image-6.12-cloud-amd64 in the machine's apt sources; expected one whose address ends in /debian-security; add it and run apt-get update" >&2; exit 1; }
apt-get download -q "$kernel"
dpkg -x "$kernel"_*.deb kernel

# The archive that this machine uses itself.
mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -1 | tr -d ' ' || true)
[ -n "$mirror" ] || { echo "no Debian archive in the machine's apt sources; expected one whose address ends in /debian" >&2; exit 1; }
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >sid.list
mkdir -p lists/partial cache/archives/partial
apt_sid=(-o "Dir::Etc::sourcelist=$work/sid.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache")
apt-get -q "${apt_sid[@]}" update
apt-get -q "${apt_sid[@]}" download ovmf-amdsev
dpkg -x ovmf-amdsev_*.deb firmware

cp kernel/boot/vmlinuz-* "$out/vmlinuz"
cp "$(find kernel -name 'cuse.ko*')" "$out/"
cp firmware/usr/share/ovmf/OVMF.amdsev.fd "$out/"
ls -l "$out"
