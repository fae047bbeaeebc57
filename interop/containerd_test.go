//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// A containerd is a running containerd with the ctr that belongs to it.
type containerd struct {
	socket string
	ctr    program
	// importOptions go before the archive in "ctr images import".
	importOptions []string
	daemon        *daemon
}

// startContainerd starts the given containerd, to be used with the given ctr. Its shim and runc
// are found on the PATH, so the directory of the containerd comes first there.
func startContainerd(t *testing.T, server, ctr program) containerd {
	t.Helper()
	return startContainerdIn(t, daemonDir(t), server, ctr)
}

// startContainerdIn starts one in the directory of another that has ended.
func startContainerdIn(t *testing.T, dir string, server, ctr program) containerd {
	t.Helper()
	socket := filepath.Join(dir, "containerd.sock")
	config := filepath.Join(dir, "config.toml")
	// The version 2 of the configuration is the newest that 1.6 knows and is still read by 2.x.
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
temp = "%[1]s/temp"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "%[2]s"
[ttrpc]
  address = "%[2]s.ttrpc"
`, dir, socket), 0o600))

	path := filepath.Dir(server.argv[0]) + ":" + os.Getenv("PATH")
	ctr = ctr.with("--address", socket)
	d := startDaemon(t, dir, server.with("--config", config, "--log-level", "warn").withEnv("PATH="+path), func() error {
		_, err := ctr.try(t, "version")
		return err
	})
	return containerd{socket: socket, ctr: ctr, daemon: d}
}

func startDebianContainerd(t *testing.T) containerd {
	t.Helper()
	return startContainerd(t, debian(t, "containerd"), debian(t, "ctr"))
}

func startBuiltContainerd(t *testing.T) containerd {
	t.Helper()
	built(t, "containerd-shim-runc-v2")
	built(t, "runc")
	return startContainerd(t, built(t, "containerd"), built(t, "ctr"))
}

// namespace is the containerd with all that follows in one of its namespaces.
func (c containerd) namespace(name string) containerd {
	c.ctr = c.ctr.with("--namespace", name)
	return c
}

// newCtr returns the start of a client that imports into a containerd with ctr.
func newCtr(start func(*testing.T) containerd, importOptions ...string) func(*testing.T) client {
	return func(t *testing.T) client {
		t.Helper()
		c := start(t)
		c.importOptions = importOptions
		return c
	}
}

// load imports an archive and unpacks it, which is when containerd checks the diff IDs.
func (c containerd) load(t *testing.T, a archive) ([]shown, error) {
	t.Helper()
	c = c.namespace(a.id())
	args := append([]string{"images", "import"}, c.importOptions...)
	if a.manifests {
		args = append(args, "--all-platforms")
	}
	if _, err := c.ctr.try(t, append(args, a.path)...); err != nil {
		return nil, err
	}
	list, err := c.ctr.try(t, "images", "ls")
	if err != nil {
		return nil, err
	}
	var all []shown
	for _, line := range strings.Split(strings.TrimSpace(list), "\n")[1:] {
		fields := strings.Fields(line) // REF TYPE DIGEST SIZE …
		if len(fields) < 3 {
			return nil, fmt.Errorf("%s: images ls: unexpected line %q", c.ctr.name, line)
		}
		images, err := c.images(t, digest.Digest(fields[2]))
		if err != nil {
			return nil, err
		}
		for _, image := range images {
			all = append(all, shown{image: image, names: []string{fields[0]}})
		}
	}
	if len(all) == 0 {
		// The import went well, but containerd collects images without a name as garbage.
		return nil, fmt.Errorf("%s: images ls: no image is listed", c.ctr.name)
	}
	return mergeNames(all), nil
}

// images reads the images of all platforms from containerd's content store by the digest of
// their index, or the one image by that of its manifest.
func (c containerd) images(t *testing.T, target digest.Digest) ([]image, error) {
	t.Helper()
	content, err := c.ctr.try(t, "content", "get", target.String())
	if err != nil {
		return nil, err
	}
	var either struct { // a manifest or an index
		Config    imagespec.Descriptor
		Manifests []imagespec.Descriptor
	}
	if err := json.Unmarshal([]byte(content), &either); err != nil {
		return nil, fmt.Errorf("%s: manifest %s: %w", c.ctr.name, target, err)
	}
	if either.Config.Digest != "" {
		config, err := c.ctr.try(t, "content", "get", either.Config.Digest.String())
		if err != nil {
			return nil, err
		}
		return []image{imageOfConfig(t, target, []byte(config))}, nil
	}
	var all []image
	for _, platform := range either.Manifests {
		if platform.Platform != nil && platform.Platform.OS == "unknown" {
			continue // an attestation
		}
		images, err := c.images(t, platform.Digest)
		if err != nil {
			return nil, err
		}
		all = append(all, images...)
	}
	return all, nil
}

// runImage runs the image's own command in a container and returns its output.
func (c containerd) runImage(t *testing.T, a archive, name string) (string, error) {
	t.Helper()
	return c.namespace(a.id()).runContainer(t, name)
}

// runContainer does so in the namespace that c is in. The container is called as only this
// containerd's are: all that run on a machine have the same directory for runc.
func (c containerd) runContainer(t *testing.T, name string) (string, error) {
	t.Helper()
	return c.ctr.try(t, "run", "--rm", name, filepath.Base(filepath.Dir(c.socket)))
}
