package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// generateDataset makes the dataset, whatever an earlier attempt left.
func generateDataset(ctx context.Context, dir string) error {
	data := &dataset{dir: dir, Version: datasetVersion}
	for _, sub := range []string{"oci", "plain", "layers", oneImage.name, manyImages.name} { // What an earlier attempt left.
		if err := os.RemoveAll(filepath.Join(dir, sub)); err != nil {
			return err
		}
	}
	sizes := slices.Clone(layerSizes)
	for range imageCount - 1 {
		sizes = append(sizes, layerSizes[len(layerSizes)-1])
	}
	if err := data.generateLayers(ctx, sizes); err != nil {
		return err
	}
	shared := len(layerSizes) - 1
	for n := range imageCount {
		layers := make([]int, 0, len(layerSizes))
		for i := range shared {
			layers = append(layers, i)
		}
		if err := data.addImage(append(layers, shared+n)); err != nil {
			return err
		}
	}
	return data.writeIndexes()
}

// generateLayers writes layers of about the given sizes.
func (d *dataset) generateLayers(ctx context.Context, sizes []int64) error {
	for _, dir := range []string{filepath.Join(d.ociDir(), "blobs", "sha256"), filepath.Join(d.dir, "layers")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	files, err := newCorpus()
	if err != nil {
		return err
	}
	for _, size := range sizes {
		l, err := d.generateLayer(ctx, files, size)
		if err != nil {
			return err
		}
		d.Layers = append(d.Layers, l)
	}
	return nil
}

// generateLayer writes a layer of about the given size in both forms.
func (d *dataset) generateLayer(ctx context.Context, files *corpus, size int64) (layer, error) {
	plain, err := os.CreateTemp(filepath.Join(d.dir, "layers"), "new-")
	if err != nil {
		return layer{}, err
	}
	defer plain.Close()
	packed, err := os.CreateTemp(filepath.Join(d.ociDir(), "blobs"), "new-")
	if err != nil {
		return layer{}, err
	}
	defer packed.Close()

	diffID, blob := digest.Canonical.Digester(), digest.Canonical.Digester()
	// The library and the level that docker and BuildKit use.
	compressor := gzip.NewWriter(io.MultiWriter(packed, blob.Hash()))
	if err := writeLayer(ctx, io.MultiWriter(plain, diffID.Hash(), compressor), files, size); err != nil {
		return layer{}, err
	}
	if err := compressor.Close(); err != nil {
		return layer{}, err
	}
	l := layer{Digest: blob.Digest(), DiffID: diffID.Digest()}
	if l.Plain, err = plain.Seek(0, io.SeekCurrent); err != nil {
		return layer{}, err
	}
	if l.Size, err = packed.Seek(0, io.SeekCurrent); err != nil {
		return layer{}, err
	}
	err = errors.Join(plain.Close(), packed.Close(),
		os.Rename(plain.Name(), d.layerPath(l)), os.Rename(packed.Name(), d.blobPath(l.Digest)))
	return l, err
}

// writeLayer writes a tar of the next files.
func writeLayer(ctx context.Context, w io.Writer, files *corpus, size int64) error {
	out := tar.NewWriter(w)
	for written := int64(0); written < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := files.next()
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Size: f.size, Mode: int64(f.mode), ModTime: time.Unix(1700000000, 0)}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if err := f.copyTo(out); err != nil {
			return err
		}
		written += f.size
	}
	return out.Close()
}

func (f corpusFile) copyTo(w io.Writer) error {
	if f.path == "" {
		_, err := w.Write(f.data)
		return err
	}
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.CopyN(w, in, f.size)
	return err
}

// addImage writes the config and manifests of an image with the given layers.
func (d *dataset) addImage(layers []int) error {
	n := len(d.Images)
	config := imgspecv1.Image{
		Platform: imgspecv1.Platform{Architecture: "amd64", OS: "linux"},
		Config:   imgspecv1.ImageConfig{Cmd: []string{"/bin/app", fmt.Sprint(n)}},
		RootFS:   imgspecv1.RootFS{Type: "layers"},
	}
	m := imgspecv1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest}
	plain := m
	for _, i := range layers {
		l := d.Layers[i]
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageLayerGzip, Digest: l.Digest, Size: l.Size})
		plain.Layers = append(plain.Layers, imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageLayer, Digest: l.DiffID, Size: l.Plain})
	}
	configBytes, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if m.Config, err = d.writeBlob(imgspecv1.MediaTypeImageConfig, configBytes); err != nil {
		return err
	}
	plain.Config = m.Config
	manifestBytes, err := json.Marshal(m)
	if err != nil {
		return err
	}
	described, err := d.writeBlob(imgspecv1.MediaTypeImageManifest, manifestBytes)
	if err != nil {
		return err
	}
	d.Images = append(d.Images, image{Layers: layers, Config: m.Config, Manifest: described})
	return d.writePlain(n, plain, configBytes)
}

func (d *dataset) writeBlob(mediaType string, b []byte) (imgspecv1.Descriptor, error) {
	dgst := digest.FromBytes(b)
	return imgspecv1.Descriptor{MediaType: mediaType, Digest: dgst, Size: int64(len(b))}, os.WriteFile(d.blobPath(dgst), b, 0o644)
}

// writePlain writes an image as a dir: with uncompressed layers.
func (d *dataset) writePlain(n int, m imgspecv1.Manifest, config []byte) error {
	dir := d.plainDir(n)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, i := range d.Images[n].Layers {
		l := d.Layers[i]
		if err := os.Link(d.layerPath(l), filepath.Join(dir, l.DiffID.Encoded())); err != nil {
			return err
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"version":                 []byte("Directory Transport Version: 1.1\n"),
		"manifest.json":           b,
		m.Config.Digest.Encoded(): config,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeIndexes completes the OCI layout and the dataset.
func (d *dataset) writeIndexes() error {
	index := imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex}
	for n, image := range d.Images {
		described := image.Manifest
		described.Annotations = map[string]string{imgspecv1.AnnotationRefName: ociName(n)}
		index.Manifests = append(index.Manifests, described)
	}
	for path, v := range map[string]any{
		filepath.Join(d.ociDir(), imgspecv1.ImageLayoutFile): imgspecv1.ImageLayout{Version: imgspecv1.ImageLayoutVersion},
		filepath.Join(d.ociDir(), imgspecv1.ImageIndexFile):  index,
	} {
		if err := writeJSON(path, v); err != nil {
			return err
		}
	}
	return writeJSON(filepath.Join(d.dir, datasetFile), d)
}

func writeJSON(path string, v any) error {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
