#!/usr/bin/env bash
# Writes docs/pictures/session.svg, the picture of the README, from a real run: three images
# that are made of Go's sources and served on loopback. Needs bin/docker-archive and Go.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$PWD/bin out=$PWD/docs/pictures/session.svg
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir"
export PATH=$tools:$PATH

sources=$(go env GOROOT)/src
cp -r "$sources/net" web
image() { docker-archive make -q --insecure-policy --set-platform linux/amd64 --add "$sources/cmd:/usr/src/cmd" "${@:2}" -t "registry.example/shop/$1" -o "${1/:/-}.tar"; }
image web:1.4 --add web:/srv/web
image db:16 --add "$sources/encoding:/srv/db"
for f in web/http/*.go; do echo '// upgraded' >>"$f"; done
image web:1.5 --add web:/srv/web
docker-archive serve -q --listen 127.0.0.1:0 . >address 2>&1 &
until [ -s address ]; do sleep 0.1; done
cat >registries.conf <<END
[[registry]]
location = "registry.example"
[[registry.mirror]]
location = "$(sed -n 's#.*\(127.0.0.1:[0-9]*\).*#\1#p' address | head -1)"
insecure = true
END
export CONTAINERS_REGISTRIES_CONF=$PWD/registries.conf

run() { printf '\e[1;32m$\e[0m \e[1m%s\e[0m\n' "$*"; eval "${*/docker-archive save/docker-archive save --insecure-policy}" 2>>log; echo; }
{
	run docker-archive save -o shop.tar registry.example/shop/web:1.4 registry.example/shop/db:16
	run docker-archive list shop.tar
	run docker-archive layers shop.tar:registry.example/shop/web:1.4
	run docker-archive save -o update.tar --delta shop.tar registry.example/shop/web:1.5
	run 'ls -sh shop.tar update.tar'
	run docker-archive verify --base shop.tar update.tar
} >session.ansi
cat log >&2
go run github.com/charmbracelet/freeze@v0.2.2 --language ansi --font.family monospace --font.size 13 --padding 16 \
	--border.radius 6 --wrap 110 --output "$out" <session.ansi
