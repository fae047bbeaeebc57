//go:build interop

package interop

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"

	inside "github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// TestInsideAsOthersSeeIt compares the trees of extract, export and the fs.FS of an image
// of two layers, which has everything in it, with those of crane export, umoci unpack,
// podman image mount and docker export.
func TestInsideAsOthersSeeIt(t *testing.T) {
	const name = "example.com/two:1"
	dir := daemonDir(t)
	old, now := filepath.Join(dir, "old"), filepath.Join(dir, "now")
	makeTree(t, old)
	shell(t, `cp -a "$1" "$2"`, old, now)
	changeTree(t, now)
	o := compose.PackOptions{Root: true}
	img := &compose.Image{Layers: []compose.Layer{{Content: compose.Dir(old, o)}, {Content: compose.DiffDir(old, now, o)}}, Change: forLinux}
	path := filepath.Join(dir, "two.tar")
	_, err := making.WriteArchive(t.Context(), path, img, &making.ArchiveOptions{Names: []reference.Named{parseNames(t, []string{name})[0]}})
	require.NoError(t, err)
	own := dockerArchive(t)
	own.run(t, "extract", path, filepath.Join(dir, "extracted"))
	ours := readTree(t, filepath.Join(dir, "extracted"))
	untar := func(t *testing.T, file, root string) map[string]string {
		t.Helper()
		require.NoError(t, os.Mkdir(root, 0o755))
		shell(t, `tar --xattrs --xattrs-include='*' --same-owner -xpf "$1" -C "$2"`, file, root)
		return readTree(t, root)
	}

	t.Run("export", func(t *testing.T) {
		own.run(t, "export", "-o", filepath.Join(dir, "ours.tar"), path)
		requireSameTree(t, ours, untar(t, filepath.Join(dir, "ours.tar"), filepath.Join(dir, "ours")))
	})
	t.Run("diff", func(t *testing.T) {
		own.run(t, "diff", "--times", path, filepath.Join(dir, "extracted"))
		own.run(t, "diff", path, now)
	})
	t.Run("fs.FS", func(t *testing.T) {
		a, err := inside.Open(t.Context(), path)
		require.NoError(t, err)
		defer a.Close()
		m, err := a.Images()[0].Manifest(t.Context())
		require.NoError(t, err)
		f, err := m.Files(t.Context(), inside.FilesOptions{})
		require.NoError(t, err)
		defer f.Close()
		seen := readFS(t, f.FS(t.Context()))
		onDisk := readFS(t, os.DirFS(filepath.Join(dir, "extracted")))
		require.Equal(t, onDisk, seen)
	})
	t.Run("crane export", func(t *testing.T) {
		file := filepath.Join(dir, "crane.tar")
		shell(t, `"$1" export - "$2" <"$3"`, built(t, "crane").argv[0], file, path)
		theirs := untar(t, file, filepath.Join(dir, "crane"))
		require.NotContains(t, theirs, "dangling", "crane leaves out links that lead out of the image, which lead to its root")
		theirs["dangling"] = ours["dangling"]
		requireSameTree(t, theirs, ours)
	})
	t.Run("umoci unpack", func(t *testing.T) {
		layout := filepath.Join(dir, "layout")
		debian(t, "skopeo").run(t, "--insecure-policy", "copy", "--quiet", "docker-archive:"+path, "oci:"+layout+":x")
		debian(t, "umoci").run(t, "unpack", "--image", layout+":x", layout+"-bundle")
		requireSameTree(t, readTree(t, filepath.Join(layout+"-bundle", "rootfs")), ours)
	})
	t.Run("podman image mount", func(t *testing.T) {
		podman := podmanIn(t, dir)
		podman.run(t, "load", "--quiet", "--input", path)
		root := strings.TrimSpace(podman.run(t, "image", "mount", name))
		defer podman.run(t, "image", "unmount", name)
		requireSameTree(t, readTree(t, root), ours)
	})
	t.Run("docker export", func(t *testing.T) {
		docker := newDebianDocker(t).(dockerd).docker
		docker.run(t, "load", "--input", path)
		id := strings.TrimSpace(docker.run(t, "create", name, "/none"))
		file, root := filepath.Join(dir, "docker.tar"), filepath.Join(dir, "docker")
		docker.run(t, "export", "--output", file, id)
		untar(t, file, root)
		shell(t, `cd "$1" && rm -rf .dockerenv dev etc proc sys`, root) // Docker puts these into every container.
		requireSameTree(t, readTree(t, root), withoutUserXattrs(ours))
	})
}

// TestInsideThroughLinks looks at an upper layer that has files below a symbolic link of the
// lower, and one that takes such a file away: all clients that mount layers show a directory
// in the place of the link, and so do we.
func TestInsideThroughLinks(t *testing.T) {
	const name = "example.com/links:1"
	dir := daemonDir(t)
	lower, upper := hardTars(t, dir)
	img := &compose.Image{Change: forLinux, Layers: []compose.Layer{{Content: compose.Tar(lower)}, {Content: compose.Tar(upper)}}}
	path := filepath.Join(dir, "links.tar")
	_, err := making.WriteArchive(t.Context(), path, img, &making.ArchiveOptions{Names: []reference.Named{parseNames(t, []string{name})[0]}})
	require.NoError(t, err)
	root := filepath.Join(dir, "extracted")
	dockerArchive(t).run(t, "extract", path, root)
	ours := readTree(t, root)
	require.Contains(t, ours, "bin/through")
	require.NotContains(t, ours, "usr/bin/through")

	docker := newDebianDocker(t).(dockerd).docker
	docker.run(t, "load", "--input", path)
	id := strings.TrimSpace(docker.run(t, "create", name, "/none"))
	file, root := filepath.Join(dir, "docker.tar"), filepath.Join(dir, "docker")
	docker.run(t, "export", "--output", file, id)
	require.NoError(t, os.Mkdir(root, 0o755))
	shell(t, `tar --xattrs --xattrs-include='*' --same-owner -xpf "$1" -C "$2" && cd "$2" && rm -rf .dockerenv dev etc proc sys`, file, root)
	theirs := readTree(t, root)
	require.Equal(t, "drwxr-xr-x 0:0", theirs["dir"], "docker gives a directory without an entry in a layer attributes of its own, and containerd those of the layers below, as we do")
	require.Equal(t, "drwxr-xr-x 0:0", theirs["sticky"])
	require.Contains(t, theirs["bin/through"], "---------- 0:0", "docker gives a file what the header of a hard link to it says")
	for _, name := range []string{"dir", "sticky", "bin/through", "other"} {
		theirs[name] = withoutUserXattrs(ours)[name]
	}
	requireSameTree(t, theirs, withoutUserXattrs(ours))
}

// readFS returns a line for every file of a file system.
func readFS(t *testing.T, fsys fs.FS) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, fs.WalkDir(fsys, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !fs.ValidPath(path) {
			return nil // Package fs cannot open it.
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		line := info.Mode().String()
		switch info.Mode().Type() {
		case 0:
			content, err := fs.ReadFile(fsys, path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %x", info.ModTime().Unix(), sha256.Sum256(content))
		case fs.ModeSymlink:
			target, err := fs.ReadLink(fsys, path)
			if err != nil {
				return err
			}
			line += " " + target
		}
		found[path] = line
		return nil
	}))
	return found
}
