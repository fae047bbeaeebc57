package tarfile

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plainHeaders are headers as archive/tar writes them: the first ones plain.
func plainHeaders(t testing.TB) (blocks [][]byte, plainOnes int) {
	long := strings.Repeat("d/", 60) + "file"
	all := []*tar.Header{
		{Typeflag: tar.TypeReg, Name: "blobs/sha256/" + strings.Repeat("a", 64), Mode: 0o444, Size: 12345},
		{Typeflag: tar.TypeReg, Name: "largest", Mode: 0o444, Size: maxOctalSize},
		{Typeflag: tar.TypeDir, Name: "blobs/", Mode: 0o755},
		{Typeflag: tar.TypeSymlink, Name: "x/layer.tar", Linkname: "../y.tar"},
		{Typeflag: tar.TypeReg, Name: long, Mode: 0o644, Uid: 1000, Gid: 100, Uname: "somebody", Gname: "users"},
		// In another form:
		{Typeflag: tar.TypeReg, Name: "larger", Mode: 0o444, Size: maxOctalSize + 1, Format: tar.FormatGNU},
		{Typeflag: tar.TypeReg, Name: "gnu", Mode: 0o444, Size: 1, Format: tar.FormatGNU},
		{Typeflag: tar.TypeLink, Name: "hard", Linkname: "gnu"},
		{Typeflag: tar.TypeChar, Name: "device", Devmajor: 1, Devminor: 3},
	}
	for _, h := range all {
		block, err := format(h)
		require.NoError(t, err)
		blocks = append(blocks, block[:blockSize])
	}
	return blocks, 5
}

// TestPlain reads headers of every kind, changed in every byte, and requires that plain
// reads the same as archive/tar.
func TestPlain(t *testing.T) {
	blocks, plainOnes := plainHeaders(t)
	for n, block := range blocks {
		assert.Equal(t, n < plainOnes, requirePlainAsTar(t, block), "%d", n)
		for i := range block {
			for _, value := range []byte{0, ' ', '/', '0', '2', '5', '7', '8', 'x', 0x7f, 0x80, 0xff} {
				changed := slices.Clone(block)
				changed[i] = value
				requirePlainAsTar(t, changed)
				if i < 148 || i >= 156 {
					checksum(changed)
					requirePlainAsTar(t, changed)
				}
			}
		}
	}
}

// TestPlainOfDialects marks a plain header as one of the dialects with other fields.
func TestPlainOfDialects(t *testing.T) {
	blocks, _ := plainHeaders(t)
	for offset, mark := range map[int]string{257: "ustar  \x00", 263: "  ", 508: "tar\x00", 124: "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05"} {
		block := slices.Clone(blocks[0])
		copy(block[offset:], mark)
		checksum(block)
		assert.False(t, requirePlainAsTar(t, block), "%q", mark)
	}
}

// requirePlainAsTar reports whether plain reads a header, and then requires that
// archive/tar reads the same.
func requirePlainAsTar(t testing.TB, block []byte) bool {
	var got tar.Header
	if !plain(block, &got) {
		return false
	}
	want, err := tar.NewReader(bytes.NewReader(append(slices.Clone(block), zeros[:]...))).Next()
	require.NoError(t, err, "%q", block)
	require.Equal(t, [4]any{want.Name, want.Linkname, want.Size, want.Typeflag}, [4]any{got.Name, got.Linkname, got.Size, got.Typeflag}, "%q", block)
	return true
}

func FuzzPlain(f *testing.F) {
	blocks, _ := plainHeaders(f)
	for _, block := range blocks {
		f.Add(block)
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		if len(block) == blockSize {
			checksum(block)
			requirePlainAsTar(t, block)
		}
	})
}

// TestIndexAsTar compares the index of archives that mix plain headers and others with
// the entries that archive/tar reads from start to end.
func TestIndexAsTar(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	kinds := []item{
		{content: strings.Repeat("c", 700)}, {}, {kind: tar.TypeDir}, {kind: tar.TypeSymlink, link: "0"},
		{format: tar.FormatGNU, content: "gnu"}, {format: tar.FormatPAX, records: map[string]string{"A.b": "c"}, content: strings.Repeat("p", 512)},
	}
	for range 200 {
		var items []item
		for i := range random.IntN(30) + 1 {
			it := kinds[random.IntN(len(kinds))]
			it.name = fmt.Sprint(i)
			if random.IntN(8) == 0 {
				it.name, it.format = strings.Repeat("é", 80)+it.name, tar.FormatPAX
			}
			items = append(items, it)
		}
		data := build(t, items...)
		x, err := index(data)
		require.NoError(t, err)
		require.True(t, x.Terminated())
		tr := tar.NewReader(bytes.NewReader(data))
		for _, e := range x.entries {
			hdr, err := tr.Next()
			require.NoError(t, err)
			want, err := clean(hdr.Name)
			require.NoError(t, err)
			require.Equal(t, want, e.name)
			require.Equal(t, hdr.Typeflag, e.kind)
			if e.kind == tar.TypeReg {
				require.Equal(t, hdr.Size, e.size)
				content := make([]byte, e.size)
				_, err := tr.Read(content)
				require.True(t, err == nil || len(content) == 0 || err.Error() == "EOF")
				require.Equal(t, string(content), string(data[e.offset:e.offset+e.size]))
			}
		}
	}
}

// Headers written without archive/tar are the same bytes as those by archive/tar.
func FuzzPlainHeader(f *testing.F) {
	f.Add("name", "link", byte(tar.TypeReg), int64(0o644), int64(5), int64(1_000_000_000), int64(0), 0, "root", uint8(0))
	f.Add("dir/", "", byte(tar.TypeDir), int64(0o755), int64(0), int64(0), int64(0), 1000, "", uint8(tar.FormatUSTAR))
	f.Add("a", "../b", byte(tar.TypeSymlink), int64(0), int64(0), int64(-1), int64(7), 0, "", uint8(tar.FormatPAX))
	f.Add(strings.Repeat("x", 100), strings.Repeat("y", 100), byte(tar.TypeSymlink), int64(0o7777777), int64(0), int64(0o77777777777), int64(0), 0o7777777, strings.Repeat("u", 32), uint8(0))
	f.Fuzz(func(t *testing.T, name, link string, kind byte, mode, size, seconds, nanoseconds int64, uid int, user string, format uint8) {
		h := &tar.Header{Name: name, Linkname: link, Typeflag: kind, Mode: mode, Size: size, Uid: uid, Gid: uid / 2, Uname: user, Gname: user, Format: tar.Format(format)}
		if seconds >= 0 {
			h.ModTime = time.Unix(seconds, nanoseconds)
		}
		if !isPlain(h) {
			return
		}
		var want blockBuffer
		require.NoError(t, tar.NewWriter(&want).WriteHeader(h))
		require.Equal(t, string(want), string(appendPlain(nil, h)))
	})
}
