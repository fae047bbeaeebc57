//go:build interop

package interop

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
)

// chainBase and chainChild are built on each other.
const (
	chainBase  = "example.com/exporters/base:1"
	chainChild = "example.com/exporters/child:1"
)

// An export is the content of one archive.
type export struct {
	name    string
	sources []string // in a registry; the first has names, if any
	names   []string // instead of those in the registry
	digest  string   // of a source without a name
	archive string   // an archive that has the images instead of a registry, under sources
}

// wanted are the names that an image is asked for by.
func (e export) wanted() []string {
	if len(e.names) > 0 {
		return e.names
	}
	return e.sources
}

// A filled registry is one that has the images.
type filledRegistry struct {
	t    *testing.T
	host string
}

// push pushes an image or an index and returns its name.
func (r filledRegistry) push(path string, image remote.Taggable) string {
	r.t.Helper()
	ref, err := name.NewTag(r.host + "/" + path)
	require.NoError(r.t, err)
	switch pushed := image.(type) {
	case v1.Image:
		err = remote.Write(ref, pushed, remote.WithNondistributable)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, pushed)
	}
	require.NoError(r.t, err)
	return ref.String()
}

// fileLayer is a compressed layer that holds one file.
func fileLayer(t *testing.T, content string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "file-" + content, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1e9, 0)}))
	_, err := io.WriteString(w, content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	require.NoError(t, err)
	return layer
}

// exportedImage is an image with an author, whose history has a step for each layer.
func exportedImage(t *testing.T, architecture string, layers ...mutate.Addendum) v1.Image {
	t.Helper()
	created := v1.Time{Time: time.Unix(1e9, 0).UTC()}
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		Architecture: architecture, OS: "linux", Author: "somebody", Created: created,
		Config: v1.Config{Cmd: []string{"/file"}, Labels: map[string]string{"label": "value"}},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
	})
	require.NoError(t, err)
	for i := range layers {
		layers[i].History = v1.History{Created: created, CreatedBy: fmt.Sprintf("COPY %d", i), Author: "somebody"}
	}
	img, err = mutate.Append(img, layers...)
	require.NoError(t, err)
	return img
}

func plainLayers(t *testing.T, contents ...string) []mutate.Addendum {
	t.Helper()
	var layers []mutate.Addendum
	for _, content := range contents {
		layers = append(layers, mutate.Addendum{Layer: fileLayer(t, content)})
	}
	return layers
}

// ociImage is an image with the media types of OCI.
func ociImage(t *testing.T, architecture string, contents ...string) v1.Image {
	t.Helper()
	layers := plainLayers(t, contents...)
	for i := range layers {
		layers[i].MediaType = types.OCILayer
	}
	img := exportedImage(t, architecture, layers...)
	return mutate.MediaType(mutate.ConfigMediaType(img, types.OCIConfigJSON), types.OCIManifestSchema1)
}

// exportedIndex is an index of two platforms; the first has an attestation.
func exportedIndex(t *testing.T) v1.ImageIndex {
	t.Helper()
	first, second := ociImage(t, "amd64", "amd64"), ociImage(t, "arm64", "arm64")
	digest, err := first.Digest()
	require.NoError(t, err)
	attestation, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: "unknown", OS: "unknown", RootFS: v1.RootFS{Type: "layers"}})
	require.NoError(t, err)
	attestation, err = mutate.Append(attestation, mutate.Addendum{
		Layer: static.NewLayer([]byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`), "application/vnd.in-toto+json"),
	})
	require.NoError(t, err)
	attestation = mutate.MediaType(mutate.ConfigMediaType(attestation, types.OCIConfigJSON), types.OCIManifestSchema1)
	platform := func(os, architecture string) *v1.Platform { return &v1.Platform{OS: os, Architecture: architecture} }
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: first, Descriptor: v1.Descriptor{Platform: platform("linux", "amd64")}},
		mutate.IndexAddendum{Add: second, Descriptor: v1.Descriptor{Platform: platform("linux", "arm64")}},
		mutate.IndexAddendum{Add: attestation, Descriptor: v1.Descriptor{Platform: platform("unknown", "unknown"), Annotations: map[string]string{
			"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest.String(),
		}}},
	)
}

// serveLayer returns a URL at which a layer is, outside of any registry.
func serveLayer(t *testing.T, layer v1.Layer) string {
	t.Helper()
	body, err := layer.Compressed()
	require.NoError(t, err)
	content, err := io.ReadAll(body)
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/layer"
}

// exports pushes the images to a registry and returns the content of each archive. chain is
// an archive with chainBase and chainChild.
func exports(t *testing.T, chain string) []export {
	t.Helper()
	r := filledRegistry{t, startRegistry(t)}
	plain := r.push("plain:1", ociImage(t, "amd64", "one"))
	digest, err := ociImage(t, "amd64", "one").Digest()
	require.NoError(t, err)
	twice := fileLayer(t, "twice")
	far := fileLayer(t, "far")
	foreign := append(plainLayers(t, "near"), mutate.Addendum{
		Layer: far, MediaType: types.DockerForeignLayer, URLs: []string{serveLayer(t, far)},
	})
	chart := mutate.ConfigMediaType(artifact(t, "application/vnd.cncf.helm.chart.content.v1.tar+gzip"), "application/vnd.cncf.helm.config.v1+json")
	return []export{
		{name: sharedLayers, sources: []string{
			r.push("shared:1", ociImage(t, "amd64", "base", "one")), r.push("shared:2", ociImage(t, "amd64", "base", "two")),
		}},
		{name: layerTwice, sources: []string{r.push("twice:1", exportedImage(t, "amd64", mutate.Addendum{Layer: twice}, plainLayers(t, "between")[0], mutate.Addendum{Layer: twice}))}},
		{name: noLayers, sources: []string{r.push("none:1", ociImage(t, "amd64"))}},
		{name: untagged, sources: []string{plain}, digest: digest.String()},
		{name: byDigest, sources: []string{r.host + "/plain@" + digest.String()}},
		{name: parentChain, sources: []string{chainBase, chainChild}, archive: chain},
		{name: multiPlatform, sources: []string{r.push("multi:1", exportedIndex(t))}},
		{name: foreignLayer, sources: []string{r.push("foreign:1", exportedImage(t, "amd64", foreign...))}},
		{name: artifactImage, sources: []string{r.push("chart:1", chart)}},
		{name: severalOfNames, sources: []string{plain}, names: []string{"example.com/exporters/a:1", "example.com/exporters/b:2", "docker.io/library/exporters:3"}},
	}
}

// buildChain has docker's classic builder build images on each other, and saves them.
func buildChain(t *testing.T, docker program, dir string) string {
	t.Helper()
	host := filledRegistry{t, startRegistry(t)}
	from := host.push("from:1", ociImage(t, "amd64", "from"))
	builder := docker.withEnv("DOCKER_BUILDKIT=0")
	for _, image := range []struct{ name, dockerfile string }{
		{chainBase, "FROM " + from + "\nLABEL step=one\n"},
		{chainChild, "FROM " + chainBase + "\nLABEL step=two\n"},
	} {
		context := t.TempDir()
		writeText(t, filepath.Join(context, "Dockerfile"), image.dockerfile)
		builder.run(t, "build", "--tag", image.name, context)
	}
	chain := filepath.Join(dir, "chain.tar")
	docker.run(t, "save", "--output", chain, chainBase, chainChild)
	return chain
}
