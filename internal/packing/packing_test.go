package packing_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
	"github.com/dockerarchive/dockerarchive/internal/packing"
)

var day = time.Unix(1e9, 123)

// write makes a file, or a directory if its name ends in a slash.
func write(t testing.TB, root, name, content string, mode os.FileMode) {
	at := filepath.Join(root, name)
	if strings.HasSuffix(name, "/") {
		require.NoError(t, os.MkdirAll(at, 0o700))
	} else {
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(content), 0o600))
	}
	require.NoError(t, os.Chmod(at, mode))
	require.NoError(t, os.Chtimes(at, day, day))
}

// options give everything to root, as a test may be run by anybody.
func options() packing.Options {
	return packing.Options{Rewriting: layertar.Rewriting{Owner: func(int, int) (int, int, error) { return 0, 0, nil }}}
}

// layer writes a layer.
func layer(t testing.TB, add func(w *packing.Writer) error) []byte {
	var b bytes.Buffer
	w := packing.NewWriter(t.Context(), &b)
	require.NoError(t, add(w))
	require.NoError(t, w.Close())
	return b.Bytes()
}

// list lists the entries of a layer.
func list(t testing.TB, layer []byte) []string {
	var lines []string
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %c %o %s%s", h.Name, h.Typeflag, h.Mode, content, h.Linkname)))
	}
}

func TestDir(t *testing.T) {
	root := t.TempDir()
	long := strings.Repeat("n", 250)
	write(t, root, "a-b", "1", 0o755|os.ModeSetuid)
	write(t, root, "a/c", "2", 0o640)
	write(t, root, "a/"+long, "3", 0o644)
	write(t, root, "a/\xff\xfe", "4", 0o644)
	require.NoError(t, os.Link(filepath.Join(root, "a/c"), filepath.Join(root, "z")))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(root, "s")))
	write(t, root, "a/", "", 0o777|os.ModeSticky)
	var skipped []string
	o := options()
	o.Skipped = func(path string) { skipped = append(skipped, path) }
	got := layer(t, func(w *packing.Writer) error { return w.Dir(root, o) })
	assert.Equal(t, []string{
		"a/ 5 1777", "a/c 0 640 2", "a/" + long + " 0 644 3", "a/\xff\xfe 0 644 4",
		"a-b 0 4755 1", "s 2 777 /etc/passwd", "z 1 640 a/c",
	}, list(t, got))
	assert.Equal(t, got, layer(t, func(w *packing.Writer) error { return w.Dir(root, o) }))
	assert.Empty(t, skipped)

	o.Prefix, o.Root, o.Exclude = "/opt/x/", true, []string{"a", "!a/c", "s", "a-*"}
	got = layer(t, func(w *packing.Writer) error { return w.Dir(root, o) })
	assert.Equal(t, []string{"opt/x/ 5 755", "opt/x/a/ 5 1777", "opt/x/a/c 0 640 2", "opt/x/z 1 640 opt/x/a/c"}, list(t, got))

	// As lines of a .dockerignore.
	o.Exclude = []string{"# a comment", "", " /a/ ", "! /a/c", "/s", "./a-*"}
	assert.Equal(t, got, layer(t, func(w *packing.Writer) error { return w.Dir(root, o) }))
}

func TestDiff(t *testing.T) {
	old, now := t.TempDir(), t.TempDir()
	for _, root := range []string{old, now} {
		write(t, root, "same/deep/x", "x", 0o644)
		write(t, root, "same/y", "y", 0o644)
		write(t, root, "type/in", "", 0o644)
	}
	write(t, old, "gone/x", "", 0o644)
	write(t, old, "same/deep/gone", "", 0o644)
	write(t, now, "same/y", "z", 0o644) // of the same size and time
	write(t, now, "new", "n", 0o644)
	require.NoError(t, os.RemoveAll(filepath.Join(now, "type")))
	write(t, now, "type", "file", 0o644)
	want := []string{".wh.gone 0 0", "new 0 644 n", "same/ 5 755", "same/deep/ 5 755", "same/deep/.wh.gone 0 0", "same/y 0 644 z", "type 0 644 file"}
	got := layer(t, func(w *packing.Writer) error { return w.DirDiff(old, now, options()) })
	assert.Equal(t, want, list(t, got))

	base := layer(t, func(w *packing.Writer) error { return w.Dir(old, options()) })
	assert.Equal(t, got, layer(t, func(w *packing.Writer) error {
		w.Lower = lower(t, base)
		return w.Diff(now, options())
	}))

	// The difference on top of the base is the directory.
	assert.Empty(t, list(t, layer(t, func(w *packing.Writer) error {
		w.Lower = lower(t, base, got)
		return w.Diff(now, options())
	})))
}

// lower returns the tree of layers.
func lower(t *testing.T, layers ...[]byte) *files.Tree {
	t.Helper()
	var sources []files.Source
	for _, l := range layers {
		sources = append(sources, files.Source{Name: "base", Again: true, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(l)), nil
		}})
	}
	tree := files.New(sources, files.Options{})
	t.Cleanup(func() { require.NoError(t, tree.Close()) })
	return tree
}

// tarOf returns a layer with files without content.
func tarOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		require.NoError(t, w.WriteHeader(&h))
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestParts(t *testing.T) {
	base := lower(t, tarOf(t,
		tar.Header{Name: "etc", Typeflag: tar.TypeDir, Mode: 0o700}, tar.Header{Name: "etc/a", Mode: 0o600}, tar.Header{Name: "etc/b", Mode: 0o600},
		tar.Header{Name: "var", Typeflag: tar.TypeDir, Mode: 0o711}))
	got := layer(t, func(w *packing.Writer) error {
		w.Lower = base
		if err := w.Whiteouts([]string{"/etc/b", "etc/a/", "etc/a"}); err != nil {
			return err
		}
		if err := w.Opaque([]string{"/var", "/"}); err != nil {
			return err
		}
		if err := w.FS(fstest.MapFS{"m": {Data: []byte("x"), Mode: 0o600}}, packing.Options{Prefix: "mem"}); err != nil {
			return err
		}
		return w.Files([]packing.File{{Path: "b", Content: []byte("2")}, {Path: "a"}}, day)
	})
	assert.Equal(t, []string{"etc/ 5 700", "etc/.wh.a 0 0", "etc/.wh.b 0 0", ".wh..wh..opq 0 0", "var/ 5 755", "var/.wh..wh..opq 0 0", "mem/ 5 755", "mem/m 0 600 x", "a 0 644", "b 0 644 2"}, list(t, got))
}

func TestRefused(t *testing.T) {
	w := packing.NewWriter(t.Context(), io.Discard)
	root := t.TempDir()
	write(t, root, ".wh.x", "", 0o644)
	require.ErrorIs(t, w.Dir(root, options()), packing.ErrReserved)
	require.ErrorIs(t, w.Files([]packing.File{{Path: "a/.wh.b"}}, day), packing.ErrReserved)
	require.Error(t, w.Whiteouts([]string{"/"}))
	require.Error(t, w.Whiteouts([]string{"../x"}))
	require.Error(t, w.Files([]packing.File{{Path: "a"}, {Path: "./a"}}, day))
	require.ErrorIs(t, w.Dir(filepath.Join(root, "none"), options()), os.ErrNotExist)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, packing.NewWriter(ctx, io.Discard).Dir(root, options()), context.Canceled)
}

// changing is a writer that changes a file as soon as anything is written.
type changing struct{ change func() }

func (c *changing) Write(p []byte) (int, error) {
	c.change()
	return len(p), nil
}

func TestChanges(t *testing.T) {
	for name, size := range map[string]int64{"shorter": 10, "longer": 3 << 20} {
		root := t.TempDir()
		file := filepath.Join(root, "file")
		write(t, root, "file", strings.Repeat("x", 2<<20), 0o644)
		w := packing.NewWriter(t.Context(), &changing{func() { _ = os.Truncate(file, size) }})
		err := w.Dir(root, options())
		require.ErrorIs(t, err, packing.ErrChanged, name)
		assert.ErrorContains(t, err, file)
	}
}
