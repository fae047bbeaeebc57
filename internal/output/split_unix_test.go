//go:build unix

package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/parts"
)

const mebi = 1 << 20

func content(n int) []byte {
	block := make([]byte, 70_001) // No two parts are the same.
	_, _ = rand.NewChaCha8([32]byte{1}).Read(block)
	return bytes.Repeat(block, n/len(block)+1)[:n]
}

// fill writes the content of a file, in pieces, in any order, at the same time.
func fill(t *testing.T, f RandomAccess, data []byte) {
	t.Helper()
	const piece = 300_001
	var wg sync.WaitGroup
	for _, i := range rand.Perm(len(data)/piece + 1) {
		wg.Go(func() {
			p := data[i*piece : min(len(data), (i+1)*piece)]
			n, err := f.WriteAt(p, int64(i*piece))
			assert.NoError(t, err)
			assert.Equal(t, len(p), n)
		})
	}
	wg.Wait()
	require.NoError(t, f.Truncate(int64(len(data))))
}

func splitOutput(t *testing.T, path string, size int64) *Output {
	t.Helper()
	o, err := CreateSplit(t.Context(), path, size)
	require.NoError(t, err)
	return o
}

// joinedParts returns the bytes of all parts in a directory, and the list that they end
// with; all but the last have the same size.
func joinedParts(t *testing.T, dir string, size int64) ([]byte, *parts.List) {
	t.Helper()
	var all, last []byte
	all = []byte{}
	found := names(t, dir)
	for i, name := range found {
		require.Equal(t, parts.Name("x.tar", i), name)
		last = []byte(read(t, filepath.Join(dir, name)))
		assert.LessOrEqual(t, int64(len(last)), size)
		if i < len(found)-1 {
			assert.Len(t, last, int(size))
		}
		all = append(all, last...)
	}
	l, err := parts.Read(bytes.NewReader(last), int64(len(last)))
	require.NoError(t, err)
	require.NotNil(t, l)
	require.Len(t, l.Parts, len(found))
	return all, l
}

// The joined parts begin with the bytes written, however many these are. Zeros and the
// list follow, which is never torn.
func TestSplit(t *testing.T) {
	for _, n := range []int{1024, mebi - 4096, mebi - 512, mebi, mebi + 512, 3*mebi - 512, 3 * mebi, 5*mebi/2 + 512} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			dir := t.TempDir()
			o := splitOutput(t, filepath.Join(dir, "x.tar"), mebi+100)
			assert.False(t, o.Stream())
			o.NoSync()
			data := content(n)
			fill(t, o.RandomAccess(), append(data, "what is cut off"...))
			require.NoError(t, o.RandomAccess().Truncate(int64(n)))
			got := make([]byte, n+1)
			read, err := o.RandomAccess().ReadAt(got, 0)
			assert.ErrorIs(t, err, io.EOF)
			assert.True(t, bytes.Equal(data, got[:read]))
			assert.NoFileExists(t, filepath.Join(dir, "x.tar.000"))
			require.NoError(t, o.Commit(t.Context()))
			all, l := joinedParts(t, dir, mebi)
			require.True(t, bytes.HasPrefix(all, data))
			encoded, err := l.Encode()
			require.NoError(t, err)
			assert.Equal(t, int64(n), l.Size)
			zeros := all[n : len(all)-len(encoded)]
			assert.Equal(t, make([]byte, len(zeros)), zeros)
			require.NoError(t, o.Abort())
			assert.NotEmpty(t, names(t, dir))
		})
	}
}

// Bytes written far behind the end, and not needed in the end, are gone.
func TestSplitTruncated(t *testing.T) {
	dir := t.TempDir()
	o := splitOutput(t, filepath.Join(dir, "x.tar"), mebi)
	fill(t, o.RandomAccess(), content(5*mebi))
	_, err := o.RandomAccess().WriteAt([]byte("x"), 20*mebi)
	require.NoError(t, err)
	require.NoError(t, o.RandomAccess().Truncate(mebi+1))
	require.NoError(t, o.Commit(t.Context()))
	assert.Len(t, names(t, dir), 2)
	_, err = o.RandomAccess().WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, fs.ErrClosed)
}

func TestSplitRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	_, err := CreateSplit(t.Context(), path, mebi-1)
	require.ErrorContains(t, err, "too small")
	_, err = CreateSplit(t.Context(), path, -1)
	require.ErrorContains(t, err, "too small")
	for _, stream := range []string{"-", "/dev/stdout", "/dev/null"} {
		_, err = CreateSplit(t.Context(), stream, mebi)
		require.Error(t, err, stream)
	}
	_, err = CreateSplit(t.Context(), dir, mebi)
	require.ErrorContains(t, err, "is a directory")
	_, err = CreateSplit(t.Context(), filepath.Join(dir, "none", "x.tar"), mebi)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = CreateSplit(t.Context(), "", mebi)
	require.Error(t, err)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = CreateSplit(cancelled, path, mebi)
	require.ErrorIs(t, err, context.Canceled)
	for _, options := range []Options{{Split: mebi, Compress: compression.Zstd}, {Split: mebi, Compress: compression.Gzip}} {
		_, err = splitOutput(t, path, mebi).With(options)
		require.ErrorContains(t, err, "cannot be split")
	}
	_, err = ToWriter(io.Discard).With(Options{Split: mebi})
	require.ErrorIs(t, err, errSplitStream)
	o := splitOutput(t, path, mebi)
	_, err = o.RandomAccess().WriteAt([]byte("x"), parts.Max*mebi)
	require.ErrorContains(t, err, "more than 1000 parts")
	_, err = o.RandomAccess().WriteAt([]byte("xx"), parts.Max*mebi-1)
	require.ErrorContains(t, err, "more than 1000 parts")
	require.NoError(t, o.Abort())
	assert.Empty(t, names(t, dir))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.tar.007"), nil, 0o600))
	_, err = CreateSplit(t.Context(), path, mebi)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, "x.tar.007")
}

// bothWays runs a test with files without names and with temporary ones.
func bothWays(t *testing.T, f func(t *testing.T)) {
	real := createPart
	defer func() { createPart = real }()
	for name, create := range creators {
		createPart = func(path string) (*Output, error) { return create(path, nil) }
		t.Run(name, f)
	}
}

// Every part is on the disk before the first has its name, and the first is the last.
func TestSplitSyncedBeforeNamed(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		for _, noSync := range []bool{false, true} {
			dir := t.TempDir()
			seen := recordSyncs(t, filepath.Join(dir, "x.tar.003"), nil, nil)
			o := splitOutput(t, filepath.Join(dir, "x.tar"), mebi)
			if noSync {
				o.NoSync()
			}
			fill(t, o.RandomAccess(), content(3*mebi+512))
			require.NoError(t, o.Commit(t.Context()))
			file := "file before the name"
			if noSync {
				assert.Empty(t, *seen)
			} else {
				assert.Equal(t, []string{file, file, file, file, "directory"}, *seen)
			}
			assert.Len(t, names(t, dir), 4)
		}
	})
}

// Whichever part fails, and when, nothing is left of any.
func TestSplitFaults(t *testing.T) {
	failure := errors.New("injected")
	bothWays(t, func(t *testing.T) {
		for i := range 4 {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.tar")

			// It cannot be made.
			create, made := createPart, 0
			createPart = func(path string) (*Output, error) {
				if made++; made > i {
					return nil, failure
				}
				return create(path)
			}
			o, err := CreateSplit(t.Context(), path, mebi)
			if err == nil {
				_, err = o.RandomAccess().WriteAt(content(4*mebi), 0)
				require.NoError(t, o.Abort())
			}
			createPart = create
			require.ErrorIs(t, err, failure)
			require.ErrorContains(t, err, "creating ")
			assert.Empty(t, names(t, dir))

			// It cannot be synced.
			sync, synced := syncFile, 0
			syncFile = func(f *local.File) error {
				if synced++; synced > i {
					return failure
				}
				return sync(f)
			}
			o = splitOutput(t, path, mebi)
			fill(t, o.RandomAccess(), content(3*mebi+512))
			err = o.Commit(t.Context())
			syncFile = sync
			require.ErrorIs(t, err, failure)
			assert.Empty(t, names(t, dir))

			// It cannot be written, or read again.
			o = splitOutput(t, path, mebi)
			o.NoSync()
			fill(t, o.RandomAccess(), content(3*mebi+512))
			require.NoError(t, o.split.parts[i].File.Close())
			_, err = o.RandomAccess().WriteAt(content(4*mebi), 0)
			require.ErrorIs(t, err, fs.ErrClosed)
			require.ErrorContains(t, err, parts.Name(path, i))
			require.Error(t, o.Commit(t.Context()))
			assert.Empty(t, names(t, dir))

			// Its name is somebody else's meanwhile.
			o = splitOutput(t, path, mebi)
			o.NoSync()
			fill(t, o.RandomAccess(), content(3*mebi+512))
			require.NoError(t, os.WriteFile(parts.Name(path, i), []byte("theirs"), 0o600))
			err = o.Commit(t.Context())
			require.ErrorIs(t, err, ErrNotEmpty)
			require.ErrorContains(t, err, parts.Name(path, i))
			assert.Equal(t, []string{filepath.Base(parts.Name(path, i))}, names(t, dir))
			assert.Equal(t, "theirs", read(t, parts.Name(path, i)))
		}
	})
}

func TestSplitCancelled(t *testing.T) {
	dir := t.TempDir()
	o := splitOutput(t, filepath.Join(dir, "x.tar"), mebi)
	fill(t, o.RandomAccess(), content(3*mebi))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, o.split.complete(cancelled), context.Canceled)
	require.ErrorIs(t, o.Commit(cancelled), context.Canceled)
	assert.Empty(t, names(t, dir))
	o = splitOutput(t, filepath.Join(dir, "x.tar"), mebi)
	require.ErrorContains(t, o.Commit(t.Context()), "internal error")
	assert.Empty(t, names(t, dir))
}

// An archive in parts is not changed in place, and the error says so.
func TestSplitIsNotChanged(t *testing.T) {
	dir := t.TempDir()
	o := splitOutput(t, filepath.Join(dir, "x.tar"), mebi)
	fill(t, o.RandomAccess(), content(3*mebi))
	require.NoError(t, o.Commit(t.Context()))
	for _, path := range []string{dir, filepath.Join(dir, "x.tar.000"), filepath.Join(dir, "x.tar.003")} {
		_, err := Open(t.Context(), path, false)
		require.ErrorIs(t, err, errParts)
		_, err = Replace(t.Context(), path, false)
		require.ErrorIs(t, err, errParts)
	}
}
