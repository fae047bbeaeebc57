//go:build unix

package main

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// demoImages are the archives of docs/inside.md.
func demoImages(t *testing.T, dir string) {
	t.Helper()
	directory := func(name string) tarEntry {
		return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, ""}
	}
	app := regularFile("usr/bin/app", strings.Repeat("a", 300_000))
	app.Mode = 0o755
	lower := layerTar(t, directory("etc/"), regularFile("etc/os-release", "NAME=demo\nVERSION_ID=1\n"), directory("usr/"), directory("usr/bin/"), app,
		linkTo("bin", "usr/bin"), directory("var/"), directory("var/cache/"), regularFile("var/cache/index", strings.Repeat("i", 200_000)))
	second := layerTar(t, directory("etc/"), regularFile("etc/os-release", "NAME=demo\nVERSION_ID=2\n"))
	third := layerTar(t, regularFile("var/cache/.wh.index", ""))
	history := []map[string]any{{"created_by": "ADD rootfs.tar / # buildkit"}, {"created_by": "COPY os-release /etc/ # buildkit"}, {"created_by": "RUN /bin/sh -c rm /var/cache/index # buildkit"}}
	for name, path := range map[string]string{
		"app-1.tar": savedImage(t, map[string]any{"history": history[:1]}, lower),
		"app-2.tar": savedImage(t, map[string]any{"history": history}, lower, second, third),
	} {
		require.NoError(t, os.Rename(path, filepath.Join(dir, name)))
	}
}

// The commands print exactly the output that the page shows.
func TestDocsOfInside(t *testing.T) {
	page, err := filepath.Abs("../../../docs/inside.md")
	require.NoError(t, err)
	data, err := os.ReadFile(page)
	require.NoError(t, err)
	dir := t.TempDir()
	demoImages(t, dir)
	t.Chdir(dir)
	commands := 0
	var now strings.Builder
	lines := strings.SplitAfter(string(data), "\n")
	for i := 0; i < len(lines); i++ {
		now.WriteString(lines[i])
		line, ok := strings.CutPrefix(lines[i], "    $ docker-archive ")
		if !ok {
			continue
		}
		commands++
		out, errOut, _ := command(t, strings.Fields(line)...)
		for l := range strings.Lines(out + errOut) {
			now.WriteString("    " + l)
		}
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "    ") && !strings.HasPrefix(lines[i+1], "    $ ") {
			i++
		}
	}
	assert.Greater(t, commands, 6)
	if os.Getenv("DOCKERARCHIVE_TEST_UPDATE") != "" {
		require.NoError(t, os.WriteFile(page, []byte(now.String()), 0o644))
		return
	}
	assert.Equal(t, now.String(), string(data), "run it with DOCKERARCHIVE_TEST_UPDATE=1")
}
