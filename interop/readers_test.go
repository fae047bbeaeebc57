//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// skopeo copies each image of an archive, by each of its names, to a directory.
type skopeo struct{}

func newSkopeo(*testing.T) client { return skopeo{} }

func (skopeo) load(t *testing.T, a archive) ([]shown, error) {
	t.Helper()
	skopeo := debian(t, "skopeo").with("--insecure-policy")
	var all []shown
	for _, from := range a.references() {
		image, err := skopeoCopy(t, skopeo, from)
		if err != nil {
			return nil, err
		}
		all = append(all, shown{image: image})
	}
	return all, nil
}

// skopeoCopy copies an image to a directory, as skopeo inspect must see it: the config's bytes
// are those that the one shows, the layers' digests those that the other wrote.
func skopeoCopy(t *testing.T, skopeo program, from string) (image, error) {
	t.Helper()
	config, err := skopeo.try(t, "inspect", "--config", "--raw", from)
	if err != nil {
		return image{}, err
	}
	dir := t.TempDir()
	if _, err := skopeo.try(t, "copy", from, "dir:"+dir); err != nil {
		return image{}, err
	}
	content, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return image{}, err
	}
	var manifest imagespec.Manifest
	if err := json.Unmarshal(content, &manifest); err != nil {
		return image{}, fmt.Errorf("%s: copy %s: manifest: %w", skopeo.name, from, err)
	}
	if got := digest.FromString(config); got != manifest.Config.Digest {
		return image{}, fmt.Errorf("%s: %s: inspect shows config %s, copy wrote %s", skopeo.name, from, got, manifest.Config.Digest)
	}
	result := image{config: manifest.Config.Digest}
	for _, layer := range manifest.Layers {
		result.diffIDs = append(result.diffIDs, layer.Digest)
	}
	return result, nil
}

// A crane pushes an archive to a registry in this process.
type crane struct {
	registry string // host:port
	home     string
}

func newCrane(t *testing.T) client {
	t.Helper()
	return crane{registry: startRegistry(t), home: t.TempDir()}
}

// startRegistry starts a registry on the loopback interface and returns its host:port.
func startRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	require.NoError(t, err)
	return address.Host
}

func (c crane) load(t *testing.T, a archive) ([]shown, error) {
	t.Helper()
	crane := built(t, "crane").withEnv("HOME=" + c.home)
	if _, err := crane.try(t, "validate", "--tarball", a.path); err != nil {
		return nil, err
	}
	target := c.registry + "/" + a.id() + ":pushed"
	if _, err := crane.try(t, "push", a.path, target); err != nil {
		return nil, err
	}
	// Reads every layer back and compares it with the config's diff IDs.
	if _, err := crane.try(t, "validate", "--remote", target); err != nil {
		return nil, err
	}
	manifest, err := crane.try(t, "digest", target)
	if err != nil {
		return nil, err
	}
	config, err := crane.try(t, "config", target)
	if err != nil {
		return nil, err
	}
	pushed := imageOfConfig(t, digest.Digest(manifest), []byte(config))
	return []shown{{image: pushed}}, nil
}

// regctl imports each image of an archive, by each of its names, into an OCI layout.
type regctl struct {
	home string
}

func newRegctl(t *testing.T) client {
	t.Helper()
	return regctl{home: t.TempDir()}
}

func (c regctl) load(t *testing.T, a archive) ([]shown, error) {
	t.Helper()
	regctl := built(t, "regctl").withEnv("HOME=" + c.home)
	var all []shown
	for _, expected := range a.images {
		options := [][]string{nil}
		if len(expected.names) > 0 {
			options = nil
		}
		for _, name := range expected.names {
			options = append(options, []string{"--name", a.regctlName(name)})
		}
		for _, option := range options {
			layout := filepath.Join(t.TempDir(), "layout")
			args := append([]string{"image", "import", "ocidir://" + layout + ":imported", a.path}, option...)
			if _, err := regctl.try(t, args...); err != nil {
				return nil, err
			}
			for _, image := range layoutImages(t, layout, "imported") {
				all = append(all, shown{image: image})
			}
		}
	}
	return mergeNames(all), nil
}

// regctlName is the name by which regctl finds an image: in manifest.json its name; in the
// index.json of an archive that has manifests its tag, which several images may share.
func (a archive) regctlName(name string) string {
	if !a.manifests {
		return name
	}
	_, tag, _ := strings.Cut(path.Base(name), ":")
	shared := 0
	for _, expected := range a.images {
		for _, other := range expected.names {
			if strings.HasSuffix(other, ":"+tag) {
				shared++
			}
		}
	}
	if shared > 1 {
		return name
	}
	return tag
}
