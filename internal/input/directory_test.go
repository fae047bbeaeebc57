package input

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// layoutDir makes a directory of files, by name.
func layoutDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	return dir
}

func TestOpenDirectory(t *testing.T) {
	long := "blobs/sha512/" + strings.Repeat("d", 128)
	want := map[string]string{
		layoutMarker: "{}", "index.json": strings.Repeat("i", tarBlock), "blobs/sha256/a": strings.Repeat("a", 1000),
		"blobs/sha256/none": "", long: "long",
	}
	dir := layoutDir(t, want)
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "blobs/sha256/link")))
	want["blobs/sha256/link"] = want["blobs/sha256/a"]

	f, err := Open(t.Context(), dir, Options{TempDir: "/none"})
	require.NoError(t, err)
	all, err := io.ReadAll(f)
	require.NoError(t, err)
	got := map[string]string{}
	var order []string
	tr := tar.NewReader(bytes.NewReader(all))
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		content, err := io.ReadAll(tr)
		require.NoError(t, err)
		got[hdr.Name] = string(content)
		order = append(order, hdr.Name)
	}
	assert.Equal(t, want, got)
	assert.Equal(t, []string{"blobs/sha256/a", "blobs/sha256/link", "blobs/sha256/none", long, "index.json", layoutMarker}, order)
	assert.Equal(t, make([]byte, tarEnd), all[len(all)-tarEnd:])
	require.NoError(t, iotest.TestReader(io.NewSectionReader(f, 0, f.Size()), all))

	require.NoError(t, os.Truncate(filepath.Join(dir, "blobs/sha256/a"), 999))
	_, err = f.ReadAt(make([]byte, len(all)), 0)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, "blobs/sha256/a")
	require.NoError(t, f.Close())
}

func TestOpenDirectoryFails(t *testing.T) {
	dir := layoutDir(t, map[string]string{"index.json": "{}"})
	_, err := Open(t.Context(), dir, Options{})
	require.EqualError(t, err, "reading "+dir+": is a directory")

	outside := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	dir = layoutDir(t, map[string]string{layoutMarker: "{}"})
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "index.json")))
	_, err = Open(t.Context(), dir, Options{})
	require.ErrorContains(t, err, "index.json")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Open(ctx, dir, Options{})
	require.ErrorIs(t, err, context.Canceled)
}
