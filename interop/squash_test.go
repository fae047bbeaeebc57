//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/image/v5/docker/reference"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/making"
)

// TestSquashAsOthersDo squashes an image of two layers, and compares the tree with what
// buildah commit --squash and docker export make of it, who mount it for that.
func TestSquashAsOthersDo(t *testing.T) {
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
	img.Squash = true
	ours := readTree(t, unpackImage(t, filepath.Join(dir, "squashed"), img))

	t.Run("buildah", func(t *testing.T) {
		buildah := buildahIn(t, dir)
		buildah.run(t, "pull", "--quiet", "docker-archive:"+path+":"+name)
		buildah.run(t, "from", "--name", "two", name)
		layout := filepath.Join(dir, "theirs")
		buildah.run(t, "commit", "--quiet", "--squash", "two", "oci:"+layout+":x")
		debian(t, "umoci").run(t, "unpack", "--image", layout+":x", layout+"-bundle")
		requireSameTree(t, readTree(t, filepath.Join(layout+"-bundle", "rootfs")), ours)
	})
	t.Run("docker", func(t *testing.T) {
		docker := newDebianDocker(t).(dockerd).docker
		docker.run(t, "load", "--input", path)
		id := strings.TrimSpace(docker.run(t, "create", name, "/none"))
		exported, root := filepath.Join(dir, "exported.tar"), filepath.Join(dir, "exported")
		docker.run(t, "export", "--output", exported, id)
		require.NoError(t, os.Mkdir(root, 0o755))
		shell(t, `tar --xattrs --xattrs-include='*' --same-owner -xpf "$1" -C "$2"`, exported, root)
		// What docker puts into every container.
		shell(t, `cd "$1" && rm -rf .dockerenv dev etc proc sys`, root)
		requireSameTree(t, readTree(t, root), withoutUserXattrs(ours))
	})
}

// withoutUserXattrs is what docker export keeps of a tree.
func withoutUserXattrs(tree map[string]string) map[string]string {
	kept := map[string]string{}
	for name, line := range tree {
		kept[name], _, _ = strings.Cut(line, " user.") // They come last.
	}
	return kept
}
