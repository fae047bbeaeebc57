package main

import (
	"os"
	"path/filepath"
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
