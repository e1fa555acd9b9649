#!/usr/bin/env bash
# Every shell script of the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t scripts < <(git ls-files -- '*.sh' .ci/run 2>/dev/null || find . -name '*.sh' -not -path './target/*')
shellcheck "${scripts[@]}"
