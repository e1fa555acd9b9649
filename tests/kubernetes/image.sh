#!/usr/bin/env bash
# The image that the Kubernetes tests run, as an archive that `ctr -n k8s.io images import` and `docker load` take. It
# is made of files of this machine; no registry and no engine is asked.
#
#   tests/kubernetes/image.sh OUT.tar [NAME]      NAME: lr-test/app:1
#
# What an image for LANDSCAPE_ROUTER_TEST_IMAGE has to have:
#   /bin/test-app            the example `test-app` (`cargo build --example test-app`) and what it is linked to
#   /bin/sh and busybox      for steps
#   TEST_APP_HOST=0.0.0.0    in its environment: the address that the application listens on
#   CMD ["/bin/test-app"]    and no entry point
# Every node that pods may come to needs it: the pull policy is Never.
set -euo pipefail
out=$1 name=${2:-lr-test/app:1}
cd "$(dirname "$0")/../.."
app=${CARGO_TARGET_DIR:-target}/debug/examples/test-app
[ -x "$app" ] || { echo "$app is missing: cargo build --example test-app" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/bin" "$root/tmp" "$root/etc" "$root/home/user/app"
chmod 1777 "$root/tmp"
cp "$app" "$root/bin/test-app"
# The interpreter and every library, where they are here.
ldd "$app" | grep -o '/[^ )]*' | while read -r library; do install -D -m 0755 "$library" "$root$library"; done
if [ -x /bin/busybox ]; then
  cp /bin/busybox "$root/bin/busybox"
  for applet in sh sleep cat echo ls env; do ln -s busybox "$root/bin/$applet"; done
fi
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
tar -C "$root" --owner=0 --group=0 --mtime=@0 --sort=name -cf "$work/layer.tar" .

layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
mkdir -p "$work/image/$layer"
mv "$work/layer.tar" "$work/image/$layer/layer.tar"
cat >"$work/config" <<CONFIG
{"architecture":"$(dpkg --print-architecture 2>/dev/null || echo amd64)","os":"linux","created":"2024-01-01T00:00:00Z",
"config":{"Env":["PATH=/bin","TEST_APP_HOST=0.0.0.0"],"Cmd":["/bin/test-app"]},
"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"history":[{"created":"2024-01-01T00:00:00Z"}]}
CONFIG
config=$(sha256sum "$work/config" | cut -d' ' -f1)
mv "$work/config" "$work/image/$config.json"
printf '[{"Config":"%s.json","RepoTags":["docker.io/%s"],"Layers":["%s/layer.tar"]}]' "$config" "$name" "$layer" \
  >"$work/image/manifest.json"
tar -C "$work/image" -cf "$out" .
echo "$name: $(du -h "$out" | cut -f1) in $out"
