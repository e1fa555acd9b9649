#!/usr/bin/env bash
# Unit, integration and documentation tests; those of the Docker backend where an engine can be had.
set -euo pipefail
cd "$(dirname "$0")/.."

# What is there is used; what has to be started is ended again afterwards, and nothing else.
running=0
docker version >/dev/null 2>&1 && running=1
asRoot=()
if ((EUID != 0)) && command -v sudo >/dev/null; then
  asRoot=(sudo -n)
fi
if "${asRoot[@]}" tests/docker/ensure-docker.sh; then
  export LR_DOCKER_TESTS=1
  ((running)) || trap '"${asRoot[@]}" tests/docker/ensure-docker.sh --stop' EXIT
else
  printf '\n*** The Docker backend is NOT tested: no engine answers here, and none could be started.\n\n'
fi
cargo test --locked "$@"
