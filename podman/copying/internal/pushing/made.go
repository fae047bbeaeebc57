package pushing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// madeLayers are the layers of images without a manifest, compressed. They wait in
// temporary files: a registry is asked for them by their digests.
type madeLayers struct {
	zstd    bool
	tempDir string

	mu     sync.Mutex
	plain  map[digest.Digest]*madeLayer // by diff ID
	packed map[digest.Digest]*madeLayer // by digest, those that are complete
}

// madeLayer is a layer that is compressed once, for the first image that wants it.
type madeLayer struct {
	turn chan struct{} // held while compressing it
	file *local.File   // nil until it has been
	imgspecv1.Descriptor
}

func newMadeLayers(zstd bool, tempDir string) *madeLayers {
	return &madeLayers{zstd: zstd, tempDir: tempDir, plain: map[digest.Digest]*madeLayer{}, packed: map[digest.Digest]*madeLayer{}}
}

func (m *madeLayers) close() {
	for _, l := range m.packed {
		_ = l.file.Close() // It has no name, and is gone.
	}
}

// open returns a compressed layer by its digest, or nil.
func (m *madeLayers) open(d digest.Digest) io.ReadCloser {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.packed[d]
	if l == nil {
		return nil
	}
	return io.NopCloser(io.NewSectionReader(l.file, 0, l.Size))
}

// complete gives an image a manifest of compressed layers.
func (m *madeLayers) complete(ctx context.Context, img *pushedImage) error {
	plain := img.Top()
	layers := make([]imgspecv1.Descriptor, len(plain.Layers))
	for n, l := range plain.Layers {
		var err error
		if layers[n], err = m.compress(ctx, img, l); err != nil {
			return fmt.Errorf("compressing layer %s: %w", l.Digest, err)
		}
	}
	config, mediaType := *plain.Config, image.DockerManifest
	if m.zstd {
		config.MediaType, mediaType = imgspecv1.MediaTypeImageConfig, imgspecv1.MediaTypeImageManifest
	}
	raw, err := json.Marshal(imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, Config: config, Layers: layers,
	})
	if err != nil {
		return err
	}
	document, err := image.ParseDocument(raw, mediaType)
	if err != nil {
		return err
	}
	img.Documents = []*image.Document{document}
	img.result.Digest = document.Descriptor.Digest
	return nil
}

// compress returns a layer as it is when it is compressed.
func (m *madeLayers) compress(ctx context.Context, img *pushedImage, plain imgspecv1.Descriptor) (imgspecv1.Descriptor, error) {
	m.mu.Lock()
	l := m.plain[plain.Digest]
	if l == nil {
		l = &madeLayer{turn: make(chan struct{}, 1)}
		m.plain[plain.Digest] = l
	}
	m.mu.Unlock()
	if err := acquire(ctx, l.turn); err != nil {
		return imgspecv1.Descriptor{}, err
	}
	defer func() { <-l.turn }()
	if l.file != nil {
		return l.Descriptor, nil
	}
	file, err := spool.Create(spool.Dir(m.tempDir))
	if err != nil {
		return imgspecv1.Descriptor{}, err
	}
	packed, err := m.write(ctx, img, plain, file)
	if err != nil {
		return imgspecv1.Descriptor{}, errors.Join(err, file.Close())
	}
	l.file, l.Descriptor = file, packed
	m.mu.Lock()
	defer m.mu.Unlock()
	m.packed[packed.Digest] = l
	return packed, nil
}

// write compresses a layer to a file. The result depends on the layer and on the
// version of the compressor only.
func (m *madeLayers) write(ctx context.Context, img *pushedImage, plain imgspecv1.Descriptor, file io.Writer) (imgspecv1.Descriptor, error) {
	digester, counted := digest.Canonical.Digester(), &countingWriter{}
	out := io.MultiWriter(file, digester.Hash(), counted)
	packed := imgspecv1.Descriptor{MediaType: image.DockerLayerGzip}
	var compressor io.WriteCloser
	if m.zstd {
		packed.MediaType = imgspecv1.MediaTypeImageLayerZstd
		w, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return packed, err
		}
		compressor = w
	} else {
		const block = 1 << 20 // which the result depends on
		w := pgzip.NewWriter(out)
		if err := w.SetConcurrency(block, runtime.GOMAXPROCS(0)); err != nil {
			return packed, err
		}
		compressor = w
	}
	body, err := img.Open(ctx, plain, 0)
	if err != nil {
		return packed, errors.Join(err, compressor.Close())
	}
	want := image.Blob{Descriptor: plain}
	_, err = io.Copy(compressor, &sentReader{r: body, want: want, digester: plain.Digest.Algorithm().Digester(), read: func(int) {}})
	if err := errors.Join(err, compressor.Close(), body.Close()); err != nil {
		return packed, err
	}
	packed.Digest, packed.Size = digester.Digest(), counted.n
	return packed, nil
}

type countingWriter struct{ n int64 }

// Write implements io.Writer.
func (w *countingWriter) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	return len(p), nil
}
