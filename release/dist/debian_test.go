//go:build interop

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A newcomer's path: the package is installed in a bare Debian, which has no Go and no daemon, and
// docs/air-gap.md is played there. Each line is a command of a user; set -x shows how far it came.
const play = `set -euxo pipefail
if command -v go; then exit 1; fi
cd /root

# Install. Nothing else is needed.
dpkg -i /dist/*.deb
dpkg --verify docker-archive
docker-archive --help | grep 'docker-archive save -o'
docker-archive version --json | grep '"platform": "linux/amd64"'
zcat /usr/share/man/man1/docker-archive-save.1.gz | grep '^.SH SYNOPSIS'
test -s /usr/share/bash-completion/completions/docker-archive
test -s /usr/share/zsh/vendor-completions/_docker-archive
test -s /usr/share/fish/vendor_completions.d/docker-archive.fish
grep 'Apache License' /usr/share/doc/docker-archive/copyright
grep 'golang.org/x/sys' /usr/share/doc/docker-archive/NOTICES
test -x /usr/libexec/docker/cli-plugins/docker-archive

# Registries, here one that comes from a file and is their mirror.
docker-archive copy -q --all oci:/testdata/oci:multi image-archive:registry.tar:docker.io/library/alpine:3.20
docker-archive tag -q registry.tar docker.io/library/alpine:3.20 quay.io/podman/hello:latest
docker-archive copy -q oci:/testdata/oci:two image-archive:registry.tar:docker.io/library/alpine:3.21
mkdir -p /etc/containers
printf '[[registry]]\nlocation="%s"\n[[registry.mirror]]\nlocation="127.0.0.1:5099/%s"\ninsecure=true\n' \
  docker.io docker.io quay.io quay.io >/etc/containers/registries.conf
docker-archive serve -q --listen 127.0.0.1:5099 registry.tar &
serving=$!
trap 'kill $serving || true' EXIT
for try in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/5099) 2>/dev/null && break; sleep 0.1; done

# The first page of the guide.
. /page
test "$(docker-archive list -q images.tar | sort -u)" = "$(printf 'docker.io/library/alpine:3.21\nquay.io/podman/hello:latest')"

kill $serving
wait $serving || true
trap - EXIT

# The image of the command is one that the command reads.
docker-archive verify /dist/*_image.tar
docker-archive inspect --config /dist/*_image.tar | grep '"User": *"65532:65532"'
docker-archive extract /dist/*_image.tar /rootfs
/rootfs/usr/bin/docker-archive version
chroot --userspec=65532:65532 /rootfs /usr/bin/docker-archive --version
grep -c 'BEGIN CERTIFICATE' /rootfs/etc/ssl/certs/ca-certificates.crt

# And away.
dpkg --purge docker-archive
hash -r
if command -v docker-archive; then exit 1; fi
test ! -e /usr/libexec/docker/cli-plugins/docker-archive
`

// TestInBareDebian needs root, debootstrap, rpm and Debian's mirror.
func TestInBareDebian(t *testing.T) {
	dir := t.TempDir()
	dist, root := filepath.Join(dir, "dist"), filepath.Join(dir, "root")
	require.NoError(t, makeAll(t.Context(), cloned(t, filepath.Join(dir, "repository")), dist, "linux/amd64"))

	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	}
	checkRpm(t, run, dist, filepath.Join(dir, "rpm"))
	run("debootstrap", "--variant=minbase", "bookworm", root)
	run("cp", "-r", dist, filepath.Join(root, "dist"))
	run("cp", "-r", "../../testdata", filepath.Join(root, "testdata"))
	page, err := os.ReadFile("../../docs/air-gap.md")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "play"), []byte(play), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(root, "page"), commandsOf(t, page), 0o600))
	run("chroot", root, "bash", "/play")
}

// checkRpm makes rpm check a package, install it in a root of its own, verify the installed files
// against the package, and remove it. Requirements are not checked: that root has no packages.
func checkRpm(t *testing.T, run func(name string, args ...string), dist, root string) {
	t.Helper()
	packages, err := filepath.Glob(filepath.Join(dist, "*.x86_64.rpm"))
	require.NoError(t, err)
	require.Len(t, packages, 1)
	require.NoError(t, os.Mkdir(root, 0o755))
	binary := filepath.Join(root, "usr/bin", command)
	run("rpm", "--checksig", "--nosignature", packages[0])
	run("rpm", "--root", root, "--initdb")
	run("rpm", "--root", root, "--install", "--nodeps", "--nosignature", packages[0])
	run("rpm", "--root", root, "--verify", command)
	run(binary, "version")
	require.FileExists(t, filepath.Join(root, "usr/libexec/docker/cli-plugins", command))
	run("rpm", "--root", root, "--erase", command)
	require.NoFileExists(t, binary)
}

// commandsOf returns the lines of the blocks of a page, which somebody types one after the other.
func commandsOf(t *testing.T, page []byte) []byte {
	t.Helper()
	var lines []string
	for line := range strings.Lines(string(page)) {
		if typed, ok := strings.CutPrefix(line, "    "); ok {
			lines = append(lines, typed)
		}
	}
	require.Greater(t, len(lines), 10)
	return []byte(strings.Join(lines, ""))
}
