package compose_test

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
)

// anybody gives everything to root, as a test may be run by anybody.
func anybody() compose.PackOptions {
	return compose.PackOptions{Rewriting: compose.Rewriting{Owner: compose.SetOwner(0, 0), SetTime: day}}
}

func write(t testing.TB, path, text string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	require.NoError(t, os.Chmod(path, 0o644)) // whatever the umask is
}

// only makes an image of one layer, and lists that.
func only(t testing.TB, c compose.Content) []string {
	return list(t, mustMake(t, &compose.Image{Layers: []compose.Layer{{Content: c}}}).layer(t, 0))
}

func TestParts(t *testing.T) {
	dir, old := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "a"), "1")
	write(t, filepath.Join(dir, "left/out"), "1")
	write(t, filepath.Join(old, "a"), "1")
	write(t, filepath.Join(old, "gone"), "1")
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "s")))
	o := anybody()
	o.Prefix, o.Exclude = "/opt", []string{"left"}
	assert.Equal(t, []string{"opt/ 5 755 ", "opt/a 0 644 1", "opt/s 2 777 a"}, only(t, compose.Dir(dir, o)))
	o.Prefix = "/bin/b"
	assert.Equal(t, []string{"bin/ 5 755 ", "bin/b 0 644 1"}, only(t, compose.DiskFile(filepath.Join(dir, "a"), o)))
	assert.Equal(t, []string{"bin/ 5 755 ", "bin/b 2 777 a"}, only(t, compose.DiskFile(filepath.Join(dir, "s"), o)))
	assert.Equal(t, []string{".wh.gone 0 0 ", "left/ 5 755 ", "left/out 0 644 1", "s 2 777 a"}, only(t, compose.DiffDir(old, dir, anybody())))
	assert.Empty(t, only(t, compose.Whiteouts("/etc/x")), "there is no /etc")
	assert.Equal(t, []string{"etc/ 5 755 ", "etc/.wh..wh..opq 0 0 "}, only(t, compose.Opaque("etc")))
	assert.Equal(t, []string{"a 0 644 1", "b/ 5 755 ", "b/c 0 644 2"}, only(t, compose.Files(day, compose.File{Path: "b/c", Content: []byte("2")}, compose.File{Path: "a", Content: []byte("1")})))
	assert.Equal(t, []string{"m 0 600 x"}, only(t, compose.FS("mem", fstest.MapFS{"m": {Data: []byte("x"), Mode: 0o600}}, compose.PackOptions{})))
	assert.Equal(t, []string{".wh.x 0 0 ", "f 0 644 "}, only(t, compose.Pack("both", compose.Whiteouts("x"), compose.Files(day, compose.File{Path: "f"}))))
	assert.Equal(t, []string{"b 0 644 c"}, only(t, compose.Filter(compose.Pack("all", files("b", "c")), compose.Rewriting{})))

	m := mustMake(t, &compose.Image{Layers: []compose.Layer{{Content: compose.Files(time.Time{}, compose.File{Path: "a"})}}})
	assert.Zero(t, first(t, m.layer(t, 0)).ModTime.Unix())
}

func TestPartsRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, ".wh.a"), "")
	none := filepath.Join(dir, "none")
	o := anybody()
	for want, part := range map[string]compose.Part{
		"layer " + dir + ": pack " + dir + "/.wh.a: ":                             compose.Dir(dir, o),
		"layer " + none + ": ":                                                    compose.Dir(none, o),
		`destination "/": it is the name of no file`:                              compose.DiskFile(filepath.Join(dir, ".wh.a"), compose.PackOptions{Prefix: "/"}),
		`destination "a/../../b"`:                                                 compose.DiskFile(filepath.Join(dir, ".wh.a"), compose.PackOptions{Prefix: "a/../../b"}),
		"it is a directory":                                                       compose.DiskFile(dir, compose.PackOptions{Prefix: "x"}),
		"layer of whiteouts: remove \"\": the root cannot":                        compose.Whiteouts("/"),
		`layer of files in memory: add file "a": it is there twice`:               compose.Files(day, compose.File{Path: "a"}, compose.File{Path: "/a"}),
		`layer of files in memory: add file "../a": the name "../a" leads out of`: compose.Files(day, compose.File{Path: "../a"}),
		"patterns of what is left out":                                            compose.Dir(dir, compose.PackOptions{Exclude: []string{"[a"}}),
	} {
		_, err := tryMake(t, &compose.Image{Layers: []compose.Layer{{Content: part}}})
		assert.ErrorContains(t, err, want)
	}
}

// A directory that changes while it is read is an error, and leaves nothing behind.
func TestChangesWhileRead(t *testing.T) {
	defer leaktest.None(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	write(t, file, strings.Repeat("x", 8<<20))
	img := &compose.Image{Layers: []compose.Layer{{Content: compose.Dir(dir, anybody())}}, Compression: compose.Compression{Algorithm: compose.None}}
	_, err := img.MakeTo(t.Context(), truncating{&made{blobs: map[digest.Digest][]byte{}}, file})
	require.ErrorIs(t, err, compose.ErrChanged)
	require.ErrorContains(t, err, file)
}

// parentBase is a base with a directory that only it knows the mode of.
func parentBase(t testing.TB) *base {
	return newBase(t, `{"config":{"User":"u"}}`,
		imagetest.NewLayer(imagetestTar(t, tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 7, ModTime: day}, tar.Header{Name: "tmp/old", Mode: 0o644, ModTime: day})),
		imagetest.Gzip(1, 100))
}

// Directories that a layer goes through stay as they are below, and new ones have an entry.
func TestParents(t *testing.T) {
	b := parentBase(t)
	img := &compose.Image{Base: b, Layers: []compose.Layer{{Content: files("tmp/new", "1")}, {Content: files("top", "2")}, {Content: files("new/dir/f", "3")}}}
	m := mustMake(t, img)
	assert.Equal(t, []string{"tmp/ 5 1777 ", "tmp/new 0 644 1"}, list(t, m.layer(t, 2)))
	assert.Equal(t, 7, first(t, m.layer(t, 2)).Uid)
	assert.Equal(t, []string{"top 0 644 2"}, list(t, m.layer(t, 3)))
	assert.Equal(t, []string{"new/ 5 755 ", "new/dir/ 5 755 ", "new/dir/f 0 644 3"}, list(t, m.layer(t, 4)))
	assert.Equal(t, 1, b.gets[b.Layers[0].Digest], "to look and to copy")

	img.Layers = img.Layers[1:2]
	mustMake(t, img)
	assert.Equal(t, 2, b.gets[b.Layers[0].Digest], "it is not looked at if nothing is needed of it")
	img.Layers = []compose.Layer{{Content: compose.Tar(tarFile(t, tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o700}))}, {Content: files("tmp/new", "1")}}
	m = mustMake(t, img)
	assert.Equal(t, []string{"tmp/ 5 700 ", "tmp/new 0 644 1"}, list(t, m.layer(t, 3)), "as the layer before has it")
	assert.Equal(t, 3, b.gets[b.Layers[0].Digest], "a layer of the image itself says it")
}

// The layers of the base can be read until the image is closed, from what was kept of them.
func TestBaseIsReadLater(t *testing.T) {
	b := parentBase(t)
	img := &compose.Image{Base: b, Layers: []compose.Layer{{Content: files("tmp/new", "1")}}}
	m := mustMake(t, img)
	body, err := m.open(t.Context(), 0)
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	assert.Equal(t, b.Layers[0].Blob, got)
	assert.Equal(t, 1, b.gets[b.Layers[0].Digest])

	require.NoError(t, m.Close())
	body, err = m.open(t.Context(), 0)
	if err == nil {
		_, err = io.ReadAll(body)
	}
	require.Error(t, err, "it is closed")

	m, err = tryMake(t, &compose.Image{Base: b, Layers: img.Layers, Change: func(*compose.Config) error { return errTest }})
	require.ErrorIs(t, err, errTest)
	require.Nil(t, m.Made)
}

func tarFile(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.tar")
	diff, _, _ := imagetestTar(t, headers...)
	require.NoError(t, os.WriteFile(path, diff, 0o600))
	return path
}

// Links of the base are followed inside of it, for what is added and for what is removed.
func TestDestinationsAreResolved(t *testing.T) {
	b := newBase(t, `{}`, imagetest.NewLayer(imagetestTar(t,
		tar.Header{Name: "usr/bin/", Typeflag: tar.TypeDir, Mode: 0o711}, tar.Header{Name: "usr/bin/sh", Mode: 0o755},
		tar.Header{Name: "bin", Typeflag: tar.TypeSymlink, Linkname: "usr/bin"},
		tar.Header{Name: "run/", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "run/secret", Mode: 0o600},
		tar.Header{Name: "var/", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "var/run", Typeflag: tar.TypeSymlink, Linkname: "/../run"},
		tar.Header{Name: "loop", Typeflag: tar.TypeSymlink, Linkname: "loop"}, tar.Header{Name: "file", Mode: 0o600},
		tar.Header{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "../../../../usr"},
	)))
	dir, app := t.TempDir(), filepath.Join(t.TempDir(), "app")
	write(t, app, "app")
	write(t, filepath.Join(dir, "bin/tool"), "tool")
	to := func(prefix string) compose.PackOptions {
		o := anybody()
		o.Prefix, o.Follow = prefix, true
		return o
	}
	for name, test := range map[string]struct {
		part compose.Part
		want []string // or an error
	}{
		"file":                    {compose.DiskFile(app, to("/bin/x")), []string{"usr/ 5 755 ", "usr/bin/ 5 711 ", "usr/bin/x 0 644 app"}},
		"file into a link":        {compose.DiskFile(app, to("/bin")), []string{"usr/ 5 755 ", "usr/bin/ 5 711 ", "usr/bin/app 0 644 app"}},
		"file over a link to one": {compose.DiskFile(app, to("/loop")), []string{"more than 40"}},
		"link out of the image":   {compose.DiskFile(app, to("/out/bin/x")), []string{"usr/ 5 755 ", "usr/bin/ 5 711 ", "usr/bin/x 0 644 app"}},
		"memory":                  {compose.Files(day, compose.File{Path: "bin/x", Content: []byte("1")}), []string{"usr/ 5 755 ", "usr/bin/ 5 711 ", "usr/bin/x 0 644 1"}},
		"directory":               {compose.Dir(dir, to("/")), []string{"usr/ 5 755 ", "usr/bin/ 5 755 ", "usr/bin/tool 0 644 tool"}},
		"directory behind a link": {compose.Dir(dir, to("/var/run/d")), []string{"run/ 5 755 ", "run/d/ 5 755 ", "run/d/bin/ 5 755 ", "run/d/bin/tool 0 644 tool"}},
		"removed":                 {compose.Whiteouts("/var/run/secret", "run/secret"), []string{"run/ 5 755 ", "run/.wh.secret 0 0 "}},
		"removed link":            {compose.Whiteouts("/bin"), []string{".wh.bin 0 0 "}},
		"opaque":                  {compose.Opaque("/bin"), []string{"usr/ 5 755 ", "usr/bin/ 5 711 ", "usr/bin/.wh..wh..opq 0 0 "}},
		"nothing to remove":       {compose.Whiteouts("/no/such/file", "/var/run/secret"), []string{"run/ 5 755 ", "run/.wh.secret 0 0 "}},
		"nothing to empty":        {compose.Opaque("/file"), []string{"not a directory"}},
		"below a file":            {compose.DiskFile(app, to("/file/x")), []string{"not a directory"}},
		"a loop":                  {compose.DiskFile(app, to("/loop/x")), []string{"more than 40"}},
	} {
		t.Run(name, func(t *testing.T) {
			img := &compose.Image{Base: b, Layers: []compose.Layer{{Content: test.part}}}
			if _, err := tryMake(t, img); err != nil {
				require.Len(t, test.want, 1, "%v", err)
				require.ErrorContains(t, err, test.want[0])
				return
			}
			assert.Equal(t, test.want, list(t, mustMake(t, img).layer(t, 1)))
		})
	}
}

func TestDiffBase(t *testing.T) {
	b := parentBase(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tmp/new"), "1")
	o := anybody()
	img := &compose.Image{Base: b, Layers: []compose.Layer{{Content: compose.DiffBase(dir, o)}}}
	m := mustMake(t, img)
	got := list(t, m.layer(t, 2))
	assert.Contains(t, got, "tmp/.wh.old 0 0 ")
	assert.Contains(t, got, "tmp/new 0 644 1")
	// Applied to the base, it makes the directory.
	img.Squash = true
	assert.ElementsMatch(t, only(t, compose.Dir(dir, anybody())), list(t, mustMake(t, img).layer(t, 0)))
	// Without a base, it makes the directory too.
	assert.Equal(t, only(t, compose.Dir(dir, anybody())), only(t, compose.DiffBase(dir, anybody())))

	b.disturb = func(d digest.Digest, r io.ReadCloser) io.ReadCloser {
		if d == b.Layers[1].Digest {
			return io.NopCloser(strings.NewReader("other"))
		}
		return r
	}
	img.Squash = false
	_, err := tryMake(t, img)
	require.ErrorIs(t, err, errdef.ErrDamaged)
	require.ErrorContains(t, err, "layer "+dir+": reading the layers below: layer "+b.Layers[1].Digest.String()+" of the base: it has 5 bytes instead of")
}
