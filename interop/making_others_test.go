//go:build interop

package interop

import (
	"archive/tar"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	ocilayout "go.podman.io/image/v5/oci/layout"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// TestTarsAsOthersDo gives tars that have everything in them, and one that changes them in
// every way that only a tar can, to other programs that make images of tars, and to us: the
// unpacked files are the same.
func TestTarsAsOthersDo(t *testing.T) {
	dir := daemonDir(t)
	lower, upper := hardTars(t, dir)
	ours := func(name string, squash bool, tars ...string) map[string]string {
		img := &compose.Image{Change: forLinux, Squash: squash}
		for _, path := range tars {
			img.Layers = append(img.Layers, compose.Layer{Content: compose.Tar(path)})
		}
		return readTree(t, unpackImage(t, filepath.Join(dir, name), img))
	}
	one, both := ours("one", false, lower), ours("both", false, lower, upper)
	require.NotContains(t, both, "gone/one")
	require.Contains(t, both, "usr/bin/through")

	t.Run("squashed", func(t *testing.T) {
		requireSameTree(t, one, ours("one-squashed", true, lower))
		// umoci follows a link of a lower layer. A squashed image is as overlayfs shows it, as
		// in TestInside: a directory takes the place of the link, and the target of the link
		// stays.
		squashed := ours("both-squashed", true, lower, upper)
		require.Contains(t, squashed["bin"], "drwx")
		require.Contains(t, squashed, "bin/through")
		require.Contains(t, squashed, "usr/bin/tool")
		layered := maps.Clone(both)
		for _, tree := range []map[string]string{layered, squashed} {
			maps.DeleteFunc(tree, func(name, _ string) bool {
				return name == "bin" || name == "other" || strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "usr/bin/")
			})
		}
		requireSameTree(t, layered, squashed)
	})
	t.Run("crane append", func(t *testing.T) {
		path := filepath.Join(dir, "crane.tar")
		built(t, "crane").run(t, "append", "--oci-empty-base", "--new_tag", "made:1", "--output", path, "--new_layer", lower, "--new_layer", upper)
		requireSameTree(t, readTree(t, unpackArchive(t, path, filepath.Join(dir, "crane"))), both)
	})
	t.Run("umoci raw add-layer", func(t *testing.T) {
		layout := emptyLayout(t, filepath.Join(dir, "raw"))
		for _, path := range []string{lower, upper} {
			debian(t, "umoci").run(t, "raw", "add-layer", "--image", layout+":x", path)
		}
		debian(t, "umoci").run(t, "unpack", "--image", layout+":x", layout+"-bundle")
		requireSameTree(t, readTree(t, filepath.Join(layout+"-bundle", "rootfs")), both)
	})
	t.Run("docker import", func(t *testing.T) {
		docker := newDebianDocker(t).(dockerd).docker
		docker.run(t, "import", lower, "made:1")
		path := filepath.Join(dir, "docker.tar")
		docker.run(t, "save", "--output", path, "made:1")
		requireSameTree(t, readTree(t, unpackArchive(t, path, filepath.Join(dir, "docker"))), one)
	})
}

// TestInsertedAsUmociDoes inserts a directory, and takes files of the base away, with umoci
// insert and with make.
func TestInsertedAsUmociDoes(t *testing.T) {
	dir := t.TempDir()
	base, files := filepath.Join(dir, "base"), filepath.Join(dir, "files")
	makeTree(t, base)
	makeTree(t, files)
	start := &compose.Image{Layers: []compose.Layer{{Content: compose.Dir(base, compose.PackOptions{Root: true})}}, Change: forLinux}
	theirs := filepath.Join(dir, "theirs")
	unpackImage(t, theirs, start)
	umoci := debian(t, "umoci")
	image := theirs + "-layout:x"
	umoci.run(t, "insert", "--image", image, files, "/opt")
	umoci.run(t, "insert", "--image", image, "--opaque", files, "/gone")
	umoci.run(t, "insert", "--image", image, "--whiteout", "/replaced")
	umoci.run(t, "unpack", "--image", image, theirs+"-bundle2")

	layout := filepath.Join(dir, "ours")
	unpackImage(t, layout, start)
	dockerArchive(t).run(t, "make", "--insecure-policy", "--quiet", "--base", "oci:"+layout+"-layout:x",
		"--layer", files+":/opt", "--opaque", "/gone", "--layer", files+":/gone", "--remove", "/replaced", "oci:"+layout+"-layout:y")
	umoci.run(t, "unpack", "--image", layout+"-layout:y", layout+"-bundle2")
	requireSameTree(t, readTree(t, filepath.Join(theirs+"-bundle2", "rootfs")), readTree(t, filepath.Join(layout+"-bundle2", "rootfs")))
}

// TestRepackedAsUmociDoes changes an unpacked image in every way, and makes a layer of the
// changes with umoci repack and with make.
func TestRepackedAsUmociDoes(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	makeTree(t, root)
	layout := filepath.Join(dir, "image")
	rootfs := unpackImage(t, layout, &compose.Image{Layers: []compose.Layer{{Content: compose.Dir(root, compose.PackOptions{Root: true})}}, Change: forLinux})
	layout += "-layout"
	changeTree(t, rootfs)
	umoci := debian(t, "umoci")
	umoci.run(t, "repack", "--image", layout+":theirs", filepath.Dir(rootfs))
	dockerArchive(t).run(t, "make", "--insecure-policy", "--quiet", "--base", "oci:"+layout+":x", "--rootfs", rootfs, "oci:"+layout+":ours")
	var trees []map[string]string
	for _, ref := range []string{"theirs", "ours"} {
		bundle := filepath.Join(dir, ref)
		umoci.run(t, "unpack", "--image", layout+":"+ref, bundle)
		trees = append(trees, readTree(t, filepath.Join(bundle, "rootfs")))
	}
	requireSameTree(t, trees[0], trees[1])
	requireSameTree(t, readTree(t, rootfs), trees[1])
}

// TestManyFiles makes an image of 100,000 files, squashed, and compares the tree that umoci
// unpacks with them; also unsquashed if the test has time for it.
func TestManyFiles(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for i := range 100_000 {
		parent := filepath.Join(root, fmt.Sprint("dir", i/250))
		if i%250 == 0 {
			require.NoError(t, os.MkdirAll(parent, 0o755))
		}
		require.NoError(t, os.WriteFile(filepath.Join(parent, fmt.Sprint("file", i)), fmt.Appendln(nil, i), 0o644))
	}
	setTimes(t, root)
	want := readTree(t, root)
	img := &compose.Image{Layers: []compose.Layer{{Content: compose.Dir(root, compose.PackOptions{Root: true})}}, Change: forLinux}
	kinds := []bool{true}
	if os.Getenv("DOCKERARCHIVE_TEST_LONG") != "" {
		kinds = append(kinds, false)
	}
	for _, squash := range kinds {
		img.Squash = squash
		name := filepath.Join(dir, fmt.Sprint("squash-", squash))
		writeLayout(t, name+"-layout", img)
		debian(t, "umoci").within(10*time.Minute).run(t, "raw", "unpack", "--image", name+"-layout:x", name)
		requireSameTree(t, want, readTree(t, name))
	}
}

// hardTars writes the tar of a directory that has everything, as GNU tar packs it, and one upon
// it with whiteouts, an opaque directory, and files whose directories are symbolic links.
func hardTars(t *testing.T, dir string) (lower, upper string) {
	t.Helper()
	root := filepath.Join(dir, "hard")
	makeTree(t, root)
	lower, upper = filepath.Join(dir, "lower.tar"), filepath.Join(dir, "upper.tar")
	shell(t, `tar --xattrs --xattrs-include='*' --format=pax --pax-option=delete=atime,delete=ctime --numeric-owner --sort=name -C "$1" -cf "$2" .`, root, lower)
	f, err := os.Create(upper)
	require.NoError(t, err)
	defer f.Close()
	w := tar.NewWriter(f)
	for _, h := range []tar.Header{
		{Name: "gone/.wh..wh..opq", Mode: 0o600},
		{Name: "gone/new", Mode: 0o644, Size: 3},
		{Name: ".wh.replaced", Mode: 0o600},
		{Name: "dir/.wh.plain", Mode: 0o600}, // Its hard links stay.
		{Name: "bin/through", Mode: 0o4711, Size: 3, Uid: 9},
		{Name: "bin/.wh.tool", Mode: 0o600},
		{Name: "other", Typeflag: tar.TypeLink, Linkname: "bin/through"},
		{Name: "sticky/bytes\xff\n", Mode: 0o600, Size: 3},
		{Name: "sticky/attributes", Mode: 0o600, Size: 3, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}},
		{Name: "null", Typeflag: tar.TypeChar, Mode: 0o620, Devmajor: 1, Devminor: 7},
		{Name: "empty", Typeflag: tar.TypeDir, Mode: 0o750, Gid: 3},
	} {
		h.ModTime, h.Format = time.Unix(1.1e9, 0), tar.FormatPAX
		require.NoError(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write([]byte("new"))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return lower, upper
}

// emptyLayout returns an OCI layout of an image without layers, tagged x.
func emptyLayout(t *testing.T, path string) string {
	t.Helper()
	debian(t, "umoci").run(t, "init", "--layout", path)
	debian(t, "umoci").run(t, "new", "--image", path+":x")
	return path
}

// unpackArchive has umoci unpack the layers of a docker-archive. Its config need not name a
// platform.
func unpackArchive(t *testing.T, path, name string) string {
	t.Helper()
	debian(t, "skopeo").run(t, "--insecure-policy", "copy", "docker-archive:"+path, "oci:"+name+"-layout:x")
	debian(t, "umoci").run(t, "raw", "unpack", "--image", name+"-layout:x", name+"-rootfs")
	return name + "-rootfs"
}

// openLayout opens an image of an OCI layout as a base.
func openLayout(t *testing.T, layout, ref string) compose.Base {
	t.Helper()
	parsed, err := ocilayout.NewReference(layout, ref)
	require.NoError(t, err)
	base, err := making.OpenBase(t.Context(), nil, nil, parsed)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, base.Close()) })
	return base
}
