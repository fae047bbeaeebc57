//go:build interop

package interop

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLoadContainerd loads images with docker-archive into every containerd, and counts the
// bytes that it sends.
func TestLoadContainerd(t *testing.T) {
	dir := t.TempDir()
	layout, images := thinLayout(t, dir)
	for name, start := range map[string]func(*testing.T) containerd{"1.6": startDebianContainerd, "2.4": startBuiltContainerd} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			for _, transport := range []string{"image-archive", "docker-archive"} {
				t.Run(transport, func(t *testing.T) { loadContainerd(t, c.namespace(transport), transport, layout, images) })
			}
		})
	}
}

// loadContainerd loads two images into a namespace. They have three layers, and differ in
// the last.
func loadContainerd(t *testing.T, c containerd, namespace, layout string, images []thinImage) {
	proxy := startProxy(t, c.socket)
	load := func(n int, more ...string) int64 {
		t.Helper()
		img := images[n]
		path := img.archive(t, layout, namespace)
		proxy.sent.Store(0)
		args := append([]string{"load", "--insecure-policy", "--address", proxy.socket, "--namespace", namespace}, more...)
		output := dockerArchive(t).run(t, append(args, path)...)
		sent := proxy.sent.Load()
		complete(t, c, img.name, strings.Fields(output)[1], len(more) == 0)
		return sent
	}
	sizes := func(n int) []int64 { return images[n].sizes(namespace) }
	base, last := sizes(0)[0]+sizes(0)[1], sizes(1)[2]
	within(t, "empty", load(0), base+sizes(0)[2])
	within(t, "base there", load(1), last)
	within(t, "all there", load(1), 0)

	// An image and its layers are removed before, and the shared layer after it was asked for.
	layers := c.layers(t, images[1].name)
	c.ctr.run(t, "images", "rm", "--sync", images[1].name)
	within(t, "removed before", load(1, "--no-unpack"), last)
	c.ctr.run(t, "images", "rm", "--sync", images[1].name)
	proxy.before.Store(new(sync.OnceFunc(func() { _, err := c.ctr.try(t, "content", "rm", layers[1].Digest.String()); assert.NoError(t, err) })))
	sent := load(1)
	proxy.before.Store(nil)
	within(t, "removed meanwhile", sent, last+sizes(1)[1])

	for _, img := range images {
		output, err := c.runContainer(t, img.name)
		require.NoError(t, err)
		assert.Equal(t, helloOutput, strings.TrimSpace(output))
	}
	assert.Empty(t, c.ctr.run(t, "leases", "ls", "--quiet"))
	for _, img := range images { // Only the image keeps the loaded content.
		c.ctr.run(t, "images", "rm", "--sync", img.name)
	}
	assert.Empty(t, c.ctr.run(t, "content", "ls", "--quiet"))
	assert.Len(t, strings.Split(strings.TrimSpace(c.ctr.run(t, "snapshots", "ls")), "\n"), 1)
}

// complete fails if an image is not all there, under the right digest.
func complete(t *testing.T, c containerd, name, want string, unpacked bool) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(c.ctr.run(t, "images", "check", "name=="+name)), "\n")
	require.Len(t, lines, 2)
	fields := strings.Fields(lines[1]) // REF TYPE DIGEST STATUS (n/n) SIZE UNIT/SIZE UNIT UNPACKED
	require.Greater(t, len(fields), 4, lines[1])
	assert.Equal(t, []string{name, want, "complete"}, []string{fields[0], fields[2], fields[3]})
	assert.Equal(t, unpacked, fields[len(fields)-1] == "true", lines[1])
}

// layers returns the layers of an image.
func (c containerd) layers(t *testing.T, name string) []imagespec.Descriptor {
	t.Helper()
	fields := strings.Fields(c.ctr.run(t, "images", "ls", "name=="+name))
	var manifest imagespec.Manifest
	for _, field := range fields {
		if d := digest.Digest(field); d.Validate() == nil {
			require.NoError(t, json.Unmarshal([]byte(c.ctr.run(t, "content", "get", field)), &manifest))
		}
	}
	return manifest.Layers
}
