#!/bin/sh
# A private registry on loopback, in the foreground: registry.sh DIR PORT USER PASSWORD
# Everything it writes goes to DIR. Docker engines speak plain HTTP to 127.0.0.0/8.
set -eu
dir=$1 port=$2 user=$3 password=$4

# The registry wants bcrypt; Perl, which every Debian has, reaches the C library's.
salt=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | cut -c1-21)u
hash=$(PASSWORD=$password SALT=$salt perl -e 'print crypt($ENV{PASSWORD}, "\$2y\$05\$$ENV{SALT}")')
printf '%s:%s\n' "$user" "$hash" >"$dir/htpasswd"
cat >"$dir/config.yml" <<Y
version: 0.1
log: { level: warn }
storage:
  filesystem: { rootdirectory: $dir/data }
  delete: { enabled: true }
http: { addr: "127.0.0.1:$port" }
auth:
  htpasswd: { realm: tests, path: $dir/htpasswd }
Y
exec docker-registry serve "$dir/config.yml"
