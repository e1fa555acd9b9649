#!/usr/bin/env bash
# Runs one step of `make test` and says how long it took: `scripts/step.sh NAME COMMAND...`.
set -euo pipefail
name=$1
shift
printf '\n=== %s\n' "$name"
SECONDS=0
status=0
"$@" || status=$?
if ((status)); then
  printf '=== %s: FAILED after %d s (status %d): %s\n' "$name" "$SECONDS" "$status" "$*"
  exit "$status"
fi
printf '=== %s: ok, %d s\n' "$name" "$SECONDS"
