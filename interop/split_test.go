//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestJoinedParts has other clients load the joined parts of an archive, with the list of the
// parts behind its end.
func TestJoinedParts(t *testing.T) {
	const name = "example.com/interop/hello:v1"
	dir := t.TempDir()
	layout := helloLayout(t, dir)
	command := dockerArchive(t)
	first := filepath.Join(dir, "hello.tar.000")
	command.run(t, "save", "--layout", "docker", "--split", "1MiB", "--name", name, "-o", filepath.Join(dir, "hello.tar"), "oci:"+layout+":hello")
	files, err := filepath.Glob(filepath.Join(dir, "hello.tar.[0-9]*"))
	require.NoError(t, err)
	require.Greater(t, len(files), 1)
	a := archive{
		name: "joined", path: filepath.Join(dir, "joined.tar"),
		images: []expectation{{image: layoutImage(t, layout, "hello"), names: []string{name}}},
	}
	var joined []byte
	for _, file := range files {
		part, err := os.ReadFile(file)
		require.NoError(t, err)
		joined = append(joined, part...)
	}
	require.NoError(t, os.WriteFile(a.path, joined, 0o600))
	command.run(t, "verify", first)
	command.run(t, "verify", a.path)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.start(t).load(t, a)
			require.NoError(t, err)
			compare(t, a, c.keeps, got)
		})
	}

	// From the parts themselves, to an empty destination.
	docker := startDockerd(t, built(t, "dockerd"), startBuiltContainerd(t), false)
	command.run(t, "load", "--host", docker.docker.argv[slices.Index(docker.docker.argv, "--host")+1], first)
	got, err := docker.inspect(t, name)
	require.NoError(t, err)
	compare(t, a, false, got)
	registry := startRegistry(t)
	command.run(t, "push", first, registry)
	command.run(t, "copy", "docker://"+registry+"/interop/hello:v1", "dir:"+t.TempDir())
}
