package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Destinations are resolved inside the base: its links stay, as for COPY.
func TestMakeFollowsLinksOfTheBase(t *testing.T) {
	dir := sourceFiles(t)
	base := "image-archive:" + cases + "base-merged-usr.tar"
	f := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("single", f))
	got := makes(t, "--base", base, "--add", f+":/lib/f", "--add", f+":/lib/a:b")
	headers, contents := got.layer(t, len(got.Layers)-1)
	assert.Equal(t, "single", contents["usr/lib/f"], "a link that is named is followed")
	assert.Equal(t, "single", contents["usr/lib/a:b"])
	assert.NotContains(t, headers, "lib/")
	assert.NotContains(t, headers, "lib")

	got = makes(t, "--base", base, "--add", f+":/lib/f", "--squash")
	headers, contents = got.layer(t, 0)
	assert.Equal(t, "single", contents["usr/lib/f"])
	require.Contains(t, headers, "lib")
	assert.Equal(t, "usr/lib", headers["lib"].Linkname)
}

// A link of a lower layer is no way for a whiteout: a directory takes its place.
func TestMakeSquashesAsEnginesDo(t *testing.T) {
	headers, _ := makes(t, "--base", "image-archive:"+cases+"squash-whiteout-through-link.tar", "--squash").layer(t, 0)
	assert.Contains(t, headers, "target/keep.txt")
	assert.Contains(t, headers, "link/")
}

func TestMakeKeepsTheConfig(t *testing.T) {
	for _, layout := range []string{"image", "docker"} {
		path := filepath.Join(t.TempDir(), "made.tar")
		_, stderr, status := runMake(t, nil, "-q", "--base", "image-archive:"+cases+"healthcheck-oci.tar", "--layout", layout, "--label", "a=b", "-o", path)
		require.Zero(t, status, stderr)
		config, _ := succeeds(t, "inspect", "--raw", "--config", path)
		for _, field := range []string{"Healthcheck", "Shell", "OnBuild", "StopTimeout"} {
			assert.Contains(t, config, field, layout)
		}
	}
}

func TestMakeOnAShortHistory(t *testing.T) {
	got := makes(t, "--base", "image-archive:"+cases+"history-short.tar", "--label", "a=b")
	assert.Len(t, got.Layers, 2)
}

func TestMakeKnowsTheTime(t *testing.T) {
	dir := sourceFiles(t)
	t.Setenv("SOURCE_DATE_EPOCH", "soon")
	_, stderr, status := runMake(t, nil, "--add", filepath.Join(dir, "single")+":/f", "-o", filepath.Join(dir, "made.tar"))
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, `SOURCE_DATE_EPOCH="soon" is not a number`)
}

// --add and --remove follow each other as instructions of a Dockerfile do, in one layer: a file
// that was removed before its directory comes again stays removed, and no path is there twice.
func TestMakeInOrder(t *testing.T) {
	dir := sourceFiles(t)
	d, single := filepath.Join(dir, "d"), filepath.Join(dir, "single")
	base := filepath.Join(t.TempDir(), "base.tar")
	require.NoError(t, os.Symlink("one", filepath.Join(d, "link")))
	_, stderr, status := runMake(t, nil, "--add", d+":/d", "-o", base)
	require.Zero(t, status, stderr)
	for name, c := range map[string]struct{ args, want []string }{
		"removed, and there again":   {[]string{"--remove", "/d", "--add", single + ":/d/one"}, []string{"d/", "d/.wh..wh..opq", "d/one"}},
		"a removed link":             {[]string{"--remove", "/d/link", "--add", single + ":/d/link/f"}, []string{"d/", "d/link/", "d/link/.wh..wh..opq", "d/link/f"}},
		"there, and removed":         {[]string{"--add", d + ":/new", "--remove", "/new/one", "--remove", "/new/link"}, []string{"new/", "new/e/", "new/e/two", "new/three.o"}},
		"a file in place of another": {[]string{"--add", d + ":/new", "--add", single + ":/new/one"}, []string{"new/", "new/e/", "new/e/two", "new/link", "new/one", "new/three.o"}},
	} {
		got := makes(t, append([]string{"--base", "image-archive:" + base}, c.args...)...)
		require.Len(t, got.Layers, 2, name)
		headers, contents := got.layer(t, 1)
		assert.ElementsMatch(t, c.want, slices.Collect(maps.Keys(headers)), name)
		for _, file := range []string{"d/one", "new/one"} {
			if _, ok := headers[file]; ok {
				assert.Equal(t, "single", contents[file], name)
			}
		}
	}
}
