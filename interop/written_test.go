//go:build interop

package interop

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWritten has every client write archives and checks that they hold the right images, so
// that a reading test that fails on one of them points at the reader.
func TestWritten(t *testing.T) {
	for _, w := range writers {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			for _, a := range w.write(t, t.TempDir()) {
				t.Run(a.name, func(t *testing.T) {
					compare(t, a, true, readTar(t, a.path).images(t))
				})
			}
		})
	}
}

// tarContents are the files of a small archive by name, links followed.
type tarContents map[string][]byte

// readTar reads a whole tar file, which may be compressed with gzip.
func readTar(t *testing.T, file string) tarContents {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	if bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		content = gunzip(t, content)
	}
	contents := make(tarContents)
	links := make(map[string]string)
	for archive := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err, file)
		name := path.Clean(header.Name)
		switch header.Typeflag {
		case tar.TypeReg:
			contents[name], err = io.ReadAll(archive)
			require.NoError(t, err, "%s: %s", file, name)
		case tar.TypeSymlink:
			links[name] = path.Join(path.Dir(name), header.Linkname)
		case tar.TypeLink:
			links[name] = path.Clean(header.Linkname)
		}
	}
	for name, target := range links {
		require.Contains(t, contents, target, "%s: target of link %s", file, name)
		contents[name] = contents[target]
	}
	return contents
}

func gunzip(t *testing.T, content []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(content))
	require.NoError(t, err)
	plain, err := io.ReadAll(reader)
	require.NoError(t, err)
	return plain
}

// images are the images that an archive's index.json lists, or its manifest.json if it has no
// other, with the names that manifest.json gives them.
func (c tarContents) images(t *testing.T) []shown {
	t.Helper()
	named := c.dockerImages(t)
	if _, ok := c[imagespec.ImageIndexFile]; !ok {
		return named
	}
	var all []shown
	for _, found := range c.indexImages(t, c[imagespec.ImageIndexFile]) {
		at := slices.IndexFunc(named, func(n shown) bool { return n.image.config == found.config })
		if at >= 0 {
			all = append(all, named[at])
		} else {
			all = append(all, shown{image: found})
		}
	}
	return mergeNames(all)
}

// dockerImages are the images that manifest.json lists. Their layers must have the diff IDs of
// their configs.
func (c tarContents) dockerImages(t *testing.T) []shown {
	t.Helper()
	content, ok := c["manifest.json"]
	if !ok {
		return nil
	}
	var items []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	require.NoError(t, json.Unmarshal(content, &items), "manifest.json: %s", content)
	var all []shown
	for _, item := range items {
		require.Contains(t, c, item.Config)
		found := shown{image: imageOfConfig(t, "", c[item.Config]), names: []string{}}
		for _, name := range item.RepoTags {
			full, err := reference.ParseDockerRef(name)
			require.NoError(t, err, name)
			found.names = append(found.names, full.String())
		}
		var layers []digest.Digest
		for _, layer := range item.Layers {
			require.Contains(t, c, layer)
			layers = append(layers, diffID(t, c[layer]))
		}
		assert.Equal(t, found.image.diffIDs, layers, "layers of %v", item.RepoTags)
		all = append(all, found)
	}
	return all
}

func diffID(t *testing.T, layer []byte) digest.Digest {
	t.Helper()
	if bytes.HasPrefix(layer, []byte{0x1f, 0x8b}) {
		layer = gunzip(t, layer)
	}
	return digest.FromBytes(layer)
}

// indexImages are the images behind an index, at any depth, without attestations.
func (c tarContents) indexImages(t *testing.T, content []byte) []image {
	t.Helper()
	var index imagespec.Index
	require.NoError(t, json.Unmarshal(content, &index), "index: %s", content)
	var all []image
	for _, descriptor := range index.Manifests {
		blob := c.blob(t, descriptor)
		if len(descriptor.Annotations["vnd.docker.reference.type"]) > 0 {
			continue
		}
		var manifest imagespec.Manifest
		require.NoError(t, json.Unmarshal(blob, &manifest), "manifest: %s", blob)
		if manifest.Config.Digest == "" {
			all = append(all, c.indexImages(t, blob)...)
			continue
		}
		all = append(all, imageOfConfig(t, descriptor.Digest, c.blob(t, manifest.Config)))
		for _, layer := range manifest.Layers {
			c.blob(t, layer)
		}
	}
	return all
}

func (c tarContents) blob(t *testing.T, descriptor imagespec.Descriptor) []byte {
	t.Helper()
	name := blobPath("", descriptor.Digest)
	require.Contains(t, c, name)
	require.Equal(t, descriptor.Digest, digest.FromBytes(c[name]), "content of %s", name)
	return c[name]
}
