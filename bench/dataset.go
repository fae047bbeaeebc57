package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// dataset describes the generated images:
//
//	oci/         an OCI layout of all images, with gzip layers
//	plain/N/     image N as a dir: with uncompressed layers, which are links
//	layers/      the uncompressed layers
//	dataset.json this, written last
//	*.tar        archives for the cases that read some
//
// Image 0 is what most cases use. The others share all but the topmost layer
// with it, like versions of an application.
type dataset struct {
	dir     string
	Version int
	Layers  []layer
	Images  []image
}

// layer is a layer of any image.
type layer struct {
	Digest digest.Digest // of the compressed form
	Size   int64
	DiffID digest.Digest
	Plain  int64 // size of the uncompressed form
}

// image is one image of the dataset.
type image struct {
	Layers   []int // in dataset.Layers, lowest first
	Config   imgspecv1.Descriptor
	Manifest imgspecv1.Descriptor
}

const (
	datasetVersion = 1 // to be raised when what is generated changes
	imageCount     = 2
	datasetFile    = "dataset.json"
)

// layerSizes are those of an image that installs a distribution, a few tools, a
// large set of dependencies, and an application: 1.2 GB, lowest layer first.
var layerSizes = []int64{120e6, 35e6, 870e6, 95e6, 65e6, 15e6}

// prepareDataset loads the dataset, or generates it if there is none yet.
func prepareDataset(ctx context.Context, dir string) (*dataset, error) {
	data, err := loadDataset(dir)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	fmt.Fprintf(os.Stderr, "generating images in %s; this takes some minutes, once\n", dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := generateDataset(ctx, dir); err != nil {
		return nil, fmt.Errorf("generating images in %s: %w", dir, err)
	}
	return loadDataset(dir)
}

// loadDataset fails with fs.ErrNotExist if there is no complete dataset.
func loadDataset(dir string) (*dataset, error) {
	b, err := os.ReadFile(filepath.Join(dir, datasetFile))
	if err != nil {
		return nil, err
	}
	data := &dataset{dir: dir}
	if err := json.Unmarshal(b, data); err != nil {
		return nil, fmt.Errorf("parsing %s: %w", datasetFile, err)
	}
	if data.Version != datasetVersion {
		return nil, fmt.Errorf("%s is of version %d: %w", datasetFile, data.Version, fs.ErrNotExist)
	}
	return data, nil
}

func (d *dataset) ociDir() string            { return filepath.Join(d.dir, "oci") }
func (d *dataset) plainDir(image int) string { return filepath.Join(d.dir, "plain", fmt.Sprint(image)) }
func (d *dataset) layerPath(l layer) string {
	return filepath.Join(d.dir, "layers", l.DiffID.Encoded())
}
func (d *dataset) blobPath(dgst digest.Digest) string {
	return filepath.Join(d.ociDir(), "blobs", dgst.Algorithm().String(), dgst.Encoded())
}

// ociName is the name of an image in the OCI layout.
func ociName(image int) string { return fmt.Sprint("v", image) }

// sizes returns the compressed and uncompressed sizes of the layers of image 0.
func (d *dataset) sizes() (compressed, plain int64) {
	for _, i := range d.Images[0].Layers {
		compressed += d.Layers[i].Size
		plain += d.Layers[i].Plain
	}
	return compressed, plain
}

// distinct returns the bytes of the distinct blobs of the first n images.
func (d *dataset) distinct(n int) int64 {
	var total int64
	seen := map[int]bool{}
	for _, image := range d.Images[:n] {
		total += image.Config.Size
		for _, i := range image.Layers {
			if !seen[i] {
				seen[i] = true
				total += d.Layers[i].Size
			}
		}
	}
	return total
}

func (d *dataset) describe(w io.Writer) {
	compressed, plain := d.sizes()
	fmt.Fprintf(w, "image: %d layers, %.0f MB compressed (gzip), %.0f MB uncompressed, ratio %.2f:", len(d.Images[0].Layers), mb(compressed), mb(plain), float64(plain)/float64(compressed))
	for _, i := range d.Images[0].Layers {
		fmt.Fprintf(w, " %.0f", mb(d.Layers[i].Size))
	}
	fmt.Fprintln(w)
}

func mb(n int64) float64 { return float64(n) / 1e6 }
