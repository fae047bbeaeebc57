//go:build interop

package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestServeConforms runs the distribution specification's own tests of pulling and of content
// discovery.
func TestServeConforms(t *testing.T) {
	dir := t.TempDir()
	path := referrersArchive(t, dir)
	address := startServe(t, path)
	crane := built(t, "crane").withEnv("HOME=" + dir)
	repository := address + "/interop/one"
	manifest := strings.TrimSpace(crane.run(t, "digest", repository+":v1"))
	one := layoutImage(t, testLayout, "one")
	tags := strings.Fields(crane.run(t, "ls", repository))
	require.Contains(t, tags, "v1")
	output := conformsReading(t, address, "interop/one", served{tags: tags, manifests: []string{manifest}, blobs: []string{one.config.String()}, subjects: []string{manifest}})
	assert.Regexp(t, `Pass\.+: +14\n`, output)
}

// served is the data for the specification's tests of a registry without pushes.
type served struct{ tags, manifests, blobs, subjects []string }

// conformance returns the specification's tests of a registry, and of one of its repositories.
// They delete nothing.
func conformance(t *testing.T, address, repository string) program {
	t.Helper()
	return built(t, "conformance").withEnv(
		"OCI_RESULTS_DIR="+filepath.Join(t.TempDir(), "results"),
		"OCI_VERSION=1.1", "OCI_LOG=warn",
		"OCI_REGISTRY="+address, "OCI_TLS=disabled",
		"OCI_REPO1="+repository, "OCI_REPO2="+repository,
		"OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false",
		"OCI_API_BLOBS_ATOMIC=false", "OCI_API_MANIFESTS_ATOMIC=false", "OCI_API_TAGS_ATOMIC=false")
}

// conformsReading runs the specification's tests of a repository that is only read, and returns
// their report.
func conformsReading(t *testing.T, address, repository string, data served) string {
	t.Helper()
	output, err := conformance(t, address, repository).withEnv(
		"OCI_API_PUSH=false",
		"OCI_RO_DATA_TAGS="+strings.Join(data.tags, " "),
		"OCI_RO_DATA_MANIFESTS="+strings.Join(data.manifests, " "),
		"OCI_RO_DATA_BLOBS="+strings.Join(data.blobs, " "),
		"OCI_RO_DATA_REFERRERS="+strings.Join(data.subjects, " ")).try(t)
	if err != nil { // This version panics after its report if nothing may be pushed.
		output = err.Error()
	}
	assert.Contains(t, output, "OCI Conformance Result: Pass\n", "%s", output)
	assert.NotContains(t, output, ": FAIL\n", "%s", output)
	return output
}

// TestServeConformsWithItsImages has the specification's tests push their own images to a registry,
// and read them from an archive of these. Their diff IDs are wrong, so save refuses most of them;
// regctl writes the archive. Everything in it can be read, even if it is wrong.
func TestServeConformsWithItsImages(t *testing.T) {
	dir := t.TempDir()
	registry := startDistribution(t)
	_, err := conformance(t, registry, "conformance/one").try(t)
	require.Error(t, err) // The registry does not implement all of the specification.

	crane := built(t, "crane").withEnv("HOME=" + dir)
	regctl := regctlFor(t, registry)
	layout := filepath.Join(dir, "layout")
	for _, tag := range strings.Fields(crane.run(t, "ls", registry+"/conformance/one")) {
		regctl.run(t, "image", "copy", "--referrers", "--digest-tags", registry+"/conformance/one:"+tag, "ocidir://"+layout+":"+tag)
	}
	path := filepath.Join(dir, "images.tar")
	require.NoError(t, exec.Command("tar", "-C", layout, "-cf", path, ".").Run())
	data := inLayout(t, layout)
	require.Greater(t, len(data.tags), 12)
	require.Greater(t, len(data.manifests), 20)

	_, err = dockerArchive(t).try(t, "save", "--tls-verify=false", "-o", filepath.Join(dir, "saved.tar"), registry+"/conformance/one:image")
	require.ErrorContains(t, err, "but the config says")
	output := conformsReading(t, startServe(t, path), "images", data)
	assert.Contains(t, output, "manifest-by-digest")
}

// startDistribution starts the registry that most others are made of, and returns its host:port.
func startDistribution(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	dir := daemonDir(t)
	config := filepath.Join(dir, "config.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nstorage:\n  filesystem: {rootdirectory: %q}\nhttp:\n  addr: %q\n", filepath.Join(dir, "data"), address), 0o600))
	startDaemon(t, dir, built(t, "registry").with("serve", config), func() error {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return address
}

// inLayout returns the content of an OCI layout, and the subjects in it.
func inLayout(t *testing.T, layout string) (data served) {
	t.Helper()
	seen := map[digest.Digest]bool{}
	blob := func(d digest.Digest) []byte {
		content, err := os.ReadFile(filepath.Join(layout, "blobs", d.Algorithm().String(), d.Encoded()))
		if seen[d] || errors.Is(err, fs.ErrNotExist) { // A subject, or a layer that is not to be distributed.
			return nil
		}
		require.NoError(t, err)
		seen[d] = true
		return content
	}
	var walk func(imagespec.Descriptor)
	walk = func(d imagespec.Descriptor) {
		content := blob(d.Digest)
		if content == nil {
			return
		}
		var document struct {
			imagespec.Manifest
			Manifests []imagespec.Descriptor
		}
		require.NoError(t, json.Unmarshal(content, &document))
		data.manifests = append(data.manifests, d.Digest.String())
		if document.Subject != nil {
			data.subjects = append(data.subjects, document.Subject.Digest.String())
		}
		for _, child := range document.Manifests {
			walk(child)
		}
		for _, b := range append(document.Layers, document.Config) {
			if b.Digest != "" && blob(b.Digest) != nil {
				data.blobs = append(data.blobs, b.Digest.String())
			}
		}
	}
	var index imagespec.Index
	content, err := os.ReadFile(filepath.Join(layout, imagespec.ImageIndexFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &index))
	for _, d := range index.Manifests {
		data.tags = append(data.tags, d.Annotations[imagespec.AnnotationRefName])
		walk(d)
	}
	return data
}
