package squash_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
	"github.com/dockerarchive/dockerarchive/internal/squash"
)

// entry is an entry of a layer that a test makes: its name, or name and content,
// target or mode.
type entry struct {
	kind       byte
	name, data string
	mode       int64
}

func file(name, content string) entry  { return entry{tar.TypeReg, name, content, 0o644} }
func dir(name string) entry            { return entry{tar.TypeDir, name, "", 0o755} }
func link(name, target string) entry   { return entry{tar.TypeLink, name, target, 0o644} }
func symlink(name, to string) entry    { return entry{tar.TypeSymlink, name, to, 0o777} }
func (e entry) withMode(m int64) entry { e.mode = m; return e }

// pack makes the tar of a layer.
func pack(t testing.TB, entries []entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Mode: e.mode, ModTime: time.Unix(1e9, 0)}
		if e.kind == tar.TypeReg {
			h.Size = int64(len(e.data))
		} else {
			h.Linkname = e.data
		}
		require.NoError(t, w.WriteHeader(h))
		if e.kind == tar.TypeReg {
			_, err := io.WriteString(w, e.data)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// tree returns the tree of layers with the tars.
func tree(t testing.TB, options files.Options, tars ...[]byte) *files.Tree {
	var sources []files.Source
	for i, tar := range tars {
		sources = append(sources, files.Source{Name: fmt.Sprint(i), Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(tar)), nil
		}, Again: true})
	}
	tree := files.New(sources, options)
	t.Cleanup(func() { require.NoError(t, tree.Close()) })
	return tree
}

// merge squashes layers.
func merge(t testing.TB, tars ...[]byte) ([]byte, error) {
	var b bytes.Buffer
	err := squash.Write(t.Context(), &b, tree(t, files.Options{}, tars...), &layertar.Rewriting{})
	return b.Bytes(), err
}

// unpack lists a layer as it would be unpacked, one line for a path; what is
// wrong with it, such as a link without a target, fails the test.
func unpack(t testing.TB, layer []byte) []string {
	files := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		name := path.Clean(h.Name)
		assert.NotContains(t, files, name, "twice")
		if h.Typeflag == tar.TypeLink {
			require.Contains(t, files, h.Linkname)
			assert.Less(t, h.Linkname, name)
			files[name] = files[h.Linkname]
			continue
		}
		files[name] = fmt.Sprintf("%c %o %s%s", h.Typeflag, h.Mode, content, h.Linkname)
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		lines = append(lines, name+": "+files[name])
	}
	return lines
}

func TestMerge(t *testing.T) {
	for name, test := range map[string]struct {
		layers [][]entry
		want   []string
	}{
		"a later layer":            {[][]entry{{file("a", "1")}, {file("a", "2")}}, []string{"a: 0 644 2"}},
		"a later entry":            {[][]entry{{file("a", "1"), file("./a", "2")}}, []string{"a: 0 644 2"}},
		"whiteout":                 {[][]entry{{dir("d"), file("d/a", "1"), file("b", "")}, {file(".wh.d", "")}}, []string{"b: 0 644 "}},
		"whiteout of nothing":      {[][]entry{{file("x/.wh.y", ""), file("a", "")}}, []string{"a: 0 644 ", "x: 5 755 "}},
		"whiteout after its own":   {[][]entry{{dir("d"), file("d/a", "1")}, {dir("d"), file("d/b", "2"), file(".wh.d", "")}}, []string{"d: 5 755 ", "d/b: 0 644 2"}},
		"opaque after its own":     {[][]entry{{dir("d"), file("d/a", "1")}, {file("d/b", "2"), file("d/.wh..wh..opq", "")}}, []string{"d: 5 755 ", "d/b: 0 644 2"}},
		"opaque root":              {[][]entry{{file("a", "1")}, {file(".wh..wh..opq", ""), file("b", "2")}}, []string{"b: 0 644 2"}},
		"file over directory":      {[][]entry{{dir("d"), file("d/a", "1")}, {file("d", "2")}}, []string{"d: 0 644 2"}},
		"directory over file":      {[][]entry{{file("d", "1")}, {dir("d"), file("d/a", "2")}}, []string{"d: 5 755 ", "d/a: 0 644 2"}},
		"directory over directory": {[][]entry{{dir("d"), file("d/a", "1")}, {dir("d").withMode(0o700)}}, []string{"d: 5 700 ", "d/a: 0 644 1"}},
		"link to a lower layer":    {[][]entry{{file("z", "1")}, {link("a", "/z")}}, []string{"a: 0 644 1", "z: 0 644 1"}},
		"target is replaced":       {[][]entry{{file("a", "1"), link("b", "a")}, {file("a", "2")}}, []string{"a: 0 644 2", "b: 0 644 1"}},
		"target is removed":        {[][]entry{{file("a", "1"), link("b", "a"), link("c", "b")}, {file(".wh.a", "")}}, []string{"b: 0 644 1", "c: 0 644 1"}},
		"link of a lower layer":    {[][]entry{{dir("usr"), dir("usr/lib"), symlink("lib", "/usr/lib")}, {file("lib/a", "1")}}, []string{"lib: 5 755 ", "lib/a: 0 644 1", "usr: 5 755 ", "usr/lib: 5 755 "}},
		"symbolic link out":        {[][]entry{{symlink("l", "../../../etc"), file("l/a", "1")}}, []string{"etc: 5 755 ", "etc/a: 0 644 1", "l: 2 777 ../../../etc"}},
		"link that becomes opaque": {[][]entry{{dir("b"), file("b/x", "1"), symlink("a", "b")}, {dir("a"), file("a/.wh..wh..opq", "")}}, []string{"a: 5 755 ", "b: 5 755 ", "b/x: 0 644 1"}},
		"absolute":                 {[][]entry{{file("/a", "1"), file("b/../c", "2")}}, []string{"a: 0 644 1", "c: 0 644 2"}},
		"remains of aufs":          {[][]entry{{dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "")}}, nil},
		"whiteout through a link":  {[][]entry{{dir("target"), file("target/keep.txt", "1"), symlink("link", "target")}, {file("link/.wh.keep.txt", "")}}, []string{"link: 5 755 ", "target: 5 755 ", "target/keep.txt: 0 644 1"}},
		"file as directory":        {[][]entry{{file("a", "1")}, {file("a/b", "2")}}, []string{"a: 5 755 ", "a/b: 0 644 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tars [][]byte
			for _, l := range test.layers {
				tars = append(tars, pack(t, l))
			}
			got, err := merge(t, tars...)
			require.NoError(t, err)
			assert.Equal(t, test.want, unpack(t, got))
			again, err := merge(t, got)
			require.NoError(t, err)
			assert.Equal(t, unpack(t, got), unpack(t, again))
		})
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct {
		entries []entry
		want    error
	}{
		"out of the root":      {[]entry{file("a/../../b", "")}, errdef.ErrDamaged},
		"link out of the root": {[]entry{file("a", ""), link("b", "../a")}, errdef.ErrDamaged},
		"link to nothing":      {[]entry{link("b", "a")}, errdef.ErrDamaged},
		"link to itself":       {[]entry{link("b", "b")}, errdef.ErrDamaged},
		"link to a directory":  {[]entry{dir("a"), link("b", "a")}, errdef.ErrDamaged},
		"loop":                 {[]entry{symlink("a", "b"), symlink("b", "a"), file("a/c", "")}, errdef.ErrDamaged},
		"whiteout of a parent": {[]entry{file("a/.wh...", "")}, errdef.ErrDamaged},
		"whiteout of nothing":  {[]entry{file("a/.wh.", "")}, errdef.ErrDamaged},
		"file in a whiteout":   {[]entry{file(".wh.a/b", "")}, errdef.ErrDamaged},
		"root is a file":       {[]entry{file(".", "")}, errdef.ErrDamaged},
		"name too long":        {[]entry{file(strings.Repeat("a/", 3000)+"b", "")}, errdef.ErrLimit},
		"unknown type":         {[]entry{{'Z', "a", "", 0}}, errdef.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := merge(t, pack(t, test.entries))
			assert.ErrorIs(t, err, test.want)
		})
	}
	_, err := merge(t, pack(t, []entry{file("a", "content")})[:515])
	require.ErrorIs(t, err, errdef.ErrDamaged)
}

func TestRewriting(t *testing.T) {
	layer := pack(t, []entry{dir("d"), file("d/a", "1").withMode(0o4755), link("d/b", "d/a"), file("e", "")})
	var b bytes.Buffer
	rewriting := &layertar.Rewriting{StripSetID: true, SetTime: time.Unix(5, 7), Owner: func(int, int) (int, int, error) { return 7, 8, nil }}
	require.NoError(t, squash.Write(t.Context(), &b, tree(t, files.Options{}, layer), rewriting))
	r := tar.NewReader(&b)
	for range 4 {
		h, err := r.Next()
		require.NoError(t, err)
		assert.Equal(t, []int{7, 8}, []int{h.Uid, h.Gid})
		assert.Equal(t, time.Unix(5, 0), h.ModTime)
		assert.Zero(t, h.Mode&0o4000)
	}
}

func TestList(t *testing.T) {
	layer := pack(t, []entry{dir("d"), file("d/a", "1"), link("d/b", "d/a"), file("e", ""), file("implied/f", "")})
	list, err := squash.List(t.Context(), tree(t, files.Options{}, layer))
	require.NoError(t, err)
	assert.Equal(t, 5, list.Len(), "no entry for what is implied")
	for _, name := range []string{"d/a", "d/b"} {
		e, _ := list.Get(name)
		assert.Equal(t, "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", e.Digest.String())
	}
}

func TestLayerChanges(t *testing.T) {
	first, opened := pack(t, []entry{file("a", "1")}), 0
	changes := files.New([]files.Source{{Name: "base", Again: true, Open: func(context.Context) (io.ReadCloser, error) {
		if opened++; opened > 1 {
			return io.NopCloser(bytes.NewReader(pack(t, []entry{file("b", "12")}))), nil
		}
		return io.NopCloser(bytes.NewReader(first)), nil
	}}}, files.Options{})
	defer changes.Close()
	err := squash.Write(t.Context(), io.Discard, changes, &layertar.Rewriting{})
	require.ErrorIs(t, err, errdef.ErrDamaged)
	assert.ErrorContains(t, err, "layer base")
}

func FuzzSquash(f *testing.F) {
	f.Add(pack(f, []entry{dir("a"), file("a/b", "1"), symlink("c", "a")}), pack(f, []entry{file("c/.wh.b", ""), link("d", "a/b")}))
	f.Add(pack(f, []entry{file("a", "1")}), pack(f, []entry{file(".wh..wh..opq", ""), file("a/b", "2")}))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		both := tree(t, files.Options{MaxEntries: 1000, MaxBytes: 1 << 20}, lower, upper)
		root, err := both.Root(t.Context())
		if err != nil {
			return
		}
		var size int64
		for e, err := range both.Walk(t.Context(), root) {
			require.NoError(t, err)
			clean, err := layertar.Clean(e.Path)
			require.NoError(t, err)
			assert.Equal(t, e.Path, clean)
			size += e.Size()
		}
		if size > 1<<20 {
			return // Holes, which would have to be written.
		}
		var out bytes.Buffer
		if squash.Write(t.Context(), &out, both, &layertar.Rewriting{}) != nil {
			return
		}
		_, err = merge(t, out.Bytes())
		require.NoError(t, err)
	})
}
