//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A podman is podman with an image store of its own for each archive, which costs less than
// emptying one.
type podman struct {
	dir string
}

func newPodman(t *testing.T) client {
	t.Helper()
	return podman{dir: daemonDir(t)}
}

// storeDir is the directory below dir of the store for one archive. Its name is short, because
// podman takes no path of more than 50 characters.
func storeDir(dir string, a archive) string {
	return filepath.Join(dir, digest.FromString(a.name).Encoded()[:8])
}

// storageOptions point podman or buildah at a store in dir, with a driver that needs no mounts.
func storageOptions(dir string) []string {
	return []string{
		"--root", filepath.Join(dir, "root"),
		"--runroot", filepath.Join(dir, "run"),
		"--storage-driver", "vfs",
	}
}

func podmanIn(t *testing.T, dir string) program {
	t.Helper()
	return debian(t, "podman").with(storageOptions(dir)...).with(
		"--tmpdir", filepath.Join(dir, "tmp"),
		"--events-backend", "none",
		"--cgroup-manager", "cgroupfs",
		"--runtime", debian(t, "runc").argv[0],
	)
}

func (c podman) program(t *testing.T, a archive) program {
	t.Helper()
	return podmanIn(t, storeDir(c.dir, a))
}

func (c podman) load(t *testing.T, a archive) ([]shown, error) {
	t.Helper()
	podman := c.program(t, a)
	if _, err := podman.try(t, "load", "--input", a.path); err != nil {
		return nil, err
	}
	ids, err := podman.try(t, "images", "--quiet", "--no-trunc")
	if err != nil {
		return nil, err
	}
	var all []shown
	for _, id := range strings.Fields(ids) {
		image, err := c.inspect(t, podman, id)
		if err != nil {
			return nil, err
		}
		all = append(all, image)
	}
	return mergeNames(all), nil
}

func (c podman) inspect(t *testing.T, podman program, id string) (shown, error) {
	t.Helper()
	output, err := podman.try(t, "image", "inspect", id)
	if err != nil {
		return shown{}, err
	}
	var inspected []struct {
		ID       string `json:"Id"`
		RepoTags []string
		RootFS   struct{ Layers []digest.Digest }
	}
	if err := json.Unmarshal([]byte(output), &inspected); err != nil || len(inspected) != 1 {
		return shown{}, fmt.Errorf("%s: image inspect %s: %w\n%s", podman.name, id, err, output)
	}
	return shown{
		image: image{
			config:  digest.NewDigestFromEncoded(digest.SHA256, inspected[0].ID),
			diffIDs: inspected[0].RootFS.Layers,
		},
		names: append([]string{}, inspected[0].RepoTags...),
	}, nil
}

// runImage runs the image's own command in a container and returns its output.
func (c podman) runImage(t *testing.T, a archive, name string) (string, error) {
	t.Helper()
	monitor := filepath.Join(storeDir(c.dir, a), "monitor.pid")
	output, err := c.program(t, a).try(t, "run", "--rm", "--network", "none", "--conmon-pidfile", monitor,
		// The default limits are higher than a root without CAP_SYS_RESOURCE may set.
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", name)
	if err != nil {
		return "", err
	}
	// The container's monitor goes on cleaning up in the store after podman has returned.
	return output, awaitEnd(monitor)
}

// A buildah is buildah with an image store of its own for each archive.
type buildah struct {
	dir string
}

func newBuildah(t *testing.T) client {
	t.Helper()
	return buildah{dir: daemonDir(t)}
}

func buildahIn(t *testing.T, dir string) program {
	t.Helper()
	return debian(t, "buildah").with(storageOptions(dir)...)
}

// load pulls every name that the archive should hold, one by one: buildah cannot list them.
func (c buildah) load(t *testing.T, a archive) ([]shown, error) {
	t.Helper()
	buildah := buildahIn(t, storeDir(c.dir, a))
	var all []shown
	for _, from := range a.references() {
		id, err := buildah.try(t, "pull", "--quiet", from)
		if err != nil {
			return nil, err
		}
		image, err := inspectBuildah(t, buildah, strings.TrimSpace(id))
		if err != nil {
			return nil, err
		}
		all = append(all, image)
	}
	return mergeNames(all), nil
}

func inspectBuildah(t *testing.T, buildah program, id string) (shown, error) {
	t.Helper()
	output, err := buildah.try(t, "inspect", "--type", "image", id)
	if err != nil {
		return shown{}, err
	}
	var inspected struct {
		Config    string
		Container string
		OCIv1     imagespec.Image
	}
	if err := json.Unmarshal([]byte(output), &inspected); err != nil {
		return shown{}, fmt.Errorf("%s: inspect %s: %w\n%s", buildah.name, id, err, output)
	}
	result := shown{image: image{
		config:  digest.FromString(inspected.Config),
		diffIDs: inspected.OCIv1.RootFS.DiffIDs,
	}, names: []string{}}
	names, err := buildah.try(t, "images", "--json")
	if err != nil {
		return shown{}, err
	}
	var listed []struct {
		ID    string
		Names []string
	}
	if err := json.Unmarshal([]byte(names), &listed); err != nil {
		return shown{}, fmt.Errorf("%s: images: %w\n%s", buildah.name, err, names)
	}
	for _, candidate := range listed {
		if strings.HasPrefix(id, candidate.ID) {
			result.names = append(result.names, candidate.Names...)
		}
	}
	return result, nil
}
