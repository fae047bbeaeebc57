package dockerarchive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// putLayer stores a layer unless the archive has it.
func (d *imageDestination) putLayer(ctx context.Context, stream io.Reader, info types.BlobInfo) (types.BlobInfo, error) {
	if info.Digest == "" {
		blob, received, err := d.storeLayer(ctx, stream, info)
		if err != nil {
			return types.BlobInfo{}, err
		}
		layers := d.writer.layers
		if _, known, err := layers.begin(ctx, d, received); err != nil {
			return types.BlobInfo{}, err
		} else if !known {
			layers.end(received, blob, true)
		}
		return types.BlobInfo{Digest: received, Size: blob.size}, nil
	}
	if err := info.Digest.Validate(); err != nil {
		return types.BlobInfo{}, err
	}
	blob, known, err := d.writer.layers.begin(ctx, d, info.Digest)
	if err != nil {
		return types.BlobInfo{}, err
	}
	if !known {
		blob, _, err = d.storeLayer(ctx, stream, info)
		d.writer.layers.end(info.Digest, blob, err == nil)
		if err != nil {
			return types.BlobInfo{}, err
		}
	}
	return types.BlobInfo{Digest: info.Digest, Size: blob.size}, nil
}

// storeLayer writes a layer, decompressed, and returns it with the digest that
// it was received under. Reading, decompressing, and hashing with writing run
// side by side.
func (d *imageDestination) storeLayer(ctx context.Context, stream io.Reader, info types.BlobInfo) (storedBlob, digest.Digest, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ahead := async.NewReader(ctx, stream)
	defer ahead.Close()
	defer cancel() // Before Close, so that a source that knows the context returns.

	in := newLayerInput(ahead, info)
	prefix, err := ahead.Peek(compression.PrefixLen)
	if err != nil {
		return storedBlob{}, "", err
	}
	algorithm := compression.Detect(prefix)
	l := &layerWriter{ctx: ctx}
	size := int64(-1)
	var header *tar.Header
	if algorithm == compression.None {
		size = info.Size
		if info.Digest != "" && info.Digest.Algorithm() == digest.Canonical {
			// Verified by whoever feeds the stream, so it needs no other hash.
			l.diffID = info.Digest
			if header, err = fileHeader(layerFileName(l.diffID), max(size, 0)); err != nil {
				return storedBlob{}, "", err
			}
		}
	}
	if l.diffID == "" {
		l.hash = digest.Canonical.Hash()
	}
	slot := d.writer.slots[info.Digest]
	if l.blob, err = d.writer.tar.Create(slot, header, size); err != nil {
		return storedBlob{}, "", err
	}
	defer l.blob.Abort() // Does nothing once the blob is finished.
	ahead.OnWait(l.blob.SourceWaits)
	if err := l.copy(in, algorithm, cancel); err != nil {
		return storedBlob{}, "", err
	}
	received, err := in.end()
	if err != nil {
		return storedBlob{}, "", err
	}
	layer, err := l.finish(d.writer.layers)
	if err != nil {
		return storedBlob{}, "", err
	}
	l.blob.Abort()
	if slot != nil { // The layer may have been there, in another compression.
		if err := slot.Release(); err != nil {
			return storedBlob{}, "", err
		}
	}
	return storedBlob{layer: layer, size: in.n}, received, nil
}

// layerInput is the blob as it is received.
type layerInput struct {
	r    io.Reader
	info types.BlobInfo
	n    int64
	hash hash.Hash // nil if the digest is known
}

func newLayerInput(r *async.Reader, info types.BlobInfo) *layerInput {
	in := &layerInput{r: r, info: info}
	if info.Digest == "" {
		in.hash = digest.Canonical.Hash()
	}
	return in
}

func (in *layerInput) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.n += int64(n)
	if in.hash != nil {
		in.hash.Write(p[:n])
	}
	return n, err
}

// WriteTo saves a copy for layers that are not compressed.
func (in *layerInput) WriteTo(w io.Writer) (int64, error) {
	if in.hash != nil {
		w = io.MultiWriter(w, in.hash)
	}
	n, err := in.r.(io.WriterTo).WriteTo(w)
	in.n += n
	return n, err
}

// end checks that the stream has been read to its end, which is where its
// source tells whether the digest was right, and returns the digest.
func (in *layerInput) end() (digest.Digest, error) {
	used := in.n
	if _, err := io.Copy(io.Discard, in); err != nil {
		return "", err
	}
	if in.n != used {
		return "", fmt.Errorf("%d bytes follow the end of the compressed data", in.n-used)
	}
	if in.info.Size >= 0 && in.n != in.info.Size {
		return "", fmt.Errorf("%d bytes instead of the %d announced", in.n, in.info.Size)
	}
	if in.hash != nil {
		return digest.NewDigest(digest.Canonical, in.hash), nil
	}
	return in.info.Digest, nil
}

// layerWriter writes the uncompressed layer.
type layerWriter struct {
	ctx    context.Context
	blob   *tarfile.Blob
	hash   hash.Hash     // nil if the diff ID is known
	diffID digest.Digest // "" until the end if it is not
	size   int64
}

// Write implements io.Writer.
func (l *layerWriter) Write(p []byte) (int, error) {
	if l.hash != nil {
		l.hash.Write(p)
	}
	if err := l.blob.Write(l.ctx, p); err != nil {
		return 0, err
	}
	l.size += int64(len(p))
	return len(p), nil
}

// copy writes the input decompressed. It calls cancel if it fails, so that
// nobody waits for what will not come.
func (l *layerWriter) copy(in *layerInput, algorithm compression.Algorithm, cancel func()) error {
	if algorithm == compression.None {
		_, err := in.WriteTo(l)
		return err
	}
	uncompressed, err := compression.NewReader(in, algorithm)
	if err != nil {
		return err
	}
	defer uncompressed.Close()
	behind := async.NewWriter(l)
	_, err = io.Copy(behind, uncompressed)
	if err != nil {
		cancel()
	}
	writeErr := behind.Close()
	if err != nil && !errors.Is(err, writeErr) {
		return fmt.Errorf("decompressing %s: %w", algorithm, err)
	}
	return writeErr
}

func (l *layerWriter) finish(layers *layerSet) (*storedLayer, error) {
	if l.hash != nil {
		l.diffID = digest.NewDigest(digest.Canonical, l.hash)
	}
	header, err := fileHeader(layerFileName(l.diffID), l.size)
	if err != nil {
		return nil, err
	}
	finish := func() (*tarfile.Entry, error) { return l.blob.Finish(l.ctx, header) }
	if l.blob.Sent() { // Too late to leave it out, whatever else has arrived meanwhile.
		entry, err := finish()
		if err != nil {
			return nil, err
		}
		finish = func() (*tarfile.Entry, error) { return entry, nil }
	}
	return layers.add(storedLayer{diffID: l.diffID, size: l.size}, finish)
}
