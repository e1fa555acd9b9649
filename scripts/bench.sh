#!/usr/bin/env bash
# Runs the benches: all of them, or those that are named: `scripts/bench.sh compare burst`.
# Each prints its figures and fails when they are not as promised; the others run all the same.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
benches=("$@")
((${#benches[@]})) || benches=(compare memory cold-start burst changes boundary private)

cargo build --locked --release
cargo build --locked --release --manifest-path benches/promises/Cargo.toml --target-dir "$target"
cargo build --locked --release --manifest-path benches/pingora-forwarder/Cargo.toml --target-dir "$target"

printf '\n%s, %s cores, %s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(uname -sr)"
failed=()
for bench in "${benches[@]}"; do
  printf '\n== %s\n\n' "$bench"
  "$target/release/$bench" || failed+=("$bench")
done
if ((${#failed[@]})); then
  printf '\nNot as promised: %s\n' "${failed[*]}"
  exit 1
fi
printf '\nEverything is as promised.\n'
