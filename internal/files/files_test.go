package files

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
	"github.com/dockerarchive/dockerarchive/internal/raced"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// file returns the header of a regular file, with its content in an own record.
func file(name, content string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644, PAXRecords: map[string]string{"TEST.content": content}}
}

func directory(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o750}
}

func symlink(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

func hardlink(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

func whiteoutOf(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: name} }

// tarOf returns a tar.
func tarOf(t testing.TB, entries ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		own := *h
		content := h.PAXRecords["TEST.content"]
		own.PAXRecords = map[string]string{}
		for k, v := range h.PAXRecords {
			if k != "TEST.content" {
				own.PAXRecords[k] = v
			}
		}
		own.ModTime = time.Unix(1000, 0)
		require.NoError(t, w.WriteHeader(&own))
		_, err := io.WriteString(w, content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func overlayWhiteout(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeChar, Name: name} }

func gzipped(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zstandard(t testing.TB, data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// sourceOf returns a layer in memory, stored somehow.
func sourceOf(name string, plain, stored []byte) Source {
	return Source{Name: name, DiffID: digest.FromBytes(plain), At: func(context.Context) (io.ReaderAt, int64, error) {
		return bytes.NewReader(stored), int64(len(stored)), nil
	}}
}

// treeOf returns the tree of layers, uncompressed.
func treeOf(t testing.TB, options Options, layers ...[]*tar.Header) *Tree {
	t.Helper()
	var sources []Source
	for i, l := range layers {
		data := tarOf(t, l...)
		sources = append(sources, sourceOf(fmt.Sprint(i), data, data))
	}
	tree := New(sources, options)
	t.Cleanup(func() { require.NoError(t, tree.Close()) })
	return tree
}

// describe lists a tree: a line for each path with its type, layer and content or target.
func describe(t testing.TB, tree *Tree) (string, error) {
	t.Helper()
	root, err := tree.Root(t.Context())
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for e, err := range tree.Walk(t.Context(), root) {
		if err != nil {
			return "", err
		}
		switch e.Type() {
		case tar.TypeDir:
			fmt.Fprintf(&b, "%s/ %d\n", e.Path, e.Layer())
		case tar.TypeReg:
			r, err := tree.ReaderAt(t.Context(), e.File)
			require.NoError(t, err)
			content, err := io.ReadAll(io.NewSectionReader(r, 0, e.Size()))
			require.NoError(t, err)
			fmt.Fprintf(&b, "%s %d %s\n", e.Path, e.Layer(), content)
		default:
			fmt.Fprintf(&b, "%s %d %c %s\n", e.Path, e.Layer(), e.Type(), e.Linkname())
		}
		// It is found by its path too, with as few layers as that takes.
		if e.Path != "" {
			found, err := tree.LookupLink(t.Context(), e.Path)
			require.NoError(t, err, e.Path)
			assert.Equal(t, e.Path, found.Path)
			assert.Same(t, e.File, found.File, e.Path)
		}
	}
	return b.String(), nil
}

func TestLayersAddUp(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]*tar.Header
		want   string
	}{
		"none": {nil, "/ -1\n"},
		"one": {
			[][]*tar.Header{{directory("./"), directory("a/"), file("a/b", "x"), symlink("a/c", "b"), file("/abs", "1"), file("./p//q", "2")}},
			"/ 0\na/ 0\na/b 0 x\na/c 0 2 b\nabs 0 1\np/ -1\np/q 0 2\n",
		},
		"replaced": {
			[][]*tar.Header{{directory("a"), file("a/b", "old"), file("a/c", "kept")}, {file("a/b", "new")}},
			"/ -1\na/ 0\na/b 1 new\na/c 0 kept\n",
		},
		"whiteouts, before and after": {
			[][]*tar.Header{
				{directory("d"), file("d/x", "1"), file("d/y", "2"), file("f", "3"), directory("e"), file("e/in", "4")},
				{whiteoutOf(".wh.f"), file("f", "new"), file("d/x", "new"), whiteoutOf("d/.wh.x"), whiteoutOf("d/.wh.y"), whiteoutOf(".wh.e")},
			},
			"/ -1\nd/ 0\nd/x 1 new\nf 1 new\n",
		},
		"whiteouts as overlayfs has them": {
			[][]*tar.Header{
				{file("a", "1"), file("b", "2"), directory("d"), file("d/x", "3"), directory("e"), file("e/x", "4")},
				{overlayWhiteout("a"), overlayWhiteout("b"), file("b", "new"), file("d/new", "5"), overlayWhiteout("d"), overlayWhiteout("e"), directory("e"), overlayWhiteout("c")},
			},
			"/ -1\nb 1 new\ne/ 1\ne/x 0 4\n",
		},
		"a whiteout, and a directory of the same name": {
			[][]*tar.Header{{directory("d"), file("d/x", "1")}, {file("d/new", "2"), whiteoutOf(".wh.d")}},
			"/ -1\nd/ -1\nd/new 1 2\n",
		},
		"opaque, before and after": {
			[][]*tar.Header{
				{directory("d"), file("d/x", "1"), directory("e"), file("e/x", "1")},
				{whiteoutOf("d/.wh..wh..opq"), file("d/n", "2"), file("e/n", "2"), whiteoutOf("e/.wh..wh..opq")},
			},
			"/ -1\nd/ -1\nd/n 1 2\ne/ -1\ne/n 1 2\n",
		},
		"opaque root": {
			[][]*tar.Header{{file("x", "1")}, {whiteoutOf(".wh..wh..opq"), file("n", "2")}},
			"/ -1\nn 1 2\n",
		},
		"what aufs leaves": {
			[][]*tar.Header{{file(".wh..wh.aufs", ""), directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "z"), directory(".wh..wh.orph"), file("x", "1")}},
			"/ -1\nx 0 1\n",
		},
		"a directory over a file, and the other way round": {
			[][]*tar.Header{{file("a", "1"), directory("b"), file("b/x", "2")}, {file("a/n", "3"), file("b", "4")}, {directory("b"), file("b/y", "5")}},
			"/ -1\na/ -1\na/n 1 3\nb/ 2\nb/y 2 5\n",
		},
		"a directory that is covered by a file does not come back": {
			[][]*tar.Header{{directory("b"), file("b/x", "2")}, {file("b", "4")}, {whiteoutOf(".wh.b")}, {file("b/z", "6")}},
			"/ -1\nb/ -1\nb/z 3 6\n",
		},
		"through a link of a lower layer": {
			[][]*tar.Header{{symlink("link", "target"), directory("target"), file("target/keep", "1")}, {file("link/n", "2")}},
			"/ -1\nlink/ -1\nlink/n 1 2\ntarget/ 0\ntarget/keep 0 1\n",
		},
		"a whiteout through a link of a lower layer": {
			[][]*tar.Header{{symlink("link", "target"), directory("target"), file("target/keep", "1")}, {whiteoutOf("link/.wh.keep")}},
			"/ -1\nlink/ -1\ntarget/ 0\ntarget/keep 0 1\n",
		},
		"through a link of its own layer": {
			[][]*tar.Header{{symlink("lib", "usr/lib"), file("lib/n", "2"), symlink("abs", "/usr"), file("abs/m", "3"), symlink("up", "../../usr"), file("up/o", "4")}},
			"/ -1\nabs 0 2 /usr\nlib 0 2 usr/lib\nup 0 2 ../../usr\nusr/ -1\nusr/lib/ -1\nusr/lib/n 0 2\nusr/m 0 3\nusr/o 0 4\n",
		},
		"hard links": {
			[][]*tar.Header{{file("a", "1"), hardlink("b", "a"), file("a", "2")}, {hardlink("c", "./a"), hardlink("d", "/b")}, {whiteoutOf(".wh.a")}},
			"/ -1\nb 0 1\nc 0 2\nd 0 1\n",
		},
		"later entries": {
			[][]*tar.Header{{file("a", "1"), file("a", "2"), directory("d"), file("d/x", "1"), file("d", "now"), symlink("d", "a")}},
			"/ -1\na 0 2\nd 0 2 a\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := describe(t, treeOf(t, Options{}, c.layers...))
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

// The same tree, and the same contents, however layers are stored.
func TestForms(t *testing.T) {
	long := strings.Repeat("0123456789", raced.Rounds(t, 1<<15, 1<<19))
	lower := tarOf(t, file("a", "1"), file("big", long), symlink("s", "a"))
	upper := tarOf(t, file("b", long[5:]), hardlink("c", "a"))
	for name, store := range map[string]func(testing.TB, []byte) []byte{
		"plain": func(_ testing.TB, data []byte) []byte { return data },
		"gzip":  gzipped, "zstd": zstandard,
	} {
		for _, random := range []bool{false, true} {
			for _, once := range []bool{false, true} {
				t.Run(fmt.Sprint(name, random, once), func(t *testing.T) {
					sources := []Source{sourceOf("lower", lower, store(t, lower)), sourceOf("upper", upper, store(t, upper))}
					if once {
						for i := range sources {
							at := sources[i].At
							sources[i].Open = func(ctx context.Context) (io.ReadCloser, error) {
								r, size, err := at(ctx)
								return io.NopCloser(io.NewSectionReader(r, 0, size)), err
							}
							sources[i].At = nil
						}
					}
					tree := New(sources, Options{Random: random, TempDir: t.TempDir()})
					defer func() { require.NoError(t, tree.Close()) }()
					got, err := describe(t, tree)
					require.NoError(t, err)
					assert.Equal(t, "/ -1\na 0 1\nb 1 "+long[5:]+"\nbig 0 "+long+"\nc 0 1\ns 0 2 a\n", got)
				})
			}
		}
	}
}

func TestLookup(t *testing.T) {
	tree := treeOf(t, Options{},
		[]*tar.Header{directory("usr/bin"), file("usr/bin/env", "old"), symlink("bin", "usr/bin"), symlink("loop", "loop"), symlink("out", "../../../../usr"), directory("var"), symlink("var/run", "/run")},
		[]*tar.Header{file("usr/bin/env", "new"), symlink("usr/bin/e", "env"), directory("run/lock")},
	)
	for path, want := range map[string]string{
		"bin/env": "usr/bin/env", "/bin/env": "usr/bin/env", "bin/e": "usr/bin/env", "out/bin/e": "usr/bin/env", "var/run/lock/": "run/lock",
		"bin": "usr/bin", "": "", "/": "", "..": "", "usr/../bin": "usr/bin", "var/run/../usr": "usr",
	} {
		e, err := tree.Lookup(t.Context(), path)
		require.NoError(t, err, path)
		assert.Equal(t, want, e.Path, path)
	}
	for _, path := range []string{"none", "bin/none", "usr/bin/env/x"} {
		_, err := tree.Lookup(t.Context(), path)
		require.ErrorIs(t, err, fs.ErrNotExist, path)
	}
	_, err := tree.Lookup(t.Context(), "loop")
	require.ErrorIs(t, err, errdef.ErrDamaged)
	e, err := tree.LookupLink(t.Context(), "loop")
	require.NoError(t, err)
	assert.EqualValues(t, tar.TypeSymlink, e.Type())
}

// A path that the highest layers settle needs no other layer.
func TestLookupReadsFewLayers(t *testing.T) {
	var read []string
	sources := []Source{}
	for i, l := range [][]*tar.Header{{file("a", "1"), file("o/x", "1")}, {file("d/b", "2"), whiteoutOf(".wh.gone"), whiteoutOf("o/.wh..wh..opq")}} {
		s := sourceOf(fmt.Sprint(i), nil, tarOf(t, l...))
		at := s.At
		s.At = func(ctx context.Context) (io.ReaderAt, int64, error) {
			read = append(read, s.Name)
			return at(ctx)
		}
		sources = append(sources, s)
	}
	tree := New(sources, Options{})
	defer tree.Close()
	e, err := tree.Lookup(t.Context(), "d/b")
	require.NoError(t, err)
	assert.Equal(t, 1, e.Layer())
	for _, path := range []string{"gone", "o/x", "gone/x"} {
		_, err = tree.Lookup(t.Context(), path)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	assert.Equal(t, []string{"1"}, read)
	_, err = tree.Lookup(t.Context(), "a")
	require.NoError(t, err)
	assert.Equal(t, []string{"1", "0"}, read)
}

func TestHostile(t *testing.T) {
	deep := strings.Repeat("d/", 100_000) + "f"
	for name, c := range map[string]struct {
		layers  [][]*tar.Header
		options Options
		kind    error
		says    string
	}{
		"deep":              {[][]*tar.Header{{file(deep, "")}}, Options{}, errdef.ErrLimit, "has 200001 bytes"},
		"many":              {[][]*tar.Header{{file("a", ""), file("b", ""), file("c", "")}}, Options{MaxEntries: 2}, errdef.ErrLimit, "more than 2 entries"},
		"long":              {[][]*tar.Header{{file(strings.Repeat("a", 100), ""), file(strings.Repeat("b", 100), "")}}, Options{MaxBytes: 150}, errdef.ErrLimit, "more than 150 bytes"},
		"leads out":         {[][]*tar.Header{{file("a/../../b", "")}}, Options{}, errdef.ErrDamaged, "leads out"},
		"whiteout of root":  {[][]*tar.Header{{file(".wh.", "")}}, Options{}, errdef.ErrDamaged, "whiteout of no file"},
		"whiteout of dot":   {[][]*tar.Header{{file("a/.wh..", "")}}, Options{}, errdef.ErrDamaged, "whiteout of no file"},
		"whiteout of up":    {[][]*tar.Header{{file("a/.wh...", "")}}, Options{}, errdef.ErrDamaged, "whiteout of no file"},
		"in a whiteout":     {[][]*tar.Header{{file("a/.wh.b/c", "")}}, Options{}, errdef.ErrDamaged, "a file in a whiteout"},
		"root is a file":    {[][]*tar.Header{{symlink(".", "x")}}, Options{}, errdef.ErrDamaged, "the root is not a directory"},
		"loop":              {[][]*tar.Header{{symlink("a", "b"), symlink("b", "a"), file("a/x", "")}}, Options{}, errdef.ErrDamaged, "more than 40 symbolic links"},
		"link to nothing":   {[][]*tar.Header{{hardlink("a", "none")}}, Options{}, errdef.ErrDamaged, "which is not there"},
		"link to itself":    {[][]*tar.Header{{hardlink("a", "a")}}, Options{}, errdef.ErrDamaged, "which is not there"},
		"link to directory": {[][]*tar.Header{{directory("d"), hardlink("a", "d")}}, Options{}, errdef.ErrDamaged, "hard link to the directory"},
		"link out":          {[][]*tar.Header{{hardlink("a", "../x")}}, Options{}, errdef.ErrDamaged, "leads out"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := describe(t, treeOf(t, c.options, c.layers...))
			require.ErrorIs(t, err, c.kind)
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "layer 0: ", "it names the layer") //nolint:testifylint // All are told.
		})
	}
}

// A bomb, a layer that unpacks to far more than its size, is refused while it unpacks.
func TestBomb(t *testing.T) {
	data := tarOf(t, file("zeros", strings.Repeat("\x00", 1<<20)))
	for name, stored := range map[string][]byte{"gzip": gzipped(t, data), "zstd": zstandard(t, data)} {
		tree := New([]Source{sourceOf("bomb", data, stored)}, Options{MaxUnpacked: 1 << 19})
		err := tree.Load(t.Context())
		require.ErrorIs(t, err, errdef.ErrLimit, name)
		require.ErrorContains(t, err, "layer bomb: it unpacks to more than 524288 bytes", name)
		require.NoError(t, tree.Close())
		tree = New([]Source{sourceOf("large", data, stored)}, Options{})
		require.NoError(t, tree.Load(t.Context()), name)
		require.NoError(t, tree.Close())
	}
}

// Absolute names are below the root of the image.
func TestAbsolute(t *testing.T) {
	got, err := describe(t, treeOf(t, Options{}, []*tar.Header{file("/etc/passwd", "1"), hardlink("/b", "/etc/passwd")}))
	require.NoError(t, err)
	want, err := describe(t, treeOf(t, Options{}, []*tar.Header{file("etc/passwd", "1"), hardlink("b", "etc/passwd")}))
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

// A sparse file of 8 EiB costs nothing but its header, and is refused.
func TestHugeSparse(t *testing.T) {
	var b bytes.Buffer
	raw := make([]byte, 512)
	copy(raw, "huge")
	copy(raw[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00        S")
	copy(raw[257:], "ustar  \x00")
	put := func(at int, n int64) {
		raw[at] = 0x80
		for i := range 8 {
			raw[at+4+i] = byte(n >> (56 - 8*i))
		}
	}
	put(386, math.MaxInt64)
	put(398, 0)
	put(483, math.MaxInt64)
	sum := 0
	for _, c := range raw {
		sum += int(c)
	}
	copy(raw[148:], fmt.Sprintf("%06o\x00 ", sum))
	b.Write(raw)
	b.Write(make([]byte, 1024))
	tree := New([]Source{sourceOf("huge", b.Bytes(), b.Bytes())}, Options{})
	defer tree.Close()
	err := tree.Load(t.Context())
	require.ErrorIs(t, err, errdef.ErrLimit)
	assert.ErrorContains(t, err, "sparse")
}

// A layer with a wrong digest is refused, and so is one cut short.
func TestDamaged(t *testing.T) {
	data := tarOf(t, file("a", strings.Repeat("1", 5000)))
	for name, s := range map[string]Source{
		"gzip":  sourceOf("x", append(bytes.Clone(data), 0), gzipped(t, data)),
		"zstd":  sourceOf("x", append(bytes.Clone(data), 0), zstandard(t, data)),
		"cut":   sourceOf("x", data, gzipped(t, data)[:40]),
		"plain": sourceOf("x", data, data[:600]),
	} {
		tree := New([]Source{s}, Options{})
		err := tree.Load(t.Context())
		require.ErrorIs(t, err, errdef.ErrDamaged, name)
		require.NoError(t, tree.Close())
	}
	stored := gzipped(t, data)
	s := sourceOf("x", nil, stored)
	s.DiffID, s.Digest = "", digest.FromString("other")
	tree := New([]Source{s}, Options{})
	var mismatch *errdef.MismatchError
	require.ErrorAs(t, tree.Load(t.Context()), &mismatch)
	s.Digest = digest.FromBytes(stored)
	tree = New([]Source{s}, Options{})
	require.NoError(t, tree.Load(t.Context()))
}

// When the context ends, so does reading; another may begin again.
func TestContextEnds(t *testing.T) {
	data := tarOf(t, file("a", "1"))
	for _, stored := range [][]byte{data, gzipped(t, data)} {
		tree := New([]Source{sourceOf("x", data, stored)}, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, tree.Load(ctx), context.Canceled)
		require.NoError(t, tree.Load(t.Context()))
		require.NoError(t, tree.Close())
	}
}

// Contents reads each layer once, in order, and verifies what it was not told of before.
func TestContents(t *testing.T) {
	lower, upper := tarOf(t, file("a", "1"), directory("d"), file("d/b", "22")), tarOf(t, file("c", "333"))
	tree := New([]Source{sourceOf("0", lower, lower), sourceOf("1", upper, gzipped(t, upper))}, Options{})
	defer tree.Close()
	root, err := tree.Root(t.Context())
	require.NoError(t, err)
	var all []*File
	for e, err := range tree.Walk(t.Context(), root) {
		require.NoError(t, err)
		if e.IsRegular() {
			all = append(all, e.File)
		}
	}
	all[0], all[2] = all[2], all[0]
	Sort(all)
	for _, verify := range []bool{false, true} {
		var got []string
		require.NoError(t, tree.Contents(t.Context(), all, verify, func(f *File, r io.Reader) error {
			data, err := io.ReadAll(r)
			got = append(got, string(data))
			return err
		}))
		assert.Equal(t, []string{"333", "1", "22"}, got)
	}
	other := sourceOf("0", lower, lower)
	other.DiffID = digest.FromString("other")
	tree = New([]Source{other}, Options{})
	require.NoError(t, tree.Load(t.Context()), "nothing but headers are read")
	require.NoError(t, tree.Contents(t.Context(), nil, false, nil))
	require.ErrorIs(t, tree.Contents(t.Context(), nil, true, nil), errdef.ErrDamaged)
}

// Sparse files that follow each other are found again, and read anywhere.
func TestSparse(t *testing.T) {
	var b bytes.Buffer
	sparse := func(name string, data byte) {
		body := "1\n1048576\n512\n"
		body += strings.Repeat("\x00", 512-len(body)) + strings.Repeat(string(data), 512)
		pax := paxRecord("GNU.sparse.major", "1") + paxRecord("GNU.sparse.minor", "0") + paxRecord("GNU.sparse.name", name) + paxRecord("GNU.sparse.realsize", "2097152")
		writeRaw(&b, 'x', name, pax)
		writeRaw(&b, '0', name, body)
	}
	sparse("s1", 'x')
	sparse("s2", 'y')
	b.Write(tarOf(t, file("plain", "1"))[:1024])
	sparse("s3", 'z')
	b.Write(make([]byte, 1024))
	tree := New([]Source{sourceOf("sparse", b.Bytes(), gzipped(t, b.Bytes()))}, Options{Random: true})
	defer tree.Close()
	for name, want := range map[string]byte{"s1": 'x', "s2": 'y', "s3": 'z'} {
		e, err := tree.Lookup(t.Context(), name)
		require.NoError(t, err)
		assert.EqualValues(t, 2<<20, e.Size())
		r, err := tree.ReaderAt(t.Context(), e.File)
		require.NoError(t, err)
		for _, off := range []int64{1<<20 + 3, 5, 1<<20 + 1, 2<<20 - 10} {
			p := make([]byte, 10)
			_, err = r.ReadAt(p, off)
			require.NoError(t, err)
			expect := make([]byte, 10)
			if off/512 == 1<<20/512 {
				expect = bytes.Repeat([]byte{want}, 10)
			}
			assert.Equal(t, expect, p, "%s at %d", name, off)
		}
	}
}

func paxRecord(key, value string) string {
	n := len(key) + len(value) + 3
	for len(fmt.Sprint(n))+len(key)+len(value)+3 != n {
		n = len(fmt.Sprint(n)) + len(key) + len(value) + 3
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// writeRaw writes an entry that archive/tar would not.
func writeRaw(b *bytes.Buffer, typeflag byte, name, body string) {
	raw := make([]byte, 512)
	copy(raw, name)
	copy(raw[100:], "0000644\x000000000\x000000000\x00")
	copy(raw[124:], fmt.Sprintf("%011o\x0000000000000\x00        %c", len(body), typeflag))
	copy(raw[257:], "ustar\x0000")
	sum := 0
	for _, c := range raw {
		sum += int(c)
	}
	copy(raw[148:], fmt.Sprintf("%06o\x00 ", sum))
	b.Write(raw)
	b.WriteString(body)
	b.Write(make([]byte, (512-len(body)%512)%512))
}

func TestStats(t *testing.T) {
	tree := treeOf(t, Options{},
		[]*tar.Header{directory("d"), file("d/a", "1"), file("d/b", "22"), directory("e"), file("e/x", "333"), file("e/sub/y", "4444"), file("f", "55555")},
		[]*tar.Header{directory("d"), file("d/a", "now"), file("n/new", "7"), whiteoutOf(".wh.f")},
		[]*tar.Header{whiteoutOf("e/.wh..wh..opq"), file("e/x", "9"), file("d", "file")},
	)
	stats, err := tree.Stats(t.Context())
	require.NoError(t, err)
	for i := range stats {
		stats[i].Stored, stats[i].Unpacked = 0, 0
	}
	assert.Equal(t, []LayerStats{
		{Added: 8, Content: 15, Hidden: 15},
		{Added: 2, Changed: 1, Removed: 1, Content: 4, Hidden: 3},
		{Changed: 2, Removed: 4, Content: 5},
	}, stats)
	visible, all := Visible(stats)
	assert.EqualValues(t, 6, visible)
	assert.EqualValues(t, 24, all)
}

// A zstd layer of several frames, including a skippable one, is entered at any of them.
func TestFrames(t *testing.T) {
	var entries []*tar.Header
	for i := range 40 {
		entries = append(entries, file(fmt.Sprintf("f%02d", i), strings.Repeat(fmt.Sprintf("%02d line\n", i), 30_000)))
	}
	data := tarOf(t, entries...)
	var stored []byte
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 700_000)
		stored = append(stored, zstandard(t, rest[:n])...)
		rest = rest[n:]
	}
	stored = append(stored, "\x5a\x2a\x4d\x18\x02\x00\x00\x00hi"...)
	dir := t.TempDir()
	tree := New([]Source{sourceOf("frames", data, stored)}, Options{Random: true, TempDir: filepath.Join(dir, "none")})
	require.NoError(t, tree.Load(t.Context()))
	f, ok := tree.layers[0].content.index.(*frames)
	require.True(t, ok)
	assert.Greater(t, len(f.starts), 5)
	for i := 39; i >= 0; i -= 7 {
		e, err := tree.Lookup(t.Context(), fmt.Sprintf("f%02d", i))
		require.NoError(t, err)
		r, err := tree.ReaderAt(t.Context(), e.File)
		require.NoError(t, err)
		got, err := io.ReadAll(io.NewSectionReader(r, 0, e.Size()))
		require.NoError(t, err)
		assert.Equal(t, strings.Repeat(fmt.Sprintf("%02d line\n", i), 30_000), string(got))
	}
	p := make([]byte, 10)
	_, err := f.ReadAt(p, int64(len(data)))
	require.ErrorIs(t, err, io.EOF)
	n, err := f.ReadAt(p, int64(len(data))-5)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, 5, n)
	require.NoError(t, tree.Close())

	// One that is damaged is no other than any stream.
	stored[len(stored)/2] ^= 1
	tree = New([]Source{sourceOf("frames", data, stored)}, Options{Random: true})
	require.ErrorIs(t, tree.Load(t.Context()), errdef.ErrDamaged)
	require.NoError(t, tree.Close())
}

// In overlayfs a directory behind its own whiteout is not opaque.
func TestDirectoryInThePlaceOfAWhiteout(t *testing.T) {
	tree := treeOf(t, Options{}, []*tar.Header{file("d/low", "1")}, []*tar.Header{whiteoutOf(".wh.d"), directory("d"), file("d/high", "2")})
	for _, path := range []string{"d/low", "d/high"} {
		_, err := tree.Lookup(t.Context(), path)
		require.NoError(t, err, path)
	}
}
