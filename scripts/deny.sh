#!/usr/bin/env bash
# Licences, sources and banned crates of everything that is linked, without a network. Advisories need
# one: `cargo deny check advisories`.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
version=0.20.2
export PATH="$target/tools/bin:$PATH"
if ! cargo deny --version >/dev/null 2>&1; then
  echo "Installing cargo-deny $version into $target/tools (once; takes some minutes) ..."
  # Without optimisation: it runs for a second, and is built in a third of the time.
  cargo install --quiet --debug --locked --version "$version" --root "$target/tools" \
    --target-dir "$target/tools/build" cargo-deny
fi
cargo deny --locked --all-features check --hide-inclusion-graph bans licenses sources
