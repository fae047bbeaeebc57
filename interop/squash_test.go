//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// TestSquashAsOthersDo squashes an image of two layers, and compares the tree with those of
// buildah commit --squash and docker export, which mount it.
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
		// Docker puts these into every container.
		shell(t, `cd "$1" && rm -rf .dockerenv dev etc proc sys`, root)
		requireSameTree(t, readTree(t, root), withoutUserXattrs(ours))
	})
}

// withoutUserXattrs is a tree as docker export keeps it.
func withoutUserXattrs(tree map[string]string) map[string]string {
	kept := map[string]string{}
	for name, line := range tree {
		kept[name], _, _ = strings.Cut(line, " user.") // They come last.
	}
	return kept
}

// TestBuildSquashed builds an image of several steps with buildah, as layers and squashed, and
// squashes its layers: the trees are the same.
func TestBuildSquashed(t *testing.T) {
	dir := daemonDir(t)
	buildah := buildahIn(t, dir)
	files := filepath.Join(dir, "context", "files")
	makeTree(t, files)
	// Debian's shell and the programs of the steps, as the base.
	base := filepath.Join(dir, "base")
	shell(t, `
		mkdir -p "$1"
		for p in /bin/sh /bin/rm /bin/ln /bin/mv /bin/chmod /bin/chown /usr/bin/touch; do
			cp -L --parents "$p" $(ldd "$p" | grep -o '/[^ ]*') "$1"
		done`, base)
	setTimes(t, base)
	unpackImage(t, filepath.Join(dir, "base"), &compose.Image{Layers: []compose.Layer{{Content: compose.Dir(base, compose.PackOptions{Root: true})}}, Change: forLinux})
	buildah.run(t, "pull", "--quiet", "oci:"+filepath.Join(dir, "base-layout")+":x")
	// Hard links are made in one step: a layer that adds one to a file below has a copy of it.
	dockerfile := filepath.Join(dir, "context", "Dockerfile")
	writeText(t, dockerfile, `FROM `+strings.TrimSpace(buildah.run(t, "images", "--quiet"))+`
COPY files /opt
RUN rm -r /opt/gone /opt/file && touch -d @1000 /opt/made && ln /opt/made /opt/dir/made && chown 3:4 /opt/dir/plain
COPY --chown=5:6 files/gone /opt/gone
RUN rm /opt/gone/one && mv /opt/empty /opt/moved && chmod 4755 /opt/moved && ln -s dir /opt/linked && touch -h -d @1000 /opt/linked
COPY files/gone/one /opt/linked/through
RUN rm -r /opt/sticky && rm /opt/linked
COPY files/empty /opt/linked
`)
	trees := map[string]map[string]string{}
	for _, how := range []string{"--layers", "--squash"} {
		name, layout := "localhost/built"+how, filepath.Join(dir, "built"+how)
		buildah.run(t, "bud", "--quiet", "--isolation", "chroot", "--pull-never", how, "--tag", name, filepath.Dir(dockerfile))
		buildah.run(t, "push", "--quiet", name, "oci:"+layout+":x")
		debian(t, "umoci").run(t, "unpack", "--image", layout+":x", layout+"-bundle")
		root := filepath.Join(layout+"-bundle", "rootfs")
		require.NoError(t, os.RemoveAll(filepath.Join(root, "etc"))) // RUN creates it anew every time.
		trees[how] = readTree(t, root)
	}
	layout := filepath.Join(dir, "built--layers")
	require.Len(t, layoutImage(t, layout, "x").diffIDs, 8)
	root := unpackImage(t, filepath.Join(dir, "ours"), &compose.Image{Base: openLayout(t, layout, "x"), Squash: true})
	require.NoError(t, os.RemoveAll(filepath.Join(root, "etc")))
	ours := readTree(t, root)
	requireSameTree(t, trees["--layers"], ours)
	requireSameTree(t, trees["--squash"], ours)
}
