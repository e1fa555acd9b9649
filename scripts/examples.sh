#!/usr/bin/env bash
# Every example below config/ has to pass `check --strict`, as its readers will copy it.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --locked --bin landscape-router
router=${CARGO_TARGET_DIR:-$PWD/target}/debug/landscape-router
found=0
while IFS= read -r file; do
  found=$((found + 1))
  echo "check --strict --config $file"
  "$router" check --strict --config "$file"
done < <(find config deploy -name '*router*.yaml' | sort)
((found)) || { echo "no examples found" >&2; exit 1; }
