package main

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The commands that look into images name the layers that a delta is without, and show the
// image with --base.
func TestInsideOfADelta(t *testing.T) {
	dir := t.TempDir()
	m := &months{dir: dir, january: filepath.Join(dir, "january.tar"), february: filepath.Join(dir, "february.tar")}
	saved(t, m.january, "1", treeLayer(t, gzip.DefaultCompression, seeds(40, 0)...), treeLayer(t, gzip.BestSpeed, 7))
	saved(t, m.february, "2", treeLayer(t, gzip.DefaultCompression, seeds(40, 1000, 7, 23)...), treeLayer(t, gzip.BestSpeed, 7))
	for _, flag := range []string{"--delta", "--without"} {
		delta := m.path(flag[2:] + ".tar")
		m.run(t, 0, "save", flag, m.january, "-o", delta, "image-archive:"+m.february)
		for name, command := range map[string]func(image, out string) []string{
			"files":   func(image, _ string) []string { return []string{"files", "-l", image} },
			"cat":     func(image, _ string) []string { return []string{"cat", image, "usr/file-7", "usr/file-0"} },
			"export":  func(image, out string) []string { return []string{"export", "-o", out, image} },
			"extract": func(image, out string) []string { return []string{"extract", image, out} },
			"layers":  func(image, _ string) []string { return []string{"layers", image} },
			"diff":    func(image, _ string) []string { return []string{"diff", m.february, image} },
			"diff -q": func(image, _ string) []string { return []string{"diff", "-q", image, image} },
		} {
			t.Run(name+" "+flag, func(t *testing.T) {
				failed := 1
				if command(delta, "")[0] == "diff" {
					failed = 2
				}
				_, errOut := m.run(t, failed, command(delta, filepath.Join(t.TempDir(), "failed"))...)
				for _, part := range []string{"the archive was saved without", "sha256:", "january.tar", "hint: ", "--base FULL.tar"} {
					assert.Contains(t, errOut, part)
				}
				full, based := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out")
				want, _ := m.run(t, 0, command(m.february, full)...)
				got, _ := m.run(t, 0, append(command(delta, based), "--base", m.january)...)
				switch name {
				case "extract":
					assertSame(t, filepath.Join(full, "usr/file-7"), filepath.Join(based, "usr/file-7"))
				case "export":
					assertSame(t, full, based)
				default:
					assert.Equal(t, want, got)
				}
			})
		}
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 4, "nothing is left behind")
}
