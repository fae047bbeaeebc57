package input_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/parts"
)

const partSize = parts.MinSize

// content returns data that looks neither compressed nor like any known format.
func content(seed byte, size int) []byte {
	block := make([]byte, 70_001) // No two parts are the same.
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(block)
	block[0] = 0
	return bytes.Repeat(block, size/len(block)+1)[:size]
}

// writeParts writes data in parts of partSize to x.tar in a directory.
func writeParts(t *testing.T, dir string, data []byte) {
	t.Helper()
	l := &parts.List{Size: int64(len(data))}
	pieces := slices.Collect(slices.Chunk(data, partSize))
	for _, p := range pieces {
		ends, err := parts.Ends(bytes.NewReader(p), int64(len(p)))
		require.NoError(t, err)
		l.Parts = append(l.Parts, parts.Part{Size: int64(len(p)), Digest: digest.FromBytes(p), Ends: ends})
	}
	encoded, err := l.Encode()
	require.NoError(t, err)
	for i, p := range pieces {
		if i == len(pieces)-1 {
			p = append(slices.Clip(p), encoded...)
		}
		require.NoError(t, os.WriteFile(parts.Name(filepath.Join(dir, "x.tar"), i), p, 0o600))
	}
}

// The parts are one file, whichever of them is opened, for several readers at a time.
func TestParts(t *testing.T) {
	dir := t.TempDir()
	data := content(1, 3*partSize+5000)
	writeParts(t, dir, data)
	for _, path := range []string{dir, filepath.Join(dir, "x.tar.000"), filepath.Join(dir, "x.tar.002")} {
		f, err := input.Open(t.Context(), path, input.Options{})
		require.NoError(t, err)
		assert.Equal(t, int64(len(data)), f.Size())
		assert.False(t, f.Copied)
		got, err := io.ReadAll(f)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, got))
		var readers sync.WaitGroup
		for i := range 8 {
			readers.Go(func() {
				off := i*partSize/2 + 17
				p := make([]byte, partSize)
				n, err := f.ReadAt(p, int64(off))
				want := data[min(off, len(data)):min(off+len(p), len(data))]
				assert.True(t, bytes.Equal(want, p[:n]), i)
				if len(want) < len(p) {
					assert.Equal(t, io.EOF, err)
				} else {
					assert.NoError(t, err)
				}
			})
		}
		readers.Wait()
		_, err = f.ReadAt(make([]byte, 1), -1)
		require.Error(t, err)
		problems, err := f.CheckParts(t.Context())
		require.NoError(t, err)
		assert.Empty(t, problems)
		require.NoError(t, f.Close())
		_, err = f.ReadAt(make([]byte, 1), 0)
		require.ErrorIs(t, err, os.ErrClosed)
	}
	// The list may have a part of its own.
	whole := content(1, 2*partSize)
	own := t.TempDir()
	writeParts(t, own, append(whole, 0))
	f, err := input.Open(t.Context(), own, input.Options{})
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// Each wrong part is named.
func TestPartsThatAreNotAll(t *testing.T) {
	write := func(name string, data []byte) { require.NoError(t, os.WriteFile(name, data, 0o600)) }
	rename := func(from, to string) { require.NoError(t, os.Rename(from, to)) }
	remove := func(names ...string) {
		for _, name := range names {
			require.NoError(t, os.Remove(name))
		}
	}
	truncate := func(name string, by int64) {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(name, info.Size()+by))
	}
	last := func() []byte {
		data, err := os.ReadFile("x.tar.003")
		require.NoError(t, err)
		return data
	}
	for name, c := range map[string]struct {
		spoil func()
		want  []string
	}{
		"first missing":        {func() { remove("x.tar.000") }, []string{"x.tar.000 is missing"}},
		"two missing":          {func() { remove("x.tar.001", "x.tar.002") }, []string{"x.tar.001 is missing", "x.tar.002 is missing"}},
		"last missing":         {func() { remove("x.tar.003") }, []string{"x.tar.003, or another after it, is missing"}},
		"all but one missing":  {func() { remove("x.tar.001", "x.tar.002", "x.tar.003") }, []string{"x.tar.001, or another"}},
		"more missing":         {func() { remove("x.tar.001", "x.tar.003") }, []string{"x.tar.001 is missing", "x.tar.003, or another"}},
		"swapped":              {func() { rename("x.tar.000", "a"); rename("x.tar.002", "x.tar.000"); rename("a", "x.tar.002") }, []string{"x.tar.000 is what x.tar.002 should be", "x.tar.002 is what x.tar.000 should be"}},
		"swapped with last":    {func() { rename("x.tar.000", "a"); rename("x.tar.003", "x.tar.000"); rename("a", "x.tar.003") }, []string{"x.tar.000 has the list that x.tar.003 should have"}},
		"stale":                {func() { write("x.tar.001", content(9, partSize)) }, []string{"x.tar.001 is of another archive"}},
		"truncated":            {func() { truncate("x.tar.001", -1) }, []string{"x.tar.001 has 1048575 bytes and should have 1048576"}},
		"empty":                {func() { truncate("x.tar.000", -partSize) }, []string{"x.tar.000 has 0 bytes"}},
		"longer":               {func() { truncate("x.tar.002", 1) }, []string{"x.tar.002 has 1048577 bytes"}},
		"last truncated":       {func() { truncate("x.tar.003", -1) }, []string{"or x.tar.003 is cut short"}},
		"last cut before":      {func() { write("x.tar.003", last()[512:]) }, []string{"x.tar.003: it has 4488 bytes before its list of parts and should have 5000"}},
		"last damaged":         {func() { d := last(); d[5010] ^= 1; write("x.tar.003", d) }, []string{"x.tar.003: its list of parts is not what its SHA-256 says"}},
		"last's content":       {func() { d := last(); d[10] ^= 1; write("x.tar.003", d) }, []string{"x.tar.003 is of another archive, or damaged"}},
		"left of another":      {func() { write("x.tar.004", content(9, 77)) }, []string{"x.tar.004 is of another archive: this one has 4 parts"}},
		"last of a longer one": {func() { longer(t, "x.tar.006") }, []string{"x.tar.006 is of another archive"}},
		"last of a former one": {func() { shorter(t) }, []string{"x.tar.001 has 1124 bytes and should have 1048576"}},
		"a directory":          {func() { remove("x.tar.001"); require.NoError(t, os.Mkdir("x.tar.001", 0o700)) }, []string{"x.tar.001 is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			writeParts(t, ".", content(1, 3*partSize+5000))
			c.spoil()
			for _, path := range []string{".", "x.tar.000"} {
				_, err := input.Open(t.Context(), path, input.Options{})
				require.ErrorIs(t, err, errdef.ErrDamaged)
				for _, want := range c.want {
					assert.ErrorContains(t, err, want)
				}
			}
		})
	}
}

// longer leaves the last part of an archive of seven.
func longer(t *testing.T, name string) {
	dir := t.TempDir()
	writeParts(t, dir, content(5, 6*partSize+100))
	require.NoError(t, os.Rename(filepath.Join(dir, name), name))
}

// shorter leaves the last of two parts in the midst.
func shorter(t *testing.T) {
	dir := t.TempDir()
	writeParts(t, dir, content(5, partSize+100))
	require.NoError(t, os.Rename(filepath.Join(dir, "x.tar.001"), "x.tar.001"))
}

// Some faults show only when all is read.
func TestCheckParts(t *testing.T) {
	dir := t.TempDir()
	data := content(1, 3*partSize+5000)
	writeParts(t, dir, data)
	f, err := input.Open(t.Context(), dir, input.Options{})
	require.NoError(t, err)
	defer f.Close()
	name := filepath.Join(dir, "x.tar.001")
	w, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer w.Close()
	_, err = w.WriteAt([]byte{data[partSize+50_000] ^ 1}, 50_000)
	require.NoError(t, err)
	problems, err := f.CheckParts(t.Context())
	require.NoError(t, err)
	require.Len(t, problems, 1)
	var mismatch *errdef.MismatchError
	require.ErrorAs(t, problems[0], &mismatch)
	assert.Equal(t, name, mismatch.Name)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.CheckParts(cancelled)
	require.ErrorIs(t, err, context.Canceled)

	// A part is cut short while it is read.
	require.NoError(t, w.Truncate(60_000))
	n, err := f.ReadAt(make([]byte, partSize), partSize)
	assert.Equal(t, 60_000, n)
	require.ErrorIs(t, err, errdef.ErrDamaged)
	require.ErrorContains(t, err, name)
	_, err = f.CheckParts(t.Context())
	require.ErrorContains(t, err, name)
}

// Other files may be called as they like.
func TestWhatOnlyLooksLikeAPart(t *testing.T) {
	dir := t.TempDir()
	tar := append(content(1, 1<<20), make([]byte, 1024)...)
	for _, name := range []string{"backup.000", "backup.001"} { // Two archives, not two parts of one.
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), tar, 0o600))
		f, err := input.Open(t.Context(), filepath.Join(dir, name), input.Options{})
		require.NoError(t, err)
		assert.Equal(t, int64(len(tar)), f.Size())
		problems, err := f.CheckParts(t.Context())
		require.NoError(t, err)
		assert.Empty(t, problems)
		require.NoError(t, f.Close())
	}
	_, err := input.Open(t.Context(), filepath.Join(dir, "none.000"), input.Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = input.Open(t.Context(), t.TempDir(), input.Options{})
	require.ErrorContains(t, err, "is a directory")
	writeParts(t, dir, tar)
	_, err = input.Open(t.Context(), dir, input.Options{})
	require.ErrorContains(t, err, "backup, x.tar: say which")
}
