#!/usr/bin/env bash
# Unit, integration and documentation tests; those of the Docker backend where an engine can be had, those
# of the private network where namespaces can be made.
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
# Only with rights that a container mostly lacks; what can be tested here has to be. What is tested with is
# optional: a test that lacks its program says that it is skipped.
if unshare --net sh -c 'ip link add probe type bridge && nft add table inet probe' >/dev/null 2>&1; then
  missing=()
  for program in nsenter redis-server redis-cli psql; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  # Debian keeps it out of the way.
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(initdb)
  if ((${#missing[@]})); then
    printf '\n*** The private network is NOT tested whole: %s not installed.\n\n' "${missing[*]}"
  else
    export LR_PRIVATE_TESTS=1
  fi
else
  printf '\n*** The private network is NOT tested: that takes root, network namespaces, nft and ip.\n\n'
fi
# The router on Kubernetes is tested with a cluster of the tests' own, unless there is another.
if [[ -n "${KUBECONFIG:-}" ]]; then
  printf '\n*** The Kubernetes tests use the cluster of KUBECONFIG=%s, in namespaces lr-… that they remove.\n\n' "$KUBECONFIG"
fi
# What deploy/kubernetes makes of itself is looked at with the programs that do it.
if ! kubectl version --client --output json 2>/dev/null | grep -q '"kustomizeVersion": "v[5-9]'; then
  printf '\n*** The kustomize files are NOT tested: kubectl with kustomize 5 is not installed.\n\n'
fi
if ! command -v helm >/dev/null && ! python3 -c 'import helm_python' 2>/dev/null; then
  printf '\n*** The Helm chart is NOT tested: neither helm nor the Python package helm-python-sdk is installed.\n\n'
fi
# The same histories each time: what changed decides whether this passes. `make histories` tries others.
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-1}"
cargo test --locked "$@"
