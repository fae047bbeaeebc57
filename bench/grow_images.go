package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// grown is an OCI layout of images that are added to archives. It is made in the
// scratch directory of a run.
type grown struct {
	dir   string
	index imgspecv1.Index
	added []int64 // what is new with each image: its own layer, not compressed, and the config
}

func newGrown(dir string) (*grown, error) {
	g := &grown{dir: dir, index: imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex}}
	err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755)
	if err == nil {
		err = writeJSON(filepath.Join(dir, imgspecv1.ImageLayoutFile), imgspecv1.ImageLayout{Version: imgspecv1.ImageLayoutVersion})
	}
	return g, err
}

// add adds an image of layers of the dataset and one of its own, of about size bytes
// that cannot be compressed.
func (g *grown) add(data *dataset, shared []int, size int) error {
	n := len(g.index.Manifests)
	random := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(random) // Never fails.
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	if err := errors.Join(addFile(w, "app", random), w.Close()); err != nil {
		return err
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	own, err := g.blob(imgspecv1.MediaTypeImageLayerGzip, packed.Bytes())
	if err != nil {
		return err
	}
	m := imgspecv1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest}
	config := imgspecv1.Image{Platform: imgspecv1.Platform{Architecture: "amd64", OS: "linux"}, RootFS: imgspecv1.RootFS{Type: "layers"}}
	for _, i := range shared {
		l := data.Layers[i]
		if err := os.Link(data.blobPath(l.Digest), g.path(l.Digest)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageLayerGzip, Digest: l.Digest, Size: l.Size})
	}
	config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(plain.Bytes()))
	m.Layers = append(m.Layers, own)
	if m.Config, err = g.json(imgspecv1.MediaTypeImageConfig, config); err != nil {
		return err
	}
	described, err := g.json(imgspecv1.MediaTypeImageManifest, m)
	if err != nil {
		return err
	}
	described.Annotations = map[string]string{imgspecv1.AnnotationRefName: ociName(n)}
	g.index.Manifests = append(g.index.Manifests, described)
	g.added = append(g.added, int64(plain.Len())+m.Config.Size)
	return nil
}

// close completes the layout.
func (g *grown) close() error {
	return writeJSON(filepath.Join(g.dir, imgspecv1.ImageIndexFile), g.index)
}

func (g *grown) path(d digest.Digest) string {
	return filepath.Join(g.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

func (g *grown) blob(mediaType string, b []byte) (imgspecv1.Descriptor, error) {
	d := digest.FromBytes(b)
	return imgspecv1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}, os.WriteFile(g.path(d), b, 0o644)
}

func (g *grown) json(mediaType string, v any) (imgspecv1.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return imgspecv1.Descriptor{}, err
	}
	return g.blob(mediaType, b)
}
