#!/usr/bin/env bash
# Makes images/web: Debian's static busybox as a web server, and one page. Needs no root.
set -euo pipefail
cd "$(dirname "$0")"

# A workspace that is built has it already.
xtask() {
  if [ -x ../../target/debug/xtask ]; then
    ../../target/debug/xtask "$@"
  else
    cargo run --quiet --manifest-path ../../Cargo.toml -p xtask -- "$@"
  fi
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(cd "$scratch" && apt-get download -qq busybox-static && dpkg-deb --extract busybox-static_*.deb package)

mkdir -p "$scratch/root/bin" "$scratch/root/tmp" "$scratch/root/proc" "$scratch/root/sys" "$scratch/root/dev"
install -m 755 "$scratch/package/bin/busybox" "$scratch/root/bin/busybox"
cp -r site "$scratch/root/site"
tar --create --file "$scratch/web.tar" --directory "$scratch/root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .

rm -rf images/web
xtask oci-layout --output images/web --reference hello-web:1 \
  --entrypoint /bin/busybox --cmd httpd --cmd -f --cmd -p --cmd 8080 --cmd -h --cmd /site \
  --user 65534:65534 --expose 8080/tcp "$scratch/web.tar"
