package packing_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/packing"
)

// planned writes a layer with a plan, upon a base.
func planned(t *testing.T, base []byte, add func(w *packing.Writer) error) ([]byte, error) {
	t.Helper()
	var b bytes.Buffer
	w := packing.NewWriter(t.Context(), &b)
	w.Lower = lower(t, base)
	run := func() error { return add(w) }
	if err := w.Plan(run); err != nil {
		return nil, err
	}
	assert.Zero(t, b.Len(), "a plan writes nothing")
	if err := run(); err != nil {
		return nil, err
	}
	err := w.Close()
	return b.Bytes(), err
}

// Parts follow each other as layers do, in one layer that has no path twice.
func TestPlan(t *testing.T) {
	base := tarOf(t,
		tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o700}, tar.Header{Name: "d/secret", Mode: 0o600}, tar.Header{Name: "d/e", Typeflag: tar.TypeDir, Mode: 0o711},
		tar.Header{Name: "t", Typeflag: tar.TypeDir, Mode: 0o750}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "t"})
	root, other := t.TempDir(), t.TempDir()
	write(t, root, "a", "1", 0o644)
	require.NoError(t, os.Link(filepath.Join(root, "a"), filepath.Join(root, "b")))
	require.NoError(t, os.Symlink("x", filepath.Join(root, "s")))
	write(t, root, "x/f", "2", 0o600)
	write(t, other, "a", "3", 0o600)
	write(t, other, "x/", "", 0o701)
	to := func(prefix string) packing.Options {
		o := options()
		o.Prefix, o.Follow = prefix, true
		return o
	}
	put := func(prefix string) func(w *packing.Writer) error {
		return func(w *packing.Writer) error { return w.Dir(root, to(prefix)) }
	}
	again := func(prefix string) func(w *packing.Writer) error {
		return func(w *packing.Writer) error { return w.Dir(other, to(prefix)) }
	}
	file := func(prefix string) func(w *packing.Writer) error {
		return func(w *packing.Writer) error { return w.File(filepath.Join(other, "a"), to(prefix)) }
	}
	remove := func(paths ...string) func(w *packing.Writer) error {
		return func(w *packing.Writer) error { return w.Whiteouts(paths) }
	}
	empty := func(path string) func(w *packing.Writer) error {
		return func(w *packing.Writer) error { return w.Opaque([]string{path}) }
	}
	type parts []func(w *packing.Writer) error
	for name, test := range map[string]struct {
		parts parts
		want  []string
	}{
		"one after the other":          {parts{put("/"), again("/")}, []string{"b 0 644 1", "s 2 777 x", "x/ 5 701", "x/f 0 600 2", "a 0 600 3"}},
		"removed and there again":      {parts{remove("d"), file("d/f")}, []string{"d/ 5 755", "d/.wh..wh..opq 0 0", "d/f 0 600 3"}},
		"a file in place of a removed": {parts{remove("d/secret"), file("d/secret")}, []string{"d/ 5 700", "d/secret 0 600 3"}},
		"there and removed":            {parts{put("o"), remove("o/b", "o/x")}, []string{"o/ 5 755", "o/a 0 644 1", "o/s 2 777 x"}},
		"removed, of the base too":     {parts{file("d/secret"), remove("d/secret")}, []string{"d/ 5 700", "d/.wh.secret 0 0"}},
		"removed with its directory":   {parts{remove("d/e"), file("d/x"), remove("d")}, []string{".wh.d 0 0"}},
		"removed twice":                {parts{remove("d/e"), remove("/d/e/")}, []string{"d/ 5 700", "d/.wh.e 0 0"}},
		"a link that is removed":       {parts{remove("l"), file("l/f")}, []string{"l/ 5 755", "l/.wh..wh..opq 0 0", "l/f 0 600 3"}},
		"the target that is removed":   {parts{remove("t"), file("l/f")}, []string{"t/ 5 755", "t/.wh..wh..opq 0 0", "t/f 0 600 3"}},
		"a link of the layer":          {parts{put("d"), file("d/s/g")}, []string{"d/ 5 700", "d/a 0 644 1", "d/b 1 644 d/a", "d/s 2 777 x", "d/x/ 5 755", "d/x/f 0 600 2", "d/x/g 0 600 3"}},
		"removed through that":         {parts{put("d"), remove("d/s/f")}, []string{"d/ 5 700", "d/a 0 644 1", "d/b 1 644 d/a", "d/s 2 777 x", "d/x/ 5 755"}},
		"emptied":                      {parts{empty("d"), file("d/e/f"), empty("d")}, []string{"d/ 5 700", "d/.wh..wh..opq 0 0", "d/e/ 5 755", "d/e/f 0 600 3"}},
		"emptied and removed":          {parts{empty("d"), file("d/f"), remove("d")}, []string{".wh.d 0 0"}},
		"removed in what is new":       {parts{file("n/f"), remove("n/f", "n/none/x")}, []string{"n/ 5 755"}},
		"removed below a file":         {parts{file("f"), remove("f/x")}, []string{"f 0 600 3"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := planned(t, base, func(w *packing.Writer) error {
				for _, part := range test.parts {
					if err := part(w); err != nil {
						return err
					}
				}
				return nil
			})
			require.NoError(t, err)
			assert.Equal(t, test.want, list(t, got))
		})
	}
	for want, parts := range map[string]parts{
		`"d/e" is a directory`: {func(w *packing.Writer) error {
			o := to("d/e")
			o.Exactly = true
			return w.File(filepath.Join(other, "a"), o)
		}},
		`"o/a": a file of the same`:   {put("o"), func(w *packing.Writer) error { return w.Dir(t.TempDir(), to("o/a/x")) }},
		`a file of the same layer is`: {put("o"), file("o/a/x/y")},
	} {
		_, err := planned(t, base, func(w *packing.Writer) error {
			for _, part := range parts {
				if err := part(w); err != nil {
					return err
				}
			}
			return nil
		})
		assert.ErrorContains(t, err, want)
	}
}

// A directory that has changed since the layer was planned is an error.
func TestPlanIsNotFollowed(t *testing.T) {
	for name, change := range map[string]func(root string) error{
		"gone": func(root string) error { return os.Remove(filepath.Join(root, "b")) },
		"new":  func(root string) error { return os.WriteFile(filepath.Join(root, "a2"), nil, 0o600) },
		"kind": func(root string) error {
			return os.Rename(filepath.Join(root, "d"), filepath.Join(root, "b"))
		},
	} {
		root := t.TempDir()
		write(t, root, "a", "1", 0o644)
		write(t, root, "b", "2", 0o644)
		write(t, root, "d/", "", 0o755)
		if name == "kind" {
			require.NoError(t, os.Remove(filepath.Join(root, "b")))
		}
		runs := 0
		_, err := planned(t, tarOf(t), func(w *packing.Writer) error {
			if runs++; runs == 2 {
				if err := change(root); err != nil {
					return err
				}
			}
			return w.Dir(root, options())
		})
		require.ErrorIs(t, err, packing.ErrChanged, name)
	}
}
