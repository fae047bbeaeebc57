//go:build interop

package interop

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oddNames are names that containers/image has no grammar for, and whether Docker 29 with the
// containerd store has one.
var oddNames = map[string]bool{
	"[::1]:5999/m/app:1":        true,
	"[2001:db8::1]/m/app:1":     true,
	"bücher.example/m/app:1":    false,
	"EXAMPLE.com/App:1":         false,
	"example.com/app:v1+build":  false,
	"example.com/UPPER/app:1":   false,
	"xn--bcher-kva.example/a:1": true, // Everybody has a grammar for that.
}

// namedArchive writes an archive of an image under a name as containerd writes it.
func namedArchive(t *testing.T, name string) (path, digest string) {
	t.Helper()
	data, err := os.ReadFile("../testdata/cases/name-ipv6.tar")
	require.NoError(t, err)
	path = filepath.Join(t.TempDir(), "named.tar")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close() // tar.Writer.Close reports the error.
	w, r := tar.NewWriter(f), tar.NewReader(bytes.NewReader(data))
	for h, err := r.Next(); err != io.EOF; h, err = r.Next() {
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		content = bytes.ReplaceAll(content, []byte("[::1]:5999/m/app:1"), []byte(name))
		h.Size = int64(len(content))
		require.NoError(t, w.WriteHeader(h))
		_, err = w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return path, strings.TrimSpace(dockerArchive(t).run(t, "inspect", "--format", "{{.Digest}}", path))
}

// TestLoadNames loads images under names that containers/image cannot parse: containerd keeps
// all of them, Docker 29 those that it can have, and the others refuse them by name.
func TestLoadNames(t *testing.T) {
	da := dockerArchive(t)
	refused := func(t *testing.T, name string, args ...string) {
		t.Helper()
		output, err := da.try(t, args...)
		require.Error(t, err, output)
		assert.Contains(t, err.Error(), name)
	}
	t.Run("containerd", func(t *testing.T) {
		c := startBuiltContainerd(t).namespace("names")
		for name := range oddNames {
			path, digest := namedArchive(t, name)
			output := da.run(t, "load", "--insecure-policy", "--address", c.socket, "--namespace", "names", path)
			assert.Equal(t, name+" "+digest, strings.TrimSpace(output))
			complete(t, c, name, digest, true)
		}
	})
	for server, store := range map[string]bool{"docker with containerd's store": true, "docker": false} {
		t.Run(server, func(t *testing.T) {
			docker := startDockerd(t, built(t, "dockerd"), startBuiltContainerd(t), store).docker
			host := docker.argv[len(docker.argv)-1]
			for name, keeps := range oddNames {
				path, digest := namedArchive(t, name)
				load := []string{"load", "--insecure-policy", "--host", host, path}
				if strings.HasPrefix(name, "xn--") {
					da.run(t, load...)
				} else if !keeps || !store {
					before := docker.run(t, "image", "ls")
					refused(t, name, load...)
					assert.Equal(t, before, docker.run(t, "image", "ls"))
				} else {
					assert.Equal(t, name+" "+digest, strings.TrimSpace(da.run(t, load...)))
					assert.Contains(t, docker.run(t, "image", "inspect", "--format", "{{json .RepoTags}}", name), `"`+name+`"`)
				}
			}
		})
	}
	t.Run("podman", func(t *testing.T) {
		dir := daemonDir(t)
		podman := podmanIn(t, dir)
		storage := "containers-storage:[vfs@" + filepath.Join(dir, "root") + "+" + filepath.Join(dir, "run") + "]"
		for name := range oddNames {
			path, _ := namedArchive(t, name)
			load := []string{"load", "--insecure-policy", "--to", storage, path}
			if strings.HasPrefix(name, "xn--") {
				da.run(t, load...)
				podman.run(t, "image", "exists", name)
			} else {
				refused(t, name, load...)
			}
		}
	})
}
