#!/usr/bin/env bash
# libFuzzer on one target, on the stable toolchain: `scripts/fuzz.sh ci_yml [libFuzzer options]`.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
targets=$(find fuzz_targets -name '*.rs' -printf '%f ' | sed 's/\.rs//g')
target=${1:?which target? one of $targets}
shift
# Coverage feedback is LLVM's and needs no nightly toolchain; only sanitizers would.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions"
triple=$(rustc -vV | sed -n 's/^host: //p')
# With a target triple, build scripts and procedural macros are built without the flags.
export RUSTFLAGS=$flags
cargo build --locked --release --features libfuzzer --target "$triple" --bin "$target"
mkdir -p "corpus/$target" "artifacts/$target"
exec "${CARGO_TARGET_DIR:-target}/$triple/release/$target" -artifact_prefix="artifacts/$target/" \
  "corpus/$target" "seeds/$target" "$@"
