package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// tag and rename write a table of contents and nothing else, for archives of any
// program.
func TestTagAndRename(t *testing.T) {
	for _, name := range []string{"archives/docker20.tar", "archives/docker29.tar", "archives/skopeo.tar", "archives/podman-multi.tar", "archives/ctr24.tar", "cases/partial-arm64.tar", "cases/same-name-per-arch.tar"} {
		t.Run(name, func(t *testing.T) {
			inTestdata(t, name, "x.tar")
			_, _, before := command(t, "verify", "-q", "x.tar")
			names, _ := succeeds(t, "list", "-q", "x.tar")
			old, rest, _ := bytes.Cut([]byte(names), []byte("\n"))
			digests, _ := succeeds(t, "list", "--no-trunc", "--format", "{{.Digest}} {{.ID}}", "x.tar")

			out, _ := succeeds(t, "tag", "x.tar", string(old), "new:1")
			assert.Equal(t, string(old)+" is also called docker.io/library/new:1\n", out)
			tagged, _ := succeeds(t, "list", "-q", "x.tar")
			assert.Contains(t, tagged, "docker.io/library/new:1\n")

			succeeds(t, "remove", "x.tar:"+string(old))
			succeeds(t, "rename", "x.tar:new:1", "example.com/newer:2")
			renamed, _ := succeeds(t, "list", "-q", "x.tar")
			for line := range bytes.Lines(rest) {
				if !bytes.HasPrefix(line, old) {
					assert.Contains(t, renamed, string(line))
				}
			}
			assert.Contains(t, renamed, "example.com/newer:2\n")
			assert.NotContains(t, renamed, "new:1\n")
			again, _ := succeeds(t, "list", "--no-trunc", "--format", "{{.Digest}} {{.ID}}", "x.tar")
			assert.Equal(t, digests, again, "in the same order")
			_, _, after := command(t, "verify", "-q", "x.tar")
			assert.Equal(t, before, after)
		})
	}
}

// An image without a name gets one, and a name of another image stays with that.
func TestTagByPosition(t *testing.T) {
	layout, err := filepath.Abs(imagetest.Testdata(t, "oci"))
	require.NoError(t, err)
	one, multi := "oci:"+layout+":one", "oci:"+layout+":multi"
	t.Chdir(t.TempDir())
	succeeds(t, "save", "-q", "-o", "x.tar", one+"=a:1")
	succeeds(t, "add", "-q", "--keep-untagged", "x.tar", multi+"=a:1")
	succeeds(t, "rename", "x.tar", "@0", "old:1")
	names, _ := succeeds(t, "list", "-q", "x.tar")
	assert.Equal(t, "docker.io/library/old:1\ndocker.io/library/a:1\n", names)
	succeeds(t, "verify", "x.tar")

	data, err := os.ReadFile("x.tar")
	require.NoError(t, err)
	for want, args := range map[string][]string{
		"a:1 is the name of another image, @1":       {"tag", "x.tar", "old:1", "a:1"},
		"no image is named docker.io/library/none:1": {"tag", "x.tar", "none:1", "b:1"},
		"no image at position @7":                    {"tag", "x.tar", "@7", "b:1"},
		"the image has names already":                {"rename", "x.tar", "@0", "b:1"},
		"images are called by names with tags":       {"tag", "x.tar", "a:1", "b@sha256:" + digestOfA},
	} {
		_, errOut, status := command(t, args...)
		assert.NotZero(t, status, want)
		assert.Contains(t, errOut, want)
	}
	succeeds(t, "tag", "x.tar", "a:1", "docker.io/library/a:1")
	succeeds(t, "rename", "x.tar", "a:1", "a:1")
	assert.True(t, bytes.Equal(data, imagetest.ReadFile(t, "x.tar")), "not a byte is changed")
}

const digestOfA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
