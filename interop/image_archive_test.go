//go:build interop

package interop

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noZstd are the clients that cannot load zstd layers themselves, with their messages.
var noZstd = map[string]string{
	"docker 20.10": "unexpected EOF",
	"crane":        "gzip: invalid header",
}

// imageArchives are written by the command under test in the OCI layout.
func imageArchives(t *testing.T, dir string) []archive {
	t.Helper()
	one := layoutImage(t, testLayout, "one")
	zstd := layoutImage(t, testLayout, "zstd")
	multi := layoutImages(t, testLayout, "multi")
	return []archive{
		{
			name:      "image-archive one name",
			path:      copyImageArchive(t, dir, "one.tar", "one", oneName),
			images:    []expectation{{image: one, names: []string{oneName}}},
			manifests: true,
		},
		{
			name:      "image-archive several names",
			path:      copyImageArchive(t, dir, "names.tar", "one", oneName, hubName, portName),
			images:    []expectation{{image: one, names: []string{oneName, hubName, portName}}},
			manifests: true,
		},
		{
			name:      "image-archive zstd layers",
			path:      copyImageArchive(t, dir, "zstd.tar", "zstd", twoName),
			images:    []expectation{{image: zstd, names: []string{twoName}}},
			manifests: true,
			refused:   noZstd,
		},
		{
			name:      "image-archive all platforms",
			path:      copyImageArchive(t, dir, "multi.tar", "multi", twoName),
			images:    []expectation{{image: multi[0], others: multi[1:], names: []string{twoName}}},
			manifests: true,
		},
		{
			name:      "image-archive referrers",
			path:      referrersArchive(t, dir),
			images:    []expectation{{image: one, names: []string{oneName}}},
			manifests: true,
		},
		{
			name: "image-archive several images",
			path: saveArchive(t, dir, "image-archive:"+copyImageArchive(t, dir, "save-one.tar", "one", oneName),
				"image-archive:"+copyImageArchive(t, dir, "save-multi.tar", "multi", hubName)),
			images: []expectation{
				{image: one, names: []string{oneName}},
				{image: multi[0], others: multi[1:], names: []string{hubName}},
			},
			manifests: true,
			refused: map[string]string{
				"crane": "tarball must contain only a single image",
			},
		},
	}
}

// saveArchive saves images with all their platforms, and with the names that they have, into a
// new archive in dir.
func saveArchive(t *testing.T, dir string, images ...string) string {
	t.Helper()
	path := filepath.Join(dir, "saved.tar")
	dockerArchive(t).run(t, append([]string{"save", "--insecure-policy", "--all-platforms", "-o", path}, images...)...)
	return path
}

// copyImageArchive copies an image of the test layout, with all its platforms, into a new image
// archive in dir.
func copyImageArchive(t *testing.T, dir, file, ref string, names ...string) string {
	t.Helper()
	path := filepath.Join(dir, "image-archive-"+file)
	args := []string{"copy", "--insecure-policy", "--all"}
	for _, name := range names[1:] {
		args = append(args, "--additional-tag", name)
	}
	dockerArchive(t).run(t, append(args, "oci:"+testLayout+":"+ref, "image-archive:"+path+":"+names[0])...)
	return path
}

// TestImageArchiveIsLossless copies an index into an archive and out again, with the command
// under test and with skopeo, and unpacks an image with umoci: the digests stay.
func TestImageArchiveIsLossless(t *testing.T) {
	dir := t.TempDir()
	path := copyImageArchive(t, dir, "multi.tar", "multi", twoName)
	want := layoutImages(t, testLayout, "multi")

	ours := filepath.Join(dir, "ours")
	dockerArchive(t).run(t, "copy", "--all", "image-archive:"+path, "oci:"+ours+":copied")
	assert.Equal(t, want, layoutImages(t, ours, "copied"))

	theirs := filepath.Join(dir, "theirs")
	debian(t, "skopeo").with("--insecure-policy").run(t, "copy", "--all", "oci-archive:"+path+":v1", "oci:"+theirs+":copied")
	assert.Equal(t, want, layoutImages(t, theirs, "copied"))

	extracted := filepath.Join(dir, "extracted")
	extract(t, copyImageArchive(t, dir, "one.tar", "one", oneName), extracted)
	debian(t, "umoci").run(t, "unpack", "--image", extracted+":v1", filepath.Join(dir, "bundle"))
	assert.FileExists(t, filepath.Join(dir, "bundle", "config.json"))
}

// extract unpacks the files of an archive.
func extract(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	for archive := tar.NewReader(f); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		require.True(t, filepath.IsLocal(header.Name), header.Name)
		target := filepath.Join(dir, header.Name)
		if header.Typeflag == tar.TypeDir {
			require.NoError(t, os.MkdirAll(target, 0o755))
			continue
		}
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o755))
		require.NoError(t, os.WriteFile(target, content, 0o644))
	}
}
