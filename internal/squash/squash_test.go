package squash_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
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

// layers returns layers with the tars.
func layers(tars ...[]byte) []squash.Layer {
	all := make([]squash.Layer, len(tars))
	for i, tar := range tars {
		all[i] = squash.Layer{Name: fmt.Sprint(i), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(tar)), nil
		}}
	}
	return all
}

// merge squashes layers.
func merge(t testing.TB, tars ...[]byte) ([]byte, error) {
	m, err := squash.Merge(t.Context(), layers(tars...), squash.Options{})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = m.Write(t.Context(), &b)
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
		"a later layer":              {[][]entry{{file("a", "1")}, {file("a", "2")}}, []string{"a: 0 644 2"}},
		"a later entry":              {[][]entry{{file("a", "1"), file("./a", "2")}}, []string{"a: 0 644 2"}},
		"whiteout":                   {[][]entry{{dir("d"), file("d/a", "1"), file("b", "")}, {file(".wh.d", "")}}, []string{"b: 0 644 "}},
		"whiteout of nothing":        {[][]entry{{file("x/.wh.y", ""), file("a", "")}}, []string{"a: 0 644 "}},
		"whiteout after its own":     {[][]entry{{dir("d"), file("d/a", "1")}, {dir("d"), file("d/b", "2"), file(".wh.d", "")}}, []string{"d: 5 755 ", "d/b: 0 644 2"}},
		"opaque after its own":       {[][]entry{{dir("d"), file("d/a", "1")}, {file("d/b", "2"), file("d/.wh..wh..opq", "")}}, []string{"d: 5 755 ", "d/b: 0 644 2"}},
		"opaque root":                {[][]entry{{file("a", "1")}, {file(".wh..wh..opq", ""), file("b", "2")}}, []string{"b: 0 644 2"}},
		"file over directory":        {[][]entry{{dir("d"), file("d/a", "1")}, {file("d", "2")}}, []string{"d: 0 644 2"}},
		"directory over file":        {[][]entry{{file("d", "1")}, {dir("d"), file("d/a", "2")}}, []string{"d: 5 755 ", "d/a: 0 644 2"}},
		"directory over directory":   {[][]entry{{dir("d"), file("d/a", "1")}, {dir("d").withMode(0o700)}}, []string{"d: 5 700 ", "d/a: 0 644 1"}},
		"link to a lower layer":      {[][]entry{{file("z", "1")}, {link("a", "/z")}}, []string{"a: 0 644 1", "z: 0 644 1"}},
		"target is replaced":         {[][]entry{{file("a", "1"), link("b", "a")}, {file("a", "2")}}, []string{"a: 0 644 2", "b: 0 644 1"}},
		"target is removed":          {[][]entry{{file("a", "1"), link("b", "a"), link("c", "b")}, {file(".wh.a", "")}}, []string{"b: 0 644 1", "c: 0 644 1"}},
		"symbolic link as directory": {[][]entry{{dir("usr"), dir("usr/lib"), symlink("lib", "/usr/lib")}, {file("lib/a", "1")}}, []string{"lib: 2 777 /usr/lib", "usr: 5 755 ", "usr/lib: 5 755 ", "usr/lib/a: 0 644 1"}},
		"symbolic link out":          {[][]entry{{symlink("l", "../../../etc"), file("l/a", "1")}}, []string{"etc/a: 0 644 1", "l: 2 777 ../../../etc"}},
		"link that becomes opaque":   {[][]entry{{dir("b"), file("b/x", "1"), symlink("a", "b")}, {dir("a"), file("a/.wh..wh..opq", "")}}, []string{"a: 5 755 ", "b: 5 755 ", "b/x: 0 644 1"}},
		"absolute":                   {[][]entry{{file("/a", "1"), file("b/../c", "2")}}, []string{"a: 0 644 1", "c: 0 644 2"}},
		"remains of aufs":            {[][]entry{{dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "")}}, nil},
		"file as directory":          {[][]entry{{file("a", "1")}, {file("a/b", "2")}}, []string{"a/b: 0 644 2"}},
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
	_, err = squash.Merge(t.Context(), layers(pack(t, []entry{file("a", ""), file("b", "")})), squash.Options{MaxEntries: 1})
	require.ErrorIs(t, err, errdef.ErrLimit)
	_, err = squash.Merge(t.Context(), layers(pack(t, []entry{file("abc", "")})), squash.Options{MaxBytes: 2})
	require.ErrorIs(t, err, errdef.ErrLimit)
}

// model is what layers add up to, worked out the plain way: all paths in one map.
type model map[string]*modelFile

type modelFile struct{ line, target string }

func (f *modelFile) isDir() bool { return strings.HasPrefix(f.line, "5") }

// at follows the directories of a path.
func (m model) at(name string, depth int) (string, bool) {
	parent, base := path.Split(name)
	if parent = strings.TrimSuffix(parent, "/"); parent == "" {
		return base, true
	}
	parent, ok := m.follow(parent, depth)
	return strings.TrimPrefix(parent+"/"+base, "/"), ok
}

func (m model) follow(name string, depth int) (string, bool) {
	if name == "" {
		return "", true
	}
	at, ok := m.at(name, depth)
	if f := m[at]; ok && f != nil && f.target != "" {
		if depth == 0 {
			return "", false
		}
		target := f.target
		if !strings.HasPrefix(target, "/") {
			target = "/" + path.Dir(at) + "/" + target
		}
		return m.follow(strings.TrimPrefix(path.Clean(target), "/"), depth-1)
	}
	return at, ok
}

func (m model) drop(name string, self bool) {
	for other := range m {
		if self && other == name || name == "" || strings.HasPrefix(other, name+"/") {
			delete(m, other)
		}
	}
}

// apply applies a layer; false if it cannot be.
func (m model) apply(layer []entry) bool {
	var removed, emptied []string
	for _, e := range layer {
		parent, base := path.Split(e.name)
		if base == layertar.OpaqueMarker {
			at, ok := m.at(path.Join(parent, "x"), 40)
			if !ok {
				return false
			}
			emptied = append(emptied, strings.TrimSuffix(strings.TrimSuffix(at, "x"), "/"))
		} else if hidden, is := strings.CutPrefix(base, ".wh."); is {
			at, ok := m.at(path.Join(parent, hidden), 40)
			if !ok {
				return false
			}
			removed = append(removed, at)
		}
	}
	for _, at := range removed {
		m.drop(at, true)
	}
	for _, at := range emptied {
		m.drop(at, false)
	}
	for _, e := range layer {
		if strings.HasPrefix(path.Base(e.name), ".wh.") {
			continue
		}
		at, ok := m.at(e.name, 40)
		if !ok {
			return false
		}
		f := &modelFile{line: fmt.Sprintf("%c %o %s", e.kind, e.mode, e.data)}
		if e.kind == tar.TypeSymlink {
			f.target = e.data
		}
		for parent := path.Dir(at); parent != "."; parent = path.Dir(parent) {
			if m[parent] != nil && !m[parent].isDir() {
				delete(m, parent)
			}
		}
		if e.kind == tar.TypeLink {
			target, ok := m.at(e.data, 40)
			if f = m[target]; !ok || f == nil || f.isDir() {
				return false
			}
		}
		if old := m[at]; old == nil && f.isDir() || old != nil && old.isDir() && f.isDir() {
			m[at] = f
			continue
		}
		m.drop(at, true)
		m[at] = f
	}
	return true
}

// randomLayer makes a layer of a few names, so that they meet.
func randomLayer(r *rand.Rand) []entry {
	names := []string{"a", "b", "c"}
	name := func() string {
		n := names[r.IntN(len(names))]
		for range r.IntN(3) {
			n += "/" + names[r.IntN(len(names))]
		}
		return n
	}
	var layer []entry
	for i := range 1 + r.IntN(6) {
		n := name()
		switch r.IntN(9) {
		case 0, 1:
			layer = append(layer, dir(n).withMode(int64(0o700+r.IntN(64))))
		case 2, 3, 4:
			layer = append(layer, file(n, strings.Repeat("x", i)))
		case 5:
			layer = append(layer, link(n, name()))
		case 6:
			layer = append(layer, symlink(n, []string{"/", ""}[r.IntN(2)]+name()))
		case 7:
			layer = append(layer, file(path.Dir(n)+"/.wh."+path.Base(n), ""))
		case 8:
			layer = append(layer, file(n+"/.wh..wh..opq", ""))
		}
	}
	return layer
}

// leadAstray reports whether a whiteout may meet a link that its layer replaces,
// which the plain model has no rule for.
func leadAstray(layer []entry) bool {
	whiteout := slices.ContainsFunc(layer, func(e entry) bool { return strings.Contains(e.name, ".wh.") })
	return whiteout && slices.ContainsFunc(layer, func(e entry) bool { return e.kind == tar.TypeDir })
}

func TestModel(t *testing.T) {
	same, refused := 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 0))
		m, ok := model{}, true
		var all [][]entry
		var tars [][]byte
		for range 1 + r.IntN(4) {
			layer := randomLayer(r)
			hasLinks := slices.ContainsFunc(slices.Concat(append(all, layer)...), func(e entry) bool { return e.kind == tar.TypeSymlink })
			if hasLinks && leadAstray(layer) {
				continue
			}
			all = append(all, layer)
			tars = append(tars, pack(t, layer))
			ok = ok && m.apply(layer)
		}
		got, err := merge(t, tars...)
		if !ok {
			require.ErrorIs(t, err, errdef.ErrDamaged, "seed %d: %v", seed, all)
			refused++
			continue
		}
		require.NoError(t, err, "seed %d: %v", seed, all)
		var want []string
		for _, name := range slices.Sorted(maps.Keys(m)) {
			want = append(want, name+": "+m[name].line)
		}
		require.Equal(t, want, unpack(t, got), "seed %d: %v", seed, all)
		same++
	}
	assert.Greater(t, same, 1000)
	assert.Greater(t, refused, 100)
}

func TestTreeAndRewriting(t *testing.T) {
	tars := layers(pack(t, []entry{dir("d"), file("d/a", "1").withMode(0o4755), link("d/b", "d/a"), file("e", "")}))
	m, err := squash.Merge(t.Context(), tars, squash.Options{Rewriting: layertar.Rewriting{StripSetID: true, SetTime: time.Unix(5, 7), Owner: layertar.SetOwner(7, 8)}})
	require.NoError(t, err)
	tree, err := m.Tree(t.Context(), true)
	require.NoError(t, err)
	require.Equal(t, 4, tree.Len())
	e, _ := tree.Get("d/b")
	assert.Equal(t, int64(0o755), e.Header.Mode)
	assert.Equal(t, "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", e.Digest.String())
	assert.Equal(t, []int{7, 8}, []int{e.Header.Uid, e.Header.Gid})
	assert.Equal(t, time.Unix(5, 0), e.Header.ModTime)
}

// What is kept of a file is small, however long the names of the directories.
func TestMemory(t *testing.T) {
	const files = 20_000
	var entries []entry
	for i := range files {
		entries = append(entries, file(fmt.Sprintf("%s/%d/%d", strings.Repeat("long", 20), i/100, i), ""))
	}
	layer := pack(t, entries)
	entries = nil
	live := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := live()
	m, err := squash.Merge(t.Context(), layers(layer), squash.Options{})
	require.NoError(t, err)
	assert.Less(t, (live()-before)/files, uint64(256), "bytes of a file")
	runtime.KeepAlive(m)
	runtime.KeepAlive(layer)
}

func TestLayerChanges(t *testing.T) {
	first, opened := pack(t, []entry{file("a", "1")}), 0
	l := squash.Layer{Name: "base", Open: func() (io.ReadCloser, error) {
		if opened++; opened > 1 {
			return io.NopCloser(bytes.NewReader(pack(t, []entry{file("b", "1")}))), nil
		}
		return io.NopCloser(bytes.NewReader(first)), nil
	}}
	m, err := squash.Merge(t.Context(), []squash.Layer{l}, squash.Options{})
	require.NoError(t, err)
	err = m.Write(t.Context(), io.Discard)
	require.ErrorIs(t, err, errdef.ErrDamaged)
	assert.ErrorContains(t, err, "layer base")
}

func FuzzSquash(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		f.Add(pack(f, randomLayer(r)), pack(f, randomLayer(r)))
	}
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		m, err := squash.Merge(t.Context(), layers(lower, upper), squash.Options{MaxEntries: 1000, MaxBytes: 1 << 20})
		if err != nil {
			return
		}
		tree, err := m.Tree(t.Context(), false)
		require.NoError(t, err)
		var size int64
		for name, e := range tree.All() {
			clean, err := layertar.Clean(name)
			require.NoError(t, err)
			assert.Equal(t, name, clean)
			size += e.Header.Size
		}
		if size > 1<<20 {
			return // Holes, which would have to be written.
		}
		var out bytes.Buffer
		if m.Write(t.Context(), &out) != nil {
			return
		}
		_, err = merge(t, out.Bytes())
		require.NoError(t, err)
	})
}
