//go:build interop

package interop

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// deltaArchives saves an image, and another one without the layers of the first archive.
func deltaArchives(t *testing.T, dir string) (images []thinImage, full, delta string) {
	t.Helper()
	layout, images := thinLayout(t, dir)
	full, delta = filepath.Join(dir, "full.tar"), filepath.Join(dir, "delta.tar")
	save := func(path, name string, flags ...string) {
		args := append([]string{"save", "--insecure-policy", "-q", "-o", path}, flags...)
		dockerArchive(t).run(t, append(args, "oci:"+layout+":"+name)...)
	}
	save(full, images[0].name)
	save(delta, images[1].name, "--without", full)
	return images, full, delta
}

// TestLoadDelta loads an archive of new layers into every docker: where the rest is, it makes
// an image that runs. Where nothing is, an error and no image, but docker with the containerd
// store says only that it could not unpack it.
func TestLoadDelta(t *testing.T) {
	images, full, delta := deltaArchives(t, t.TempDir())
	for _, c := range []struct {
		name    string
		start   func(*testing.T) client
		refuses bool
	}{
		{"docker 20.10", newDebianDocker, true},
		{"docker 29 graphdriver", newBuiltDocker(false), true},
		{"docker 29 containerd store", newBuiltDocker(true), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, ok := c.start(t).(dockerd)
			require.True(t, ok)
			output, err := d.docker.try(t, "load", "--input", delta)
			t.Logf("empty: %q, %v", output, err)
			if c.refuses {
				require.Error(t, err)
				assert.Empty(t, strings.TrimSpace(d.docker.run(t, "image", "ls", "--quiet")))
			} else {
				require.NoError(t, err)
				assert.Contains(t, output, "Error unpacking image")
			}

			d.docker.run(t, "load", "--input", full)
			assert.Contains(t, d.docker.run(t, "load", "--input", delta), "Loaded image: "+images[1].name)
			for _, img := range images {
				output, err := d.runImage(t, archive{}, img.name)
				require.NoError(t, err)
				assert.Equal(t, helloOutput, strings.TrimSpace(output))
			}
		})
	}
}

// TestImportDelta does the same with containerd, which fails to unpack an image that is not
// complete. 1.6 lists it all the same: ctr run fails then. Neither looks if it is not to unpack.
func TestImportDelta(t *testing.T) {
	images, full, delta := deltaArchives(t, t.TempDir())
	for name, start := range map[string]func(*testing.T) containerd{"1.6": startDebianContainerd, "2": startBuiltContainerd} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			empty := archive{name: "empty"}
			output, err := c.namespace(empty.id()).ctr.try(t, "images", "import", delta)
			t.Logf("empty: %q, %v", output, err)
			require.Error(t, err)
			listed := c.namespace(empty.id()).ctr.run(t, "images", "ls", "--quiet")
			assert.Equal(t, name == "1.6", strings.Contains(listed, images[1].name))
			_, err = c.runImage(t, empty, images[1].name)
			require.Error(t, err)

			packed := c.namespace("packed").ctr
			packed.run(t, "images", "import", "--no-unpack", delta)
			assert.Contains(t, packed.run(t, "images", "check"), "incomplete (2/4)")

			filled := archive{name: "filled"}
			for _, path := range []string{full, delta} {
				c.namespace(filled.id()).ctr.run(t, "images", "import", path)
			}
			output, err = c.runImage(t, filled, images[1].name)
			require.NoError(t, err)
			assert.Equal(t, helloOutput, strings.TrimSpace(output))
		})
	}
}
