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
}

// startContainerd starts the given containerd, to be used with the given ctr. Its shim and runc
// are found on the PATH, so the directory of the containerd comes first there.
func startContainerd(t *testing.T, server, ctr program) containerd {
	t.Helper()
	dir := daemonDir(t)
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
	startDaemon(t, dir, server.with("--config", config, "--log-level", "warn").withEnv("PATH="+path), func() error {
		_, err := ctr.try(t, "version")
		return err
	})
	return containerd{socket: socket, ctr: ctr}
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

func newCtr(start func(*testing.T) containerd) func(*testing.T) client {
	return func(t *testing.T) client {
		t.Helper()
		return start(t)
	}
}

// load imports an archive and unpacks it, which is when containerd checks the diff IDs.
func (c containerd) load(t *testing.T, a archive) ([]shown, error) {
	t.Helper()
	c = c.namespace(a.id())
	if _, err := c.ctr.try(t, "images", "import", a.path); err != nil {
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
		image, err := c.image(t, digest.Digest(fields[2]))
		if err != nil {
			return nil, err
		}
		all = append(all, shown{image: image, names: []string{fields[0]}})
	}
	if len(all) == 0 {
		// The import went well, but what has no name is garbage to containerd.
		return nil, fmt.Errorf("%s: images ls: no image is listed", c.ctr.name)
	}
	return mergeNames(all), nil
}

// image reads an image from containerd's content store by the digest of its manifest.
func (c containerd) image(t *testing.T, manifestDigest digest.Digest) (image, error) {
	t.Helper()
	content, err := c.ctr.try(t, "content", "get", manifestDigest.String())
	if err != nil {
		return image{}, err
	}
	var manifest imagespec.Manifest
	if err := json.Unmarshal([]byte(content), &manifest); err != nil {
		return image{}, fmt.Errorf("%s: manifest %s: %w", c.ctr.name, manifestDigest, err)
	}
	config, err := c.ctr.try(t, "content", "get", manifest.Config.Digest.String())
	if err != nil {
		return image{}, err
	}
	return imageOfConfig(t, manifestDigest, []byte(config)), nil
}

// runImage runs the image's own command in a container and returns what it prints.
func (c containerd) runImage(t *testing.T, a archive, name string) (string, error) {
	t.Helper()
	return c.namespace(a.id()).ctr.try(t, "run", "--rm", name, "container")
}
