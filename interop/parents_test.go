//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func writeText(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// lineage is docker's list of the images that chainChild was built on.
type lineage struct{ history, parents string }

func (d dockerd) lineage(t *testing.T) lineage {
	t.Helper()
	return lineage{
		history: d.docker.run(t, "history", "--no-trunc", "--format", "{{.ID}} {{.CreatedBy}} {{.Size}}", chainChild),
		parents: d.docker.run(t, "image", "inspect", "--format", "{{.Id}} {{.Parent}}", chainBase, chainChild),
	}
}

// TestParents loads images that were built on each other, as docker saved them and as the command
// did, from the daemon and from docker's archive, and has docker show the same of them.
func TestParents(t *testing.T) {
	dir := t.TempDir()
	d, ok := newDebianDocker(t).(dockerd)
	require.True(t, ok)
	theirs := buildChain(t, d.docker, dir)
	host := d.docker.argv[len(d.docker.argv)-1]
	archives := map[string]string{"docker's own": theirs}
	for _, layout := range []string{"docker", "image"} {
		ours := filepath.Join(dir, layout+".tar")
		dockerArchive(t).run(t, "save", "--insecure-policy", "--layout", layout, "--daemon-host", host, "-o", ours,
			"docker-daemon:"+chainBase, "docker-daemon:"+chainChild)
		archives["from the daemon, "+layout] = ours
		again := filepath.Join(dir, layout+"-again.tar")
		dockerArchive(t).run(t, "save", "--insecure-policy", "--layout", layout, "-o", again, "docker-archive:"+theirs)
		archives["from docker's archive, "+layout] = again
	}
	for _, client := range []struct {
		name     string
		start    func(*testing.T) client
		restores bool // the parents of images
	}{
		{"docker 20.10", newDebianDocker, true},
		{"docker 29 graphdriver", newBuiltDocker(false), true},
		{"docker 29 containerd store", newBuiltDocker(true), false}, // for archives of any client
	} {
		t.Run(client.name, func(t *testing.T) {
			d, ok := client.start(t).(dockerd)
			require.True(t, ok)
			show := func(path string) lineage {
				d.docker.run(t, "load", "--input", path)
				shown := d.lineage(t)
				// The child first: no image goes before those that were built on it.
				d.docker.run(t, "image", "rm", "--force", chainChild)
				d.docker.run(t, "image", "rm", "--force", chainBase)
				return shown
			}
			want := show(theirs)
			if client.restores {
				base := strings.Fields(want.parents)[0]
				assert.Contains(t, want.history, base, "history")
				assert.True(t, strings.HasSuffix(strings.TrimSpace(want.parents), " "+base), "parents: %s", want.parents)
			}
			for name, path := range archives {
				got := show(path)
				if client.restores {
					assert.Equal(t, want, got, name)
				} else {
					for _, image := range strings.Split(strings.TrimSpace(got.parents), "\n") {
						assert.Len(t, strings.Fields(image), 1, "an ID and no parent: %s", name)
					}
				}
			}
		})
	}
}
