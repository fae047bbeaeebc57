package compose

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/progress"
)

// layer is a layer of the image that is made.
type layer struct {
	v1.Descriptor
	diffID digest.Digest
}

// mediaTypes are those of layers.
var mediaTypes = map[Format]map[compression.Algorithm]string{
	OCI: {
		compression.None: v1.MediaTypeImageLayer,
		compression.Gzip: v1.MediaTypeImageLayerGzip,
		compression.Zstd: v1.MediaTypeImageLayerZstd,
	},
	Docker: {
		compression.None: image.DockerLayer,
		compression.Gzip: image.DockerLayerGzip,
	},
}

// mediaType returns the type of a layer that is compressed in a way.
func mediaType(format Format, a compression.Algorithm) (string, error) {
	if t, ok := mediaTypes[format][a]; ok {
		return t, nil
	}
	if format == Docker && mediaTypes[OCI][a] != "" {
		return "", fmt.Errorf("there is no media type for layers in %s in a Docker schema 2 manifest; make an OCI image", a)
	}
	return "", fmt.Errorf("there is no media type for layers in %s", a)
}

// Sink takes the layers of an image.
type Sink interface {
	// PutBase is called once, and first, with the layers that are those of the base,
	// lowest first. open returns one of them as the base has it; the caller verifies it.
	// They may be read while the image is made and until it is closed.
	PutBase(ctx context.Context, layers []v1.Descriptor, open func(ctx context.Context, i int) (io.ReadCloser, error)) error
	// PutLayer stores a layer that is made, above those before it. Its digest and size
	// are known once it has been read. If reading it fails, the layer may come once more, in
	// another form.
	PutLayer(ctx context.Context, blob io.Reader) (digest.Digest, int64, error)
}

// makeLayer makes a layer and stores it.
func (m *maker) makeLayer(ctx context.Context, l Layer) (layer, error) {
	content, expected := l.Content, l.Expected
	if m.image.RewriteTimes && !m.image.Squash { // A squashed layer has been rewritten.
		content, expected = Filter(verified{content, expected}, Rewriting{SetTime: m.image.Created}), Expected{}
	}
	made, err := m.storeLayer(ctx, content, expected)
	if err != nil {
		return layer{}, fmt.Errorf("layer %s: %w", l.Content.Name(), err)
	}
	made.Annotations = l.Annotations
	m.image.report(progress.Event{Kind: progress.Finished, Name: content.Name()})
	return made, nil
}

// reporter is a reader that tells how much has been read.
type reporter struct {
	io.ReadCloser
	report func(bytes int)
}

// Read implements io.Reader.
func (r reporter) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.report(n)
	}
	return n, err
}

// storeLayer stores a layer as it is if it can be.
func (m *maker) storeLayer(ctx context.Context, content Content, expected Expected) (layer, error) {
	stored, err := m.store(ctx, content, expected)
	if errors.Is(err, errLeadsOut) {
		return m.storeInside(ctx, content, expected)
	}
	return stored, err
}

func (m *maker) store(ctx context.Context, content Content, expected Expected) (layer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := open(ctx, content, m.files.Below(m.done))
	if err != nil {
		return layer{}, err
	}
	stream = reporter{stream, func(n int) { m.image.report(progress.Event{Kind: progress.Read, Name: content.Name(), Bytes: n}) }}
	ahead := async.NewReadCloser(ctx, expected.verify(stream))
	defer ahead.Close() //nolint:errcheck // It was only read.
	defer cancel()      // So that it is not waited for.
	prefix, err := ahead.Peek(compression.PrefixLen)
	if err != nil {
		return layer{}, err
	}
	a := compression.Detect(prefix)
	inspector := newInspector(ctx, a)
	watched := io.TeeReader(ahead, inspector)
	var stored layer
	switch a {
	case compression.None:
		stored, err = m.compress(ctx, watched)
	case compression.XZ, compression.Bzip2:
		m.image.warn("layer %s comes in %s, for which there is no media type: it is compressed again", content.Name(), a)
		stored, err = m.recompress(ctx, watched, a)
	default:
		stored, err = m.passOn(ctx, watched, a)
	}
	if err := inspector.finish(err); err != nil {
		return layer{}, err
	}
	inspector.links.warn(m.image, content.Name())
	m.latest = latest(m.latest, inspector.latest)
	stored.diffID = inspector.diffID
	if want := expected.DiffID; want != "" && stored.diffID != want {
		return layer{}, &errdef.MismatchError{Name: "its uncompressed content", Want: want, Got: stored.diffID}
	}
	return stored, nil
}

// passOn stores a layer that is compressed already.
func (m *maker) passOn(ctx context.Context, stream io.Reader, a compression.Algorithm) (l layer, err error) {
	if l.MediaType, err = mediaType(m.image.Format, a); err != nil {
		return layer{}, err
	}
	l.Digest, l.Size, err = m.sink.PutLayer(ctx, stream)
	return l, err
}

// recompress stores a layer in a compression that no media type is for.
func (m *maker) recompress(ctx context.Context, stream io.Reader, a compression.Algorithm) (layer, error) {
	tar, err := decompress(stream, a)
	if err != nil {
		return layer{}, err
	}
	defer tar.Close() //nolint:errcheck // It was only read.
	l, err := m.compress(ctx, tar)
	if err == nil {
		_, err = io.Copy(io.Discard, stream) // The digest is verified at the end.
	}
	return l, err
}

// compress stores a tar stream as the image wants it.
func (m *maker) compress(ctx context.Context, stream io.Reader) (l layer, err error) {
	if l.MediaType, err = mediaType(m.image.Format, m.image.Compression.algorithm()); err != nil {
		return layer{}, err
	}
	if m.image.Compression.Algorithm == None {
		l.Digest, l.Size, err = m.sink.PutLayer(ctx, stream)
		return l, err
	}
	compressed := piped(ctx, func(_ context.Context, w io.Writer) error { return m.image.Compression.compress(w, stream) })
	defer compressed.Close() //nolint:errcheck // It never fails.
	l.Digest, l.Size, err = m.sink.PutLayer(ctx, compressed)
	return l, err
}
