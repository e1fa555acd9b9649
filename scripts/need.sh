#!/usr/bin/env bash
# Makes sure that tools are there, and installs those that are missing: `scripts/need.sh rust cc python3`.
#
# rust is checked only: which toolchain a machine has is its owner's choice. Everything else comes
# from Debian's or Ubuntu's packages, as root or by sudo. A name that ends in `?` is not worth a
# failure: what needs it says that it was skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A package=(
  [cc]=build-essential [c++]=build-essential [cmake]=cmake [python3]=python3 [curl]=curl
  [shellcheck]=shellcheck [haproxy]=haproxy [nginx]=nginx-light [promtool]=prometheus
  [nft]=nftables [ip]=iproute2 [redis-server]=redis-server [redis-cli]=redis-tools [psql]=postgresql
)

die() {
  printf '\n%s\n' "$@" >&2
  exit 1
}

need_rust() {
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  found=$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
  if [[ -n $found && $(printf '%s\n' "$wanted" "$found" | sort -V | head -1) == "$wanted" ]]; then
    return
  fi
  die "Rust $wanted or newer is needed, ${found:+and cargo $found was found}${found:-and no cargo was found}." \
    "Get it by https://rustup.rs, or, where your system packages rustup:" \
    "    apt-get install rustup && rustup default stable" \
    "Already installed? Then PATH lacks it: . \"\$HOME/.cargo/env\""
}

missing=()
optional=1
for tool in "$@"; do
  name=${tool%\?}
  if [[ $name == rust ]]; then
    need_rust
  elif ! command -v "$name" >/dev/null; then
    [[ -n ${package[$name]:-} ]] || die "scripts/need.sh knows no package for $name."
    missing+=("${package[$name]}")
    [[ $tool == *\? ]] || optional=0
  fi
done
((${#missing[@]})) || exit 0

mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
asRoot=()
if ((EUID != 0)); then
  asRoot=(sudo)
fi
install() {
  command -v apt-get >/dev/null && { ((EUID == 0)) || command -v sudo >/dev/null; } || return 1
  echo "Installing ${missing[*]} ..." >&2
  "${asRoot[@]}" apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive "${asRoot[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
if ! install; then
  message="These packages are missing and could not be installed (that takes apt-get, as root or by sudo): ${missing[*]}"
  ((optional)) && echo "$message; going on without." >&2 && exit 0
  die "$message"
fi
