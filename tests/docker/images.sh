#!/bin/sh
# Makes the images of the tests, from nothing but Debian's static busybox: no registry is asked.
#
#   lr-test/web:1        ENTRYPOINT httpd on port 3000 (CMD replaceable), serves /www
#   lr-test/sh:1         CMD ["/bin/sh"], no entry point: what Reactives and steps run in
#   lr-test/healthy:1    web with a HEALTHCHECK that follows the file /www/well
#   lr-test/exits:1      prints a line and exits with 3
#   lr-test/stubborn:1   ignores SIGTERM
#   lr-test/user:1       sh with USER 4242
#   lr-test/init:1       exits with 7 unless it is the first process
#
# Idempotent: what is there with the same recipe is left alone.
set -eu

recipe=3 # grows with every change below
built() { [ "$(docker image inspect -f '{{index .Config.Labels "lr-test.recipe"}}' "$1" 2>/dev/null)" = "$recipe" ]; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/bin" "$work/root/tmp" "$work/root/etc" "$work/root/www" "$work/root/home/user/app"
chmod 1777 "$work/root/tmp"
cp /bin/busybox "$work/root/bin/busybox"
for applet in $(/bin/busybox --list); do
  [ "$applet" = busybox ] || ln -s busybox "$work/root/bin/$applet"
done
echo 'root:x:0:0:root:/:/bin/sh' >"$work/root/etc/passwd"
echo 'root:x:0:' >"$work/root/etc/group"
echo hello >"$work/root/www/index.html"
mkdir -p "$work/root/www/cgi-bin"
cat >"$work/root/www/cgi-bin/who" <<'CGI'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\nreplica %s of %s\n' "$CS_REPLICA" "$CS_SERVER"
CGI
cat >"$work/root/bin/entry" <<'ENTRY'
#!/bin/sh
# An entry point that shows that it ran before whatever replaced CMD.
echo "entry: $*"
exec "$@"
ENTRY
chmod 755 "$work/root/www/cgi-bin/who" "$work/root/bin/entry"
tar -C "$work/root" -cf "$work/root.tar" .

make() { # name, lines of a Dockerfile
  built "$1" && return 0
  mkdir -p "$work/build"
  ln -f "$work/root.tar" "$work/build/root.tar"
  { printf 'FROM scratch\nADD root.tar /\nLABEL lr-test.recipe=%s\nENV PATH=/bin\n' "$recipe"; cat; } >"$work/build/Dockerfile"
  DOCKER_BUILDKIT=0 docker build -q -t "$1" "$work/build" >/dev/null 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
}

make lr-test/web:1 <<'D'
ENTRYPOINT ["/bin/entry"]
CMD ["httpd", "-f", "-p", "3000", "-h", "/www"]
D
make lr-test/sh:1 <<'D'
CMD ["/bin/sh"]
D
make lr-test/healthy:1 <<'D'
RUN ["/bin/sh", "-c", "touch /www/well"]
HEALTHCHECK --interval=300ms --timeout=5s --retries=1 CMD ["/bin/test", "-e", "/www/well"]
CMD ["httpd", "-f", "-p", "3000", "-h", "/www"]
D
make lr-test/exits:1 <<'D'
CMD ["/bin/sh", "-c", "echo about to fail; exit 3"]
D
make lr-test/stubborn:1 <<'D'
CMD ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
D
make lr-test/user:1 <<'D'
USER 4242
CMD ["/bin/sh"]
D
make lr-test/init:1 <<'D'
CMD ["/bin/sh", "-c", "[ $$ = 1 ] || exit 7; exec httpd -f -p 3000 -h /www"]
D
