package local

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFile(t *testing.T) {
	raw, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	require.NoError(t, err)
	f := NewFile(raw, "shown")
	assert.Equal(t, "shown", f.Name())
	assert.Equal(t, raw.Fd(), f.Fd())
	_, err = f.Write([]byte("one "))
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("two three"), 4)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(7))
	got := make([]byte, 8)
	n, err := f.ReadAt(got, 0)
	assert.True(t, err == io.EOF, "as io.ReaderAt wants it")
	assert.Equal(t, "one two", string(got[:n]))
	require.NoError(t, f.Close())
}

// Every error is of this machine and has the name that was given.
func TestErrors(t *testing.T) {
	raw, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	require.NoError(t, err)
	f := NewFile(raw, "shown")
	require.NoError(t, f.Close())
	for want, operation := range map[string]func() error{
		"write shown: file already closed":    func() error { _, err := f.Write([]byte("x")); return err },
		"read shown: file already closed":     func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		"truncate shown: file already closed": func() error { return f.Truncate(0) },
		"close shown: file already closed":    f.Close,
	} {
		err := operation()
		require.EqualError(t, err, want)
		require.ErrorIs(t, err, fs.ErrClosed)
		var local *Error
		require.True(t, errors.As(err, &local))
		assert.Equal(t, "shown", local.Path)
	}
	_, err = f.WriteAt([]byte("x"), 0)
	require.EqualError(t, err, "write shown: file already closed")
}

// Bytes that are there already are not written again.
func TestKeepSame(t *testing.T) {
	raw, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	require.NoError(t, err)
	f := NewFile(raw, "shown")
	defer f.Close()
	f.KeepSame()
	var changes []Change
	f.Observe(func(c Change) { changes = append(changes, c) })
	data := bytes.Repeat([]byte("0123456789"), 10_000)
	write := func(p []byte, off int64) {
		t.Helper()
		n, err := f.WriteAt(p, off)
		require.NoError(t, err)
		assert.Equal(t, len(p), n)
	}
	write(data, 0)
	write(data, 0)
	write(data[5:], 5)
	assert.Len(t, changes, 1)
	write(append(bytes.Clone(data), "more"...), 0)
	assert.Len(t, changes, 2)
	data[99_999] = 'x'
	write(data, 0)
	assert.Len(t, changes, 3)
	got := make([]byte, 100_004)
	_, err = f.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, string(data)+"more", string(got))
}

// Where the system knows holes, they are reported, and take no space.
func TestHoles(t *testing.T) {
	raw, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	require.NoError(t, err)
	defer raw.Close()
	f := NewFile(raw, "shown")
	const at, size = 8 << 20, 64 << 20
	_, err = f.WriteAt([]byte("data"), at)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	data, behind := f.NextData(0), f.NextData(size/2)
	allocated, err := f.Allocated()
	require.NoError(t, err)
	if data == 0 { // It knows none.
		assert.EqualValues(t, size/2, behind)
		return
	}
	assert.LessOrEqual(t, data, int64(at))
	assert.EqualValues(t, at, f.NextData(at))
	assert.Greater(t, behind, int64(size))
	assert.Less(t, allocated, int64(at))
}
