//go:build interop

package interop

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An archive is a file to load, with the images that a client must show afterwards.
type archive struct {
	name   string // as the sub-tests call it
	path   string
	images []expectation
	// manifests says that the archive holds the images' own manifests, for clients to keep.
	manifests bool
	// refused names the clients that cannot load such an archive, whichever program wrote it, and
	// a part of their message. They are run all the same: the day one of them can, its test
	// fails.
	refused map[string]string
	// clients are those that load it, all if there are none: of those that read archives
	// with the same library, one will do where many archives are alike.
	clients []string
}

// An expectation is an image and the full names it must have.
type expectation struct {
	image image
	names []string
	// others are the images of further platforms, in archives that hold more than one.
	others []image
}

// id is the archive's name in the form that clients accept as part of their own names.
func (a archive) id() string {
	return strings.ReplaceAll(a.name, " ", "-")
}

// references are the references of containers/image to the archive's images: one for each name,
// or to an image without a name by its place.
func (a archive) references() []string {
	var references []string
	for index, expected := range a.images {
		for _, name := range expected.names {
			references = append(references, "docker-archive:"+a.path+":"+name)
		}
		if len(expected.names) == 0 {
			references = append(references, fmt.Sprintf("docker-archive:%s:@%d", a.path, index))
		}
	}
	return references
}

// A client loads archives.
type client interface {
	// load loads an archive into an empty store and returns all that the store then holds.
	load(t *testing.T, a archive) ([]shown, error)
}

// A runner is a client that can also run loaded images.
type runner interface {
	client
	// runImage runs an image's command and returns its output.
	runImage(t *testing.T, a archive, name string) (string, error)
}

// shown is one image as a client shows it.
type shown struct {
	image image    // with its manifest where the client shows one
	names []string // nil, and not just empty, if the client does not show names
}

// clients are the clients that every archive is loaded with, by the name they have in tests.
var clients = []struct {
	name  string
	start func(t *testing.T) client
	// runs says that start returns a runner.
	runs bool
	// keeps says that the client keeps the manifests and all the platforms that an archive holds.
	// The others take the one image that manifest.json gives for a name.
	keeps bool
}{
	{name: "docker 20.10", start: newDebianDocker, runs: true},
	{name: "docker 29 graphdriver", start: newBuiltDocker(false), runs: true},
	{name: "docker 29 containerd store", start: newBuiltDocker(true), runs: true, keeps: true},
	{name: "containerd 1.6", start: newCtr(startDebianContainerd), runs: true, keeps: true},
	{name: "containerd 2.4", start: newCtr(startBuiltContainerd), runs: true, keeps: true},
	// The client imports, not the daemon, as k3s and programs with containerd's library do.
	{name: "containerd 2.4 local", start: newCtr(startBuiltContainerd, "--local"), runs: true, keeps: true},
	{name: "podman", start: newPodman, runs: true},
	{name: "buildah", start: newBuildah},
	{name: "skopeo", start: newSkopeo},
	{name: "crane", start: newCrane},
	{name: "regctl", start: newRegctl, keeps: true},
}

// TestLoad loads every archive with every client and compares the images that the client then
// shows with those the archive was made from.
func TestLoad(t *testing.T) {
	archives := loadArchives(t, t.TempDir())
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := c.start(t)
			for _, a := range archives {
				if len(a.clients) > 0 && !slices.Contains(a.clients, c.name) {
					continue
				}
				t.Run(a.name, func(t *testing.T) {
					got, err := client.load(t, a)
					if refusal, ok := a.refused[c.name]; ok {
						require.ErrorContains(t, err, refusal, "what is known to be refused was loaded, or refused otherwise")
						return
					}
					require.NoError(t, err)
					compare(t, a, c.keeps, got)
				})
			}
		})
	}
}

// TestRun loads an image that holds a program, runs it, and compares the program's output.
func TestRun(t *testing.T) {
	const name = "example.com/interop/hello:v1"
	dir := t.TempDir()
	layout := helloLayout(t, dir)
	a := archive{
		name:   "hello",
		path:   copyArchive(t, dir, "oci:"+layout+":hello", name),
		images: []expectation{{image: layoutImage(t, layout, "hello"), names: []string{name}}},
	}
	for _, c := range clients {
		if !c.runs {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client, ok := c.start(t).(runner)
			require.True(t, ok, "%s has no way to run an image", c.name)
			got, err := client.load(t, a)
			require.NoError(t, err)
			compare(t, a, c.keeps, got)
			output, err := client.runImage(t, a, name)
			require.NoError(t, err)
			assert.Equal(t, helloOutput, strings.TrimSpace(output))
		})
	}
}

// compare compares the images that a client shows with those of the archive: neither more nor
// less. See clients for the meaning of keeps.
func compare(t *testing.T, a archive, keeps bool, got []shown) {
	t.Helper()
	byConfig := make(map[digest.Digest]shown)
	for _, image := range got {
		byConfig[image.image.config] = image
	}
	wanted := 0
	for _, expected := range a.images {
		images := []image{expected.image}
		if keeps {
			images = append(images, expected.others...)
		}
		wanted += len(images)
		for _, want := range images {
			image, ok := byConfig[want.config]
			if !assert.True(t, ok, "no image with config %s (%v) in %v", want.config, expected.names, got) {
				continue
			}
			assert.Equal(t, want.diffIDs, image.image.diffIDs, "diff IDs of %v", expected.names)
			if keeps && a.manifests {
				assert.Equal(t, want.manifest, image.image.manifest, "manifest of %v", expected.names)
			}
			if image.names != nil {
				assert.ElementsMatch(t, expected.names, image.names, "names of %s", want.config)
			}
		}
	}
	assert.Len(t, byConfig, wanted, "images in all: %v", got)
}

// mergeNames merges images that a client lists once for each name.
func mergeNames(all []shown) []shown {
	var merged []shown
	for _, image := range all {
		at := slices.IndexFunc(merged, func(m shown) bool { return m.image.config == image.image.config })
		if at < 0 {
			merged = append(merged, image)
			continue
		}
		for _, name := range image.names {
			if !slices.Contains(merged[at].names, name) {
				merged[at].names = append(merged[at].names, name)
			}
		}
	}
	return merged
}

// copyArchive copies an image with the command under test into a new docker archive in dir, under
// the given names if any.
func copyArchive(t *testing.T, dir, from string, names ...string) string {
	t.Helper()
	path := filepath.Join(dir, "archive-"+digest.FromString(from + strings.Join(names, " ")).Encoded()[:12]+".tar")
	dockerArchive(t).run(t, copyArgs(path, from, names...)...)
	return path
}

// copyArgs are the arguments of docker-archive, and of skopeo, that copy an image into a docker
// archive at path.
func copyArgs(path, from string, names ...string) []string {
	args := []string{"copy", "--insecure-policy"}
	destination := "docker-archive:" + path
	for i, name := range names {
		if i == 0 {
			destination += ":" + name
		} else {
			args = append(args, "--additional-tag", name)
		}
	}
	return append(args, from, destination)
}
