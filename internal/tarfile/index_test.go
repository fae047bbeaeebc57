package tarfile

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// item is an entry of an archive made by a test.
type item struct {
	name, content, link string
	kind                byte // TypeReg if 0
	format              tar.Format
	records             map[string]string
}

func build(t testing.TB, items ...item) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		kind := i.kind
		if kind == 0 {
			kind = tar.TypeReg
		}
		h := &tar.Header{Name: i.name, Linkname: i.link, Typeflag: kind, Size: int64(len(i.content)), Format: i.format, PAXRecords: i.records}
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write([]byte(i.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func index(data []byte) (*Index, error) {
	return NewIndex(context.Background(), bytes.NewReader(data), int64(len(data)))
}

func TestIndexFindsWhatExtractionWouldPutThere(t *testing.T) {
	long := strings.Repeat("directory/", 30) + "file"
	items := []item{
		{kind: tar.TypeXGlobalHeader, name: "pax_global_header", records: map[string]string{"comment": "x"}},
		{name: "./", kind: tar.TypeDir},
		{name: "./dir/", kind: tar.TypeDir},
		{name: "./dir/a", content: "A"},
		{name: "b", content: "old"},
		{name: "hard-to-old", kind: tar.TypeLink, link: "./b"},
		{name: "b", content: "new"},
		{name: "dir/to-a", kind: tar.TypeSymlink, link: "a"},
		{name: "dir/to-b", kind: tar.TypeSymlink, link: "../b"},
		{name: "absolute", kind: tar.TypeSymlink, link: "/dir/a"},
		{name: "twice", kind: tar.TypeSymlink, link: "dir/to-b"},
		{name: "alias", kind: tar.TypeSymlink, link: "dir"},
		{name: "hard", kind: tar.TypeLink, link: "dir/a"},
		{name: "hard-to-later", kind: tar.TypeLink, link: "/later"},
		{name: "later", content: "L"},
		{name: long, content: "GNU", format: tar.FormatGNU},
		{name: long + "2", content: "PAX", format: tar.FormatPAX},
		{name: "/root", content: "R"},
		{name: "empty"},
	}
	x, err := index(build(t, items...))
	require.NoError(t, err)
	assert.True(t, x.Terminated())
	for name, want := range map[string]string{
		"dir/a": "A", "./dir//a": "A", "/dir/a": "A", "b": "new", "hard-to-old": "old", "dir/to-a": "A", "dir/to-b": "new",
		"absolute": "A", "twice": "new", "alias/a": "A", "alias/to-b": "new", "hard": "A", "hard-to-later": "L",
		long: "GNU", long + "2": "PAX", "root": "R", "empty": "",
	} {
		got, err := x.ReadFile(name, 10)
		require.NoError(t, err, name)
		assert.Equal(t, want, string(got), name)
	}
	_, err = x.ReadFile("b", 2)
	require.ErrorIs(t, err, errdef.ErrLimit)
	assert.Len(t, slices.Collect(x.Names()), 15)
}

func TestIndexRefusesToLeaveTheArchive(t *testing.T) {
	x, err := index(build(t,
		item{name: "dir/", kind: tar.TypeDir},
		item{name: "dir/passwd", kind: tar.TypeSymlink, link: "../../etc/passwd"},
		item{name: "root-passwd", kind: tar.TypeSymlink, link: "/etc/passwd"},
		item{name: "hard", kind: tar.TypeLink, link: "../etc/passwd"},
		item{name: "out", kind: tar.TypeSymlink, link: ".."},
		item{name: "self", kind: tar.TypeSymlink, link: "self"},
		item{name: "ping", kind: tar.TypeSymlink, link: "pong"},
		item{name: "pong", kind: tar.TypeLink, link: "ping"},
		item{name: "deeper", kind: tar.TypeSymlink, link: "deeper/x"},
		item{name: "null", kind: tar.TypeChar},
		item{name: "fifo", kind: tar.TypeFifo},
	))
	require.NoError(t, err)
	for name, want := range map[string]error{
		"dir/passwd": errdef.ErrDamaged, "root-passwd": fs.ErrNotExist, "hard": errdef.ErrDamaged, "out/x": errdef.ErrDamaged, "../x": errdef.ErrDamaged,
		"/etc/passwd": fs.ErrNotExist, "../../etc/passwd": errdef.ErrDamaged,
		"self": errdef.ErrLimit, "ping": errdef.ErrLimit, "deeper": errdef.ErrLimit, "dir": errdef.ErrDamaged, "null": errdef.ErrDamaged, "fifo": errdef.ErrDamaged, "none": fs.ErrNotExist,
	} {
		_, err := x.Lookup(name)
		assert.ErrorIs(t, err, want, name)
		assert.ErrorContains(t, err, strings.TrimLeft(name, "/"), name)
	}
	_, err = index(build(t, item{name: "a/../../x"}))
	require.ErrorIs(t, err, errdef.ErrDamaged)
}

func TestIndexLimits(t *testing.T) {
	long := strings.Repeat("n", maxNameLen+1)
	for name, data := range map[string][]byte{
		"name":        build(t, item{name: long}),
		"link":        build(t, item{name: "l", kind: tar.TypeSymlink, link: long}),
		"header":      build(t, item{name: "h", records: map[string]string{"A.b": strings.Repeat("x", maxHeaderLen-100)}}),
		"entries":     build(t, slices.Repeat([]item{{name: "n"}}, 11)...),
		"names total": build(t, slices.Repeat([]item{{name: long[:500]}}, 3)...),
	} {
		_, err := newIndex(t.Context(), bytes.NewReader(data), int64(len(data)), 10, 1499)
		assert.ErrorIs(t, err, errdef.ErrLimit, name)
	}
	data := build(t, slices.Repeat([]item{{name: "n", content: "c"}}, 10)...)
	x, err := newIndex(t.Context(), bytes.NewReader(data), int64(len(data)), 10, 10)
	require.NoError(t, err)
	assert.True(t, x.Has("n"))
}

// manyEntries is an archive of empty entries with different names.
type manyEntries struct{ header []byte }

func (m manyEntries) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); n += blockSize {
		copy(m.header, fmt.Sprintf("%090d", (off+int64(n))/blockSize))
		checksum(m.header)
		copy(p[n:], m.header)
	}
	return len(p), nil
}

// TestIndexMemory checks the cost of an entry: with as many as are allowed, the
// index must stay below 100 MB.
func TestIndexMemory(t *testing.T) {
	const entries = maxEntries / 32
	archive := manyEntries{claim(0)}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	x, err := NewIndex(t.Context(), archive, entries*blockSize)
	require.NoError(t, err)
	runtime.GC()
	runtime.ReadMemStats(&after)
	perEntry := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / entries
	assert.Less(t, perEntry*maxEntries, int64(100<<20), "%d bytes for an entry", perEntry)
	runtime.KeepAlive(x)
}

// claim makes the header of an entry that says it has size bytes.
func claim(size int64) []byte {
	data, err := format(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o644, Size: size, Format: tar.FormatGNU})
	if err != nil {
		panic(err)
	}
	return data
}

func TestIndexRefusesImpossibleSizes(t *testing.T) {
	sparse := build(t, item{name: "x", content: "c"})
	sparse[156] = tar.TypeGNUSparse
	copy(sparse[483:], "120000000000\x00") // The real size: 10 GiB.
	checksum(sparse)
	x, err := index(sparse)
	if err == nil {
		_, err = x.Lookup("x")
	}
	require.ErrorIs(t, err, errdef.ErrDamaged)

	negative := claim(1)
	for i := range 12 {
		negative[124+i] = 0xff
	}
	checksum(negative)
	for name, data := range map[string][]byte{
		"negative": negative,
		"10 GiB":   claim(10 << 30),
		"overflow": claim(math.MaxInt64),
		"by one":   append(claim(513), make([]byte, 512)...),
		"PAX": bytes.ReplaceAll(build(t, item{name: "x", records: map[string]string{"A.size": "99999999999"}}),
			[]byte("22 A.size=99999999999\n"), []byte("22 size=9999999999999\n")),
	} {
		_, err := index(data)
		require.ErrorIs(t, err, errdef.ErrDamaged, name)
	}
}

// checksum makes the first header of data valid again.
func checksum(data []byte) {
	copy(data[148:156], "        ")
	sum := 0
	for _, b := range data[:512] {
		sum += int(b)
	}
	copy(data[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// TestIndexOfDamagedHeaders flips every byte of a header, with and without a
// checksum that hides it. No result may panic, nor reach outside of the
// archive.
func TestIndexOfDamagedHeaders(t *testing.T) {
	good := build(t, item{name: "dir/x", content: "content"}, item{name: "l", kind: tar.TypeSymlink, link: "dir/x"})
	for i := range blockSize {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			data := slices.Clone(good)
			data[i] ^= flip
			_, err := index(data)
			if i != 155 { // The end of the checksum may be anything.
				want := errdef.ErrDamaged
				if i >= 257 && i < 257+len("ustar") {
					want = errdef.ErrNoImageArchive // It might be anything.
				}
				require.ErrorIs(t, err, want, "byte %d", i)
			}
			if i < 148 || i >= 156 {
				checksum(data)
				if x, err := index(data); err == nil {
					readMembers(t, x)
				}
			}
		}
	}
}

// readMembers looks up and reads everything in an archive.
func readMembers(t testing.TB, x *Index) {
	for name := range x.Names() {
		m, err := x.Lookup(name)
		if err != nil {
			continue
		}
		if x.IsSparse(m) && m.Size > 1<<20 {
			continue // Anybody can make holes.
		}
		n, err := io.Copy(io.Discard, x.Open(m))
		require.NoError(t, err)
		require.Equal(t, m.Size, n)
	}
}

func TestIndexOfCutArchive(t *testing.T) {
	good := build(t, item{name: "a", content: strings.Repeat("a", 2000)}, item{name: "b", content: "b"})
	last := len(good) - 2*blockSize
	for cut := range good {
		x, err := index(good[:cut])
		switch {
		case cut == 0 || cut == 5*blockSize || cut >= last && cut%blockSize == 0: // Between entries.
			require.NoError(t, err, cut)
			require.False(t, x.Terminated(), cut)
		case cut < 257+len("ustar"): // It might be anything.
			require.ErrorIs(t, err, errdef.ErrNoImageArchive, cut)
		case err != nil:
			require.ErrorIs(t, err, errdef.ErrDamaged, cut)
		default: // In the padding.
			require.False(t, x.Terminated(), cut)
			readMembers(t, x)
		}
	}
}

func TestIndexReadsHeadersOnly(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	require.NoError(t, err)
	defer f.Close()
	const entries, size = 100, 1 << 30
	var offset int64
	for range entries {
		_, err := f.WriteAt(claim(size), offset)
		require.NoError(t, err)
		offset += blockSize + size
	}
	require.NoError(t, f.Truncate(offset+2*blockSize))
	counter := &countingReaderAt{ReaderAt: f}
	x, err := NewIndex(context.Background(), counter, offset+2*blockSize)
	require.NoError(t, err)
	require.True(t, x.Terminated())
	require.LessOrEqual(t, counter.n, int64(2*(entries+1)*minWindow))
}

type countingReaderAt struct {
	io.ReaderAt
	n int64
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	c.n += int64(len(p))
	return c.ReaderAt.ReadAt(p, off)
}

func TestIndexEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	data := build(t, item{name: "a"})
	_, err := NewIndex(ctx, bytes.NewReader(data), int64(len(data)))
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzIndex(f *testing.F) {
	f.Add(build(f, item{name: "a", content: "A"}, item{name: "l", kind: tar.TypeSymlink, link: "./a"}, item{name: "h", kind: tar.TypeLink, link: "a"}))
	f.Add(build(f, item{name: strings.Repeat("long/", 60) + "x", format: tar.FormatGNU}, item{name: strings.Repeat("x", 120), format: tar.FormatPAX}))
	f.Add(sparsePAX(f, 6, "1,2,4,1", "abc"))
	for _, data := range sparseArchives(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if x, err := index(data); err == nil {
			readMembers(t, x)
		}
	})
}
