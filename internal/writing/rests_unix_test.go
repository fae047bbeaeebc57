//go:build unix

package writing

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// writtenFile notes how much is written, and how far.
type writtenFile struct {
	tarfile.File
	bytes, end int64
}

func (f *writtenFile) WriteAt(p []byte, off int64) (int, error) {
	f.bytes += int64(len(p))
	f.end = max(f.end, off+int64(len(p)))
	return f.File.WriteAt(p, off)
}

// A decompressed layer that was not complete goes to the gap that was left for
// it, so that nothing has to be moved.
func TestRestsLeaveGaps(t *testing.T) {
	layers := []testLayer{randomLayer(1, 400_000), randomLayer(2, 300_000), randomLayer(3, 200_000)}
	m := newImage(t, "m", layers...)
	l := layouts["docker"]
	want := written(t, l, m)
	for missing := range layers[:2] {
		left := append([]byte{}, want[:3*512+900_000+2*512]...)
		start := missing * (512 + 400_384) // Blocks of 512.
		clear(left[start : start+512+len(layers[missing].diff)])
		path := filepath.Join(t.TempDir(), "archive.tar")
		require.NoError(t, os.WriteFile(path+output.PartialSuffix, left, 0o600))
		out, err := output.CreatePartial(t.Context(), path)
		require.NoError(t, err)
		file := &writtenFile{File: out.File()}
		a, err := newArchive(t.Context(), out, tarfile.NewFileWriter(file, 0, t.TempDir()), path, Options{
			Layout: l, Plan: plan(m), ReadEnd: endsOf(layers), Rests: func(digest.Digest) bool { return true },
		})
		require.NoError(t, err)
		for i, layer := range layers {
			assert.Equal(t, i != missing, a.Assume(layer.digest(), int64(len(layer.blob)), digest.FromBytes(layer.diff)))
		}
		require.NoError(t, write(a, m))
		assert.Equal(t, want, read(t, path))
		assert.LessOrEqual(t, file.end, int64(len(want)), "nothing was written behind")
		assert.Less(t, file.bytes, int64(len(layers[missing].diff)+20_000), "nothing was moved")
	}
}

// Entries that do not match their digests hide nothing behind them, and are not
// looked at without end although each may hold some.
func TestRestsOfLiars(t *testing.T) {
	l := layouts["docker"]
	data := random(1, 1000)
	for _, claimed := range []int{1, 3, 2 * maxSearches} { // Blocks, so that as many overlap.
		var file bytes.Buffer
		entry := func(d digest.Digest, size int) {
			header, err := l.BlobHeader(d, int64(size))
			require.NoError(t, err)
			require.NoError(t, tar.NewWriter(&file).WriteHeader(header))
		}
		for i := range 3 * claimed {
			entry(digest.FromString(fmt.Sprint(i)), 512*claimed)
		}
		file.Write(make([]byte, 512*claimed))
		at := int64(file.Len())
		entry(digest.FromBytes(data), len(data))
		file.Write(append(data, make([]byte, 24)...))
		search := restSearch{file: bytes.NewReader(file.Bytes()), layout: l, to: int64(file.Len()), max: maxRests, stored: maxHoles, wanted: func(digest.Digest) bool { return true }}
		found, err := search.run(t.Context())
		require.NoError(t, err)
		require.Len(t, found, 1, claimed)
		assert.Equal(t, at, found[0].Offset)
		assert.LessOrEqual(t, len(search.checked), 4*claimed)
	}
}

// damagedDisk cannot be read behind an offset.
type damagedDisk struct {
	io.ReaderAt
	good int64
}

func (d damagedDisk) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > d.good {
		return 0, &local.Error{Op: "read", Path: "left", Err: syscall.EIO}
	}
	return d.ReaderAt.ReadAt(p, off)
}

// A blob that cannot be read is skipped, and no reason to fail: it is fetched
// again.
func TestRestsOfADamagedDisk(t *testing.T) {
	l := layouts["docker"]
	var file bytes.Buffer
	for _, data := range [][]byte{random(1, 512), random(2, 1<<20)} {
		header, err := l.BlobHeader(digest.FromBytes(data), int64(len(data)))
		require.NoError(t, err)
		require.NoError(t, tar.NewWriter(&file).WriteHeader(header))
		file.Write(data)
	}
	disk := damagedDisk{bytes.NewReader(file.Bytes()), 1 << 18}
	search := restSearch{file: disk, layout: l, to: int64(file.Len()), max: maxRests, stored: maxHoles, wanted: func(digest.Digest) bool { return true }}
	found, err := search.run(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.EqualValues(t, 512, found[0].Size)
	assert.Len(t, search.checked, 2)
}

// However many entries there are, only so many are noted and read.
func TestRestsAreLimited(t *testing.T) {
	l := layouts["docker"]
	var file bytes.Buffer
	entry := func(d digest.Digest) {
		header, err := l.BlobHeader(d, 0)
		require.NoError(t, err)
		require.NoError(t, tar.NewWriter(&file).WriteHeader(header))
	}
	entry(digest.FromString("")) // Blobs that are found count, too.
	for i := range 100 {
		entry(digest.FromString(fmt.Sprint(i)))
	}
	search := restSearch{file: bytes.NewReader(file.Bytes()), layout: l, to: int64(file.Len()), max: 10, stored: maxHoles, wanted: func(digest.Digest) bool { return true }}
	found, err := search.run(t.Context())
	require.NoError(t, err)
	assert.Len(t, found, 1)
	assert.Len(t, search.checked, 10)
}

// A file's holes that look like content are not read without end.
func TestRestsOfHoles(t *testing.T) {
	l := layouts["docker"]
	const size = 1 << 32
	header, err := l.BlobHeader(digest.FromString("zeros"), size)
	require.NoError(t, err)
	var file bytes.Buffer
	require.NoError(t, tar.NewWriter(&file).WriteHeader(header))
	sparse := holeyFile{Reader: bytes.NewReader(file.Bytes())}
	search := restSearch{file: &sparse, layout: l, to: 512 + size, max: maxRests, stored: 512, wanted: func(digest.Digest) bool { return true }}
	found, err := search.run(t.Context())
	require.NoError(t, err)
	assert.Empty(t, found)
	assert.LessOrEqual(t, sparse.read, int64(1<<20))
}

// holeyFile has a hole behind its content, and counts the bytes read.
type holeyFile struct {
	*bytes.Reader
	read int64
}

func (f *holeyFile) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < f.Size() {
		_, _ = f.Reader.ReadAt(p, off)
	}
	f.read += int64(len(p))
	return len(p), nil
}

func (f *holeyFile) NextData(off int64) int64 {
	if off < f.Size() {
		return off
	}
	return math.MaxInt64
}
