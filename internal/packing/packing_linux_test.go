package packing_test

import (
	"archive/tar"
	"bytes"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/internal/packing"
)

func TestSpecialFiles(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	l, err := net.Listen("unix", filepath.Join(root, "socket"))
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // The test is over then.
	var skipped []string
	o := options()
	o.Skipped = func(path string) { skipped = append(skipped, path) }
	got := layer(t, func(w *packing.Writer) error { return w.Dir(root, o) })
	assert.Equal(t, []string{"fifo 6 600"}, list(t, got))
	assert.Equal(t, []string{filepath.Join(root, "socket")}, skipped)
}

func TestXattrs(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a", "", 0o644)
	for name, value := range map[string]string{"user.x": "a\x00b", "user.overlay.opaque": "y"} {
		if err := unix.Setxattr(filepath.Join(root, "a"), name, []byte(value), 0); err != nil {
			t.Skip("the temporary directory has no extended attributes: ", err)
		}
	}
	got := layer(t, func(w *packing.Writer) error { return w.Dir(root, options()) })
	h, err := tar.NewReader(bytes.NewReader(got)).Next()
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"SCHILY.xattr.user.x": "a\x00b"}, h.PAXRecords)
}
