#!/usr/bin/env bash
# Installs what building weft needs and this Debian or Ubuntu lacks; does nothing where nothing is missing.
set -euo pipefail

missing=()
need_tool() { command -v "$1" > /dev/null || missing+=("$2"); }
need_package() { dpkg-query -W -f='${Status}' "$1" 2> /dev/null | grep -q 'ok installed' || missing+=("$1"); }

need_tool gcc gcc
need_tool cmake cmake
need_tool ninja ninja-build
need_tool pkg-config pkg-config

if ! command -v dpkg-query > /dev/null; then
  echo "install-deps: this is not Debian or Ubuntu; the libraries of CMakeLists.txt must be there already" >&2
  exit 0
fi
for package in libc6-dev libsqlite3-dev zlib1g-dev libyaml-dev libjansson-dev libcairo2-dev \
  libcmocka-dev; do
  need_package "$package"
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo > /dev/null; then
    echo "install-deps: as root, please: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
