package tarfile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// sparseArchives returns archives of the same files, by GNU tar in all its formats and
// by bsdtar.
func sparseArchives(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/sparse/*.tar.gz")
	require.NoError(t, err)
	require.Len(t, paths, 5)
	archives := map[string][]byte{}
	for _, path := range paths {
		f, err := os.Open(path)
		require.NoError(t, err)
		r, err := gzip.NewReader(f)
		require.NoError(t, err)
		archives[filepath.Base(path)], err = io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	return archives
}

// holed is the content of the files in testdata/sparse: pieces of 4 KiB, one in 16.
func holed(pieces, size int) []byte {
	data := make([]byte, size)
	for i := range pieces {
		copy(data[i<<14+1<<12:][:1<<12], bytes.Repeat([]byte{byte('A' + i%26)}, 1<<12))
	}
	return data
}

func TestSparseFiles(t *testing.T) {
	want := map[string][]byte{
		"pieces": holed(30, 30<<14+5000),
		strings.Repeat("d", 60) + "/" + strings.Repeat("n", 60): holed(3, 3<<14),
		"hole":           holed(0, 100000),
		"ends-with-data": holed(2, 1<<14+1<<13),
		"plain":          []byte("plain"),
	}
	for name, data := range sparseArchives(t) {
		x, err := index(data)
		require.NoError(t, err, name)
		assert.True(t, x.Terminated(), name)
		offsets := map[int64]bool{}
		for file, content := range want {
			m, err := x.Lookup(file)
			require.NoError(t, err, "%s: %s", name, file)
			assert.EqualValues(t, len(content), m.Size, "%s: %s", name, file)
			assert.Equal(t, file != "plain", x.IsSparse(m), "%s: %s", name, file)
			assert.False(t, offsets[m.Offset], "%s: %s", name, file)
			offsets[m.Offset] = true
			require.NoError(t, iotest.TestReader(x.Open(m), content), "%s: %s", name, file)
			got, err := x.ReadFile(file, 1<<20)
			require.NoError(t, err, "%s: %s", name, file)
			assert.True(t, bytes.Equal(content, got), "%s: %s", name, file)
		}
		assert.Len(t, offsets, len(want))
	}
}

// Every byte of a sparse file is found from every offset.
func TestSparseReadAt(t *testing.T) {
	stored := "abcdefgh"
	s := &sparseFile{r: strings.NewReader(stored), size: 20, segments: []segment{{2, 3, 0}, {5, 1, 3}, {10, 4, 4}}}
	want := []byte("\x00\x00abcd\x00\x00\x00\x00efgh\x00\x00\x00\x00\x00\x00")
	for from := range len(want) + 2 {
		for length := range len(want) + 3 {
			p := bytes.Repeat([]byte{0xff}, length)
			n, err := s.ReadAt(p, int64(from))
			end := min(from+length, len(want))
			if from+length > len(want) && length > 0 {
				require.ErrorIs(t, err, io.EOF)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, string(want[min(from, end):end]), string(p[:n]), "%d bytes from %d", length, from)
		}
	}
	_, err := s.ReadAt(nil, -1)
	require.Error(t, err)
	s.r = strings.NewReader(stored[:6]) // Cut since it was indexed.
	n, err := s.ReadAt(make([]byte, 20), 0)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, 12, n)
}

// sparsePAX makes an archive of one sparse file with this map, and one after it.
func sparsePAX(t testing.TB, size int64, sparseMap, content string) []byte {
	// archive/tar writes no sparse files, so the names are replaced by others as long.
	data := build(t, item{name: "x", content: content, records: map[string]string{
		"XXX.sparse.map":       sparseMap,
		"XXX.sparse.numblocks": fmt.Sprint((strings.Count(sparseMap, ",") + 1) / 2),
		"XXX.sparse.size":      fmt.Sprint(size),
	}}, item{name: "after", content: "after"})
	return bytes.ReplaceAll(data, []byte("XXX.sparse."), []byte("GNU.sparse."))
}

func TestSparseMaps(t *testing.T) {
	for _, c := range []struct {
		name, sparseMap, content string
		size                     int64
		err                      error
		want                     string
	}{
		{name: "good", sparseMap: "1,2,4,1", content: "abc", size: 6, want: "\x00ab\x00c\x00"},
		{name: "nothing stored", sparseMap: "3,0", size: 3, want: "\x00\x00\x00"},
		{name: "an empty piece", sparseMap: "0,1,1,0,1,1", content: "ab", size: 2, want: "ab"},
		{name: "overlapping", sparseMap: "0,2,1,1", content: "abc", size: 6, err: errdef.ErrDamaged},
		{name: "out of order", sparseMap: "4,1,0,1", content: "ab", size: 6, err: errdef.ErrDamaged},
		{name: "outside", sparseMap: "5,2", content: "ab", size: 6, err: errdef.ErrDamaged},
		{name: "negative offset", sparseMap: "-1,2", content: "ab", size: 6, err: errdef.ErrDamaged},
		{name: "negative length", sparseMap: "0,2,3,-1", content: "a", size: 6, err: errdef.ErrDamaged},
		{name: "overflow", sparseMap: "9223372036854775807,2", content: "ab", size: math.MaxInt64, err: errdef.ErrDamaged},
		{name: "more stored", sparseMap: "0,2", content: "abc", size: 6, err: errdef.ErrDamaged},
		{name: "less stored", sparseMap: "0,4", content: "abc", size: 6, err: errdef.ErrDamaged},
		{name: "no pairs", sparseMap: "0,3,6", content: "abc", size: 6, err: errdef.ErrDamaged},
		{name: "no numbers", sparseMap: "a,b", content: "abc", size: 6, err: errdef.ErrDamaged},
		{name: "2^60 bytes", sparseMap: "0,3", content: "abc", size: 1 << 60, err: errdef.ErrLimit},
		{name: "by one", sparseMap: "0,3", content: "abc", size: maxHoles + 4, err: errdef.ErrLimit},
	} {
		x, err := index(sparsePAX(t, c.size, c.sparseMap, c.content))
		require.ErrorIs(t, err, c.err, c.name)
		if c.err == nil {
			got, err := x.ReadFile("x", 100)
			require.NoError(t, err, c.name)
			assert.Equal(t, c.want, string(got), c.name)
			got, err = x.ReadFile("after", 100)
			require.NoError(t, err, c.name)
			assert.Equal(t, "after", string(got), c.name)
		}
	}
	x, err := index(sparsePAX(t, maxHoles+3, "0,3", "abc"))
	require.NoError(t, err)
	_, err = x.ReadFile("x", 100)
	require.ErrorIs(t, err, errdef.ErrLimit)
}

// The limits are of all sparse files together.
func TestSparseLimits(t *testing.T) {
	one := sparsePAX(t, maxHoles/2+4, "0,3", "abc")
	one = one[:len(one)-2*blockSize]
	_, err := index(bytes.Repeat(one, 2))
	require.ErrorIs(t, err, errdef.ErrLimit)

	// 1,000 bytes, every other one a piece.
	var pairs []string
	for i := range 500 {
		pairs = append(pairs, fmt.Sprintf("%d,1", 2*i))
	}
	one = sparsePAX(t, 1000, strings.Join(pairs, ","), strings.Repeat("x", 500))
	one = one[:len(one)-2*blockSize]
	_, err = index(bytes.Repeat(one, maxSegments/500))
	require.NoError(t, err)
	_, err = index(bytes.Repeat(one, maxSegments/500+1))
	require.ErrorIs(t, err, errdef.ErrLimit)
}

// A hard link to a sparse file is one more name of it.
func TestSparseHardLink(t *testing.T) {
	data := sparsePAX(t, 6, "1,2,4,1", "abc")
	data = append(data[:len(data)-2*blockSize], build(t, item{name: "l", kind: tar.TypeLink, link: "x"})...)
	x, err := index(data)
	require.NoError(t, err)
	got, err := x.ReadFile("l", 100)
	require.NoError(t, err)
	assert.Equal(t, "\x00ab\x00c\x00", string(got))
}

// For any headers of sparse files, archive/tar and this package agree on the content,
// or one of them refuses it.
func TestSparseAsArchiveTar(t *testing.T) {
	for name, good := range sparseArchives(t) {
		for at := 0; at < 8*blockSize; at += 211 {
			data := bytes.Clone(good)
			data[at] ^= 0x01
			for start := 0; start < 8*blockSize; start += blockSize {
				if string(data[start+257:][:5]) == "ustar" {
					checksum(data[start:])
				}
			}
			compareWithArchiveTar(t, fmt.Sprintf("%s, byte %d", name, at), data)
		}
	}
}

func compareWithArchiveTar(t testing.TB, name string, data []byte) {
	x, err := index(data)
	if err != nil {
		return
	}
	// Later entries replace earlier ones of the same name.
	want := map[string][]byte{}
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err, name)
		if hdr.Size > 1<<20 {
			return
		}
		content, err := io.ReadAll(tr)
		require.NoError(t, err, name)
		if clean, err := clean(hdr.Name); err == nil {
			want[clean] = content
		}
	}
	for file := range x.Names() {
		m, err := x.Lookup(file)
		if err != nil {
			continue
		}
		got, err := io.ReadAll(x.Open(m))
		require.NoError(t, err, name)
		require.True(t, bytes.Equal(want[file], got), "%s: %s", name, file)
	}
}
