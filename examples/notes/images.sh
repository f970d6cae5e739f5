#!/usr/bin/env bash
# Makes the two images of this example from Debian packages: images/db and images/web, as OCI layouts.
# Needs root (mmdebstrap, chroot), a Debian mirror in the machine's apt sources, and this repository's xtask.
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

export SOURCE_DATE_EPOCH=1700000000
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# What no container needs.
lean=(
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*'
)
tidy='rm -rf "$1"/var/cache/* "$1"/var/lib/apt/* "$1"/var/lib/dpkg "$1"/var/log/* \
  "$1"/usr/share/perl* "$1"/usr/lib/*/perl* "$1"/usr/bin/perl* "$1"/usr/share/postgresql-common \
  "$1"/usr/lib/*/gconv "$1"/usr/lib/*/libLLVM* "$1"/usr/lib/llvm* "$1"/usr/lib/postgresql/*/lib/bitcode'

echo "Making images/db from Debian's postgresql-15" >&2
mmdebstrap --quiet --variant=minbase --include=postgresql-15 "${lean[@]}" \
  --essential-hook='mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' \
  --essential-hook='echo "postgres:x:999:" >>"$1/etc/group" && echo "postgres:x:999:999::/var/lib/postgresql:/bin/sh" >>"$1/etc/passwd"' \
  --customize-hook="$tidy" \
  --customize-hook='install -D -m 755 db/start "$1/usr/local/bin/start" && install -d -o 999 -g 999 "$1/var/lib/postgresql"' \
  bookworm "$scratch/db.tar"
rm -rf images/db
xtask oci-layout --output images/db --reference notes-db:1 --entrypoint /usr/local/bin/start --user 999:999 \
  --env PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin --env LC_ALL=C --volume /var/lib/postgresql \
  --expose 5432/tcp "$scratch/db.tar"

echo "Making images/web from Debian's python3 and psycopg2" >&2
# Compiled modules that name no time: starting Python is quick, and the image the same each time.
mmdebstrap --quiet --variant=minbase --include=python3-minimal,python3-psycopg2 "${lean[@]}" \
  --customize-hook='chroot "$1" find /usr/lib/python3 /usr/lib/python3.11 -name __pycache__ -prune -exec rm -rf {} +' \
  --customize-hook='chroot "$1" python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3 /usr/lib/python3.11 || true' \
  --customize-hook="$tidy" \
  --customize-hook='install -D -m 755 web/notes.py "$1/app/notes.py"' \
  bookworm "$scratch/web.tar"
rm -rf images/web
xtask oci-layout --output images/web --reference notes-web:1 --entrypoint /app/notes.py --user 65534:65534 \
  --env PATH=/usr/local/bin:/usr/bin:/bin --env PYTHONDONTWRITEBYTECODE=1 --workdir /app --expose 8080/tcp "$scratch/web.tar"
