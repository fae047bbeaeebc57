package input

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
)

func TestOpenFile(t *testing.T) {
	content := bytes.Repeat([]byte("content "), 1<<17)
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	temp := t.TempDir()
	for name, test := range map[string]struct{ stored, want []byte }{
		"plain": {content, content}, "gzip": {compressed.Bytes(), content}, "empty": {nil, []byte{}}, "short": {[]byte{0x1f}, []byte{0x1f}},
	} {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, test.stored, 0o600))
		f, err := Open(t.Context(), path, Options{TempDir: temp})
		require.NoError(t, err, name)
		got, err := io.ReadAll(f)
		require.NoError(t, err, name)
		assert.True(t, bytes.Equal(test.want, got), name)
		require.NoError(t, f.Close())
	}
	path := filepath.Join(t.TempDir(), "cut")
	require.NoError(t, os.WriteFile(path, compressed.Bytes()[:compressed.Len()/2], 0o600))
	_, err = Open(t.Context(), path, Options{TempDir: temp})
	require.ErrorIs(t, err, errdef.ErrDamaged)
	require.ErrorContains(t, err, "it is cut short")
	require.ErrorContains(t, err, path)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left, "a temporary file has no name")

	_, err = Open(t.Context(), temp, Options{})
	require.ErrorContains(t, err, "directory")
	_, err = Open(t.Context(), filepath.Join(temp, "none"), Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open(t.Context(), path, Options{TempDir: filepath.Join(temp, "none")})
	require.ErrorContains(t, err, "temporary file")
}

// TestOpenStdinFromItsPosition reads what is left of a file that is the standard
// input.
func TestOpenStdinFromItsPosition(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte("consumed, left"), 0o600))
	stdin := os.Stdin
	defer func() { os.Stdin = stdin }()
	var err error
	os.Stdin, err = os.Open(path)
	require.NoError(t, err)
	defer os.Stdin.Close()
	_, err = os.Stdin.Seek(10, io.SeekStart)
	require.NoError(t, err)
	f, err := Open(t.Context(), Stdin, Options{})
	require.NoError(t, err)
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	assert.Equal(t, "left", string(got))
	require.NoError(t, f.Close())
}
