//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// A dockerd is a running Docker daemon and a docker command that talks to it.
type dockerd struct {
	docker program
	// store is the containerd that holds the images, in Docker's namespace. It has no socket
	// where Docker keeps them itself and knows them by their config digest.
	store  containerd
	daemon *daemon
}

// startDockerd starts a dockerd on top of a running containerd.
func startDockerd(t *testing.T, server program, runtime containerd, containerdStore bool) dockerd {
	t.Helper()
	return startDockerdIn(t, daemonDir(t), server, runtime, containerdStore)
}

// startDockerdIn starts one in the directory of another that has ended.
func startDockerdIn(t *testing.T, dir string, server program, runtime containerd, containerdStore bool) dockerd {
	t.Helper()
	config := filepath.Join(dir, "daemon.json")
	features := fmt.Appendf(nil, `{"features": {"containerd-snapshotter": %t}}`, containerdStore)
	require.NoError(t, os.WriteFile(config, features, 0o600))

	host := "unix://" + filepath.Join(dir, "docker.sock")
	path := filepath.Dir(server.argv[0]) + ":" + os.Getenv("PATH")
	docker := debian(t, "docker").with("--host", host).withEnv("DOCKER_CONFIG=" + dir)
	server = server.with(
		"--config-file", config,
		"--host", host,
		"--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "docker.pid"),
		"--containerd", runtime.socket,
		// The network of the machine stays as it is.
		"--iptables=false", "--ip6tables=false", "--bridge=none",
	).withEnv("PATH=" + path)
	process := startDaemon(t, dir, server, func() error {
		_, err := docker.try(t, "version")
		return err
	})
	d := dockerd{docker: docker, daemon: process}
	if containerdStore {
		d.store = runtime.namespace("moby")
	}
	return d
}

func newDebianDocker(t *testing.T) client {
	t.Helper()
	return startDockerd(t, debian(t, "dockerd"), startDebianContainerd(t), false)
}

func newBuiltDocker(containerdStore bool) func(*testing.T) client {
	return func(t *testing.T) client {
		t.Helper()
		return startDockerd(t, built(t, "dockerd"), startBuiltContainerd(t), containerdStore)
	}
}

// load loads an archive into a daemon emptied before, and inspects the images that docker
// names as loaded.
func (d dockerd) load(t *testing.T, a archive) ([]shown, error) {
	t.Helper()
	if err := d.removeAll(t); err != nil {
		return nil, err
	}
	output, err := d.docker.try(t, "load", "--input", a.path)
	if err != nil {
		return nil, err
	}
	var all []shown
	for _, line := range strings.Split(strings.TrimSpace(output), "\n") {
		// "Loaded image: NAME", or "Loaded image ID: DIGEST" of an image without a name.
		_, loaded, found := strings.Cut(line, ": ")
		if !found {
			return nil, fmt.Errorf("%s: load: unexpected line %q", d.docker.name, line)
		}
		images, err := d.inspect(t, loaded)
		if err != nil {
			return nil, err
		}
		all = append(all, images...)
	}
	return mergeNames(all), nil
}

// inspect returns the image with a name or ID that docker said it loaded: one, or one for each
// platform.
func (d dockerd) inspect(t *testing.T, loaded string) ([]shown, error) {
	t.Helper()
	output, err := d.docker.try(t, "image", "inspect", loaded)
	if err != nil {
		return nil, err
	}
	var inspected []struct {
		ID       digest.Digest `json:"Id"`
		RepoTags []string
		RootFS   struct{ Layers []digest.Digest }
	}
	if err := json.Unmarshal([]byte(output), &inspected); err != nil || len(inspected) != 1 {
		return nil, fmt.Errorf("%s: image inspect %s: %w\n%s", d.docker.name, loaded, err, output)
	}
	names := []string{}
	for _, name := range inspected[0].RepoTags {
		full, err := reference.ParseDockerRef(name)
		if err != nil {
			return nil, fmt.Errorf("%s: image inspect %s: name %q: %w", d.docker.name, loaded, name, err)
		}
		names = append(names, full.String())
	}
	images := []image{{config: inspected[0].ID, diffIDs: inspected[0].RootFS.Layers}}
	if d.store.socket != "" {
		// The ID is the manifest's or index's digest here; only the store tells its images.
		if images, err = d.store.images(t, inspected[0].ID); err != nil {
			return nil, err
		}
		// Docker itself shows the layers of the first, the platform it runs on.
		images[0].diffIDs = inspected[0].RootFS.Layers
	}
	var all []shown
	for _, image := range images {
		all = append(all, shown{image: image, names: names})
	}
	return all, nil
}

func (d dockerd) removeAll(t *testing.T) error {
	t.Helper()
	// With the containerd store an ID is several images, and rm --force removes only some of
	// them: the names go first.
	for _, format := range []string{"{{.Repository}}:{{.Tag}}", "{{.ID}}"} {
		output, err := d.docker.try(t, "image", "ls", "--all", "--no-trunc", "--format", format)
		if err != nil {
			return err
		}
		images := slices.DeleteFunc(strings.Fields(output), func(name string) bool { return strings.Contains(name, "<none>") })
		slices.Sort(images)
		if images = slices.Compact(images); len(images) == 0 {
			continue
		}
		if _, err := d.docker.try(t, append([]string{"image", "rm", "--force"}, images...)...); err != nil {
			return err
		}
	}
	return nil
}

// runImage runs the image's own command in a container and returns its output.
func (d dockerd) runImage(t *testing.T, _ archive, name string) (string, error) {
	t.Helper()
	return d.docker.try(t, "run", "--rm", "--network", "none",
		"--security-opt", "seccomp=unconfined", name)
}
