#!/bin/sh
# Sees to it that a Docker engine answers, and that what the test images are made of is there.
#
# Debian's packages: docker.io, docker-registry (a registry to pull from) and busybox-static (what
# the images hold). Installing and starting needs root. An engine that is running is left alone; one
# that this script starts is written down in $LR_DOCKER_TEST_DIR/dockerd.pid, and
#   ensure-docker.sh --stop
# ends that one and no other. Idempotent.
set -eu

dir=${LR_DOCKER_TEST_DIR:-${TMPDIR:-/tmp}/landscape-router-docker-$(id -u)}
mkdir -p "$dir"
pid_file=$dir/dockerd.pid
log=$dir/dockerd.log

say() { echo "ensure-docker: $*" >&2; }
answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

if [ "${1:-}" = --stop ]; then
  [ -s "$pid_file" ] || { say "no engine was started from here"; exit 0; }
  pid=$(cat "$pid_file")
  # The number may belong to someone else by now.
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null || true)" = dockerd ]; then
    kill "$pid"
    say "ended dockerd $pid"
  fi
  rm -f "$pid_file"
  exit 0
fi

packages=
command -v docker >/dev/null 2>&1 && command -v dockerd >/dev/null 2>&1 || packages="$packages docker.io"
command -v docker-registry >/dev/null 2>&1 || packages="$packages docker-registry"
[ -x /bin/busybox ] && [ "$(wc -c </bin/busybox)" -gt 1000000 ] || packages="$packages busybox-static"
if [ -n "$packages" ]; then
  command -v apt-get >/dev/null 2>&1 || { say "missing:$packages, and there is no apt-get here"; exit 1; }
  [ "$(id -u)" = 0 ] || { say "missing:$packages; as root: apt-get install$packages"; exit 1; }
  say "installing$packages"
  export DEBIAN_FRONTEND=noninteractive
  # A container or a bare machine has no init that could start the services: they are not to try.
  # shellcheck disable=SC2086
  if ! apt-get install -y --no-install-recommends $packages >"$dir/apt.log" 2>&1; then
    apt-get update >>"$dir/apt.log" 2>&1 || true
    # shellcheck disable=SC2086
    apt-get install -y --no-install-recommends $packages >>"$dir/apt.log" 2>&1 || {
      say "apt-get failed:"; tail -n 20 "$dir/apt.log" >&2; exit 1
    }
  fi
fi

if answers; then
  exit 0
fi
if [ "$(id -u)" != 0 ]; then
  say "no engine answers at ${DOCKER_HOST:-the usual socket}, and starting one needs root"
  exit 1
fi
if [ -n "${DOCKER_HOST:-}" ]; then
  say "no engine answers at DOCKER_HOST=$DOCKER_HOST"
  exit 1
fi

# dockerd finds its cgroups only where some are mounted; a bare machine may have none.
if ! grep -q ' /sys/fs/cgroup' /proc/mounts; then
  mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || say "cgroups cannot be mounted; trying without"
fi

say "starting dockerd, its log is $log"
setsid dockerd >"$log" 2>&1 </dev/null &
echo $! >"$pid_file"
tries=0
until answers; do
  tries=$((tries + 1))
  if [ "$tries" -gt 120 ] || ! kill -0 "$(cat "$pid_file")" 2>/dev/null; then
    say "dockerd did not come up:"
    tail -n 20 "$log" >&2
    rm -f "$pid_file"
    exit 1
  fi
  sleep 0.5
done
say "dockerd answers"
