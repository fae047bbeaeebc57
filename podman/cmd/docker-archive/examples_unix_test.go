//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// The examples of help name places that a test cannot have. Each stands for one of the
// test's own.
const (
	exampleRegistry = "example.com"
	// fakeDocker is a docker that is used only in pipes.
	fakeDocker = `#!/bin/sh
case "$1" in
load) exec docker-archive list - ;;
save) exec cat '%s' ;;
esac
exit 9
`
	// wrapped is docker-archive where a registry has no certificate, and the system's
	// policy is not looked at.
	wrapped = `#!/bin/sh
command=$1
shift
case $command in
save|add) set -- --tls-verify=false --insecure-policy "$@" ;;
copy) set -- --src-tls-verify=false --dest-tls-verify=false --insecure-policy "$@" ;;
esac
exec "$SELF" "$command" "$@"
`
	fakeCurl = "#!/bin/sh\nexec cat images.tar\n"
)

// exampleDir returns a directory with all that examples read, and an environment that maps
// all registries to that one.
func exampleDir(t *testing.T, reg *imagetest.Registry) (dir string, env []string) {
	t.Helper()
	dir = t.TempDir()
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o700))
	for name, script := range map[string]string{
		"docker": fmt.Sprintf(fakeDocker, testdata(t, "archives/docker20.tar")),
		"podman": fmt.Sprintf(fakeDocker, testdata(t, "archives/podman-multi.tar")),
		"curl":   fakeCurl,
		"helm":   "#!/bin/sh\nexec cat manifests.yaml\n",

		"docker-archive": wrapped,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700))
	}
	conf := filepath.Join(dir, "registries.conf")
	var mirrors strings.Builder
	for _, host := range []string{"docker.io", "quay.io"} {
		fmt.Fprintf(&mirrors, "[[registry]]\nlocation = %q\n[[registry.mirror]]\nlocation = \"%s/%s\"\ninsecure = true\n", host, reg.Address, host)
	}
	require.NoError(t, os.WriteFile(conf, []byte(mirrors.String()), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "images.txt"), []byte("# two of them\nalpine:3.20\nquay.io/podman/hello\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manifests.yaml"), []byte("containers:\n- image: alpine:3.20\n"), 0o600))
	key, public := imagetest.NewKey(t)
	signed := imagetest.NewImage(t, "signed", imagetest.Gzip(1, 3000))
	reg.Push(t, "docker.io/library/alpine:signed", signed)
	reg.Push(t, "docker.io/library/alpine:sha256-"+signed.Digest().Encoded()+".sig", imagetest.NewSignature(t, key, "docker.io/library/alpine", signed.Digest()))
	reg.Push(t, "app:1", signed)
	reg.Push(t, "app:sha256-"+signed.Digest().Encoded()+".sig", imagetest.NewSignature(t, key, reg.Address+"/app", signed.Digest()))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cosign.pub"), public, 0o600))
	env = []string{"TOOLS=" + bin, "CONTAINERS_REGISTRIES_CONF=" + conf, "IMAGES=oci:" + testdata(t, "oci"), "REGISTRY=" + reg.Address}
	out, err := shell(t, dir, `set -e
cp='docker-archive copy -q --insecure-policy --dest-tls-verify=false'
for name in docker.io/library/alpine:3.20 docker.io/library/alpine:3.21 docker.io/library/alpine:latest quay.io/podman/hello:latest example.com/tool:1; do
	$cp --all $IMAGES:multi docker://$REGISTRY/${name#example.com/}
done
$cp $IMAGES:one oci:layout:app
docker-archive save -q --insecure-policy --any-platform --referrers -o images.tar --name alpine:3.20 alpine:signed
cp images.tar image.tar; cp images.tar one.tar
docker-archive save -q --insecure-policy -o two.tar --name two $IMAGES:two
docker-archive save -q --insecure-policy -o others.tar --name others $IMAGES:two
docker-archive save -q --insecure-policy -o january.tar --name january $IMAGES:one
docker-archive save -q --insecure-policy -o february.tar --without january.tar --name february $IMAGES:one
docker-archive save -q --insecure-policy --layout docker -o alpine.tar --name alpine:3.20 $IMAGES:one
mkdir -p files/etc; echo ID=test > files/etc/os-release
docker-archive make -q --insecure-policy -t nginx -o nginx.tar --layer files
cp nginx.tar nginx-2.tar
`, env...)
	require.NoError(t, err, out)
	return dir, env
}

// elsewhere are commands whose examples need a server, a daemon or files of the user, or do
// not end. They have tests of their own.
var elsewhere = []string{"browse", "load", "make", "push", "serve"}

// Every other example of every command's help works as it stands.
func TestExamplesOfHelp(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	ready, env := exampleDir(t, reg)
	root := newRootCommand()
	for _, cmd := range append(root.Commands(), root) {
		if !cmd.IsAvailableCommand() && cmd != root {
			continue
		}
		assert.NotEmpty(t, cmd.Example, "%s has no example", cmd.Name())
		if slices.Contains(elsewhere, cmd.Name()) {
			continue
		}
		for example := range strings.Lines(cmd.Example) {
			t.Run(cmd.Name(), func(t *testing.T) {
				runExample(t, strings.TrimSpace(example), ready, reg.Address, env)
			})
		}
	}
}

func runExample(t *testing.T, example, ready, address string, env []string) {
	dir := filepath.Join(t.TempDir(), "work")
	require.NoError(t, os.CopyFS(dir, os.DirFS(ready)))
	for _, name := range written(example) { // An example's output must not exist yet.
		require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
	}
	example = strings.ReplaceAll(example, exampleRegistry+"/", address+"/")
	example = mounted(t, dir, example)
	assert.Contains(t, example, "docker-archive")
	if strings.HasPrefix(example, "docker-archive remove ") { // Removing the only image would leave nothing.
		example = "docker-archive add -q --name two images.tar $IMAGES:two\n" + example
	}
	out, err := shell(t, dir, "set -e; PATH=$TOOLS:$PATH\n"+example, env...)
	require.NoError(t, err, example+"\n"+out)
}

// mounted has an example use a directory in dir for a stick.
func mounted(t *testing.T, dir, example string) string {
	t.Helper()
	stick := filepath.Join(dir, "stick")
	require.NoError(t, os.MkdirAll(stick, 0o700))
	return strings.ReplaceAll(example, "/media/stick/", "stick/")
}

// written returns the files that an example makes.
func written(example string) []string {
	fields := strings.Fields(example)
	var names []string
	for i, field := range fields {
		if field == "-o" {
			names = append(names, fields[i+1])
		}
	}
	if len(fields) > 1 && fields[1] == "copy" {
		_, path, _ := strings.Cut(fields[len(fields)-1], ":")
		path, _, _ = strings.Cut(path, ":")
		if path != "" {
			names = append(names, path)
		}
	}
	return names
}

// Every line that begins with the command in the README and in guides runs too, one after
// the other.
func TestExamplesOfReadme(t *testing.T) {
	for page, least := range map[string]int{"README.md": 8, "docs/saving.md": 12, "docs/pushing.md": 2, "docs/air-gap.md": 8, "docs/ci.md": 5} {
		t.Run(page, func(t *testing.T) { runPage(t, page, least) })
	}
}

func runPage(t *testing.T, page string, least int) {
	reg := imagetest.NewRegistry(t)
	dir, env := exampleDir(t, reg)
	for _, name := range []string{"images.tar", "image.tar", "alpine.tar"} {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}
	require.NoError(t, os.Rename(filepath.Join(dir, "two.tar"), filepath.Join(dir, "more.tar")))
	images := testdata(t, ".")
	require.NoError(t, os.Symlink(images, filepath.Join(dir, filepath.Base(images))))
	text, err := os.ReadFile(testdata(t, "../"+page))
	require.NoError(t, err)
	_, err = shell(t, dir, "PATH=$TOOLS:$PATH; docker-archive save -q -o app.tar --name example.com/app:1 $IMAGES:one", env...)
	require.NoError(t, err)
	count := 0
	for line := range strings.Lines(string(text)) {
		line, code := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		line = strings.TrimPrefix(line, "$ ")
		if !code || !strings.HasPrefix(line, "docker") && !strings.HasPrefix(line, "helm ") || !strings.Contains(line, "docker-archive ") {
			continue
		}
		if fields := strings.Fields(line); slices.Contains([]string{"browse", "load", "serve"}, fields[1]) {
			continue // As in help: TestExamplesOfServers and others run them.
		}
		count++
		for _, name := range written(line) { // Each example is of its own.
			require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
		}
		line = strings.ReplaceAll(line, "localhost:5000/", reg.Address+"/")
		line = mounted(t, dir, line)
		if strings.HasPrefix(line, "docker-archive add ") { // The reader already has an archive.
			line = "[ -e images.tar ] || docker-archive save -q -o images.tar alpine:3.20\n" + line
		}
		out, err := shell(t, dir, "set -e; PATH=$TOOLS:$PATH\n"+line, env...)
		if strings.HasPrefix(line, "docker-archive diff ") && strings.Contains(out, "1") { // They differ.
			continue
		}
		require.NoError(t, err, line+"\n"+out)
	}
	assert.GreaterOrEqual(t, count, least)
}
