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

// putBlob stores a blob unless the archive has it.
func (d *imageDestination) putBlob(ctx context.Context, stream io.Reader, info types.BlobInfo) (types.BlobInfo, error) {
	if info.Digest == "" {
		blob, received, err := d.storeBlob(ctx, stream, info)
		if err != nil {
			return types.BlobInfo{}, err
		}
		blobs := d.writer.blobs
		if _, known, err := blobs.begin(ctx, d, received); err != nil {
			return types.BlobInfo{}, err
		} else if !known {
			blobs.end(received, blob, true)
		}
		return types.BlobInfo{Digest: received, Size: blob.size}, nil
	}
	if err := info.Digest.Validate(); err != nil {
		return types.BlobInfo{}, err
	}
	blob, known, err := d.writer.blobs.begin(ctx, d, info.Digest)
	if err != nil {
		return types.BlobInfo{}, err
	}
	if !known {
		blob, _, err = d.storeBlob(ctx, stream, info)
		d.writer.blobs.end(info.Digest, blob, err == nil)
		if err != nil {
			return types.BlobInfo{}, err
		}
	}
	return types.BlobInfo{Digest: info.Digest, Size: blob.size}, nil
}

// storeBlob writes a blob, decompressed if the layout wants that, and returns it
// with the digest that it was received under. Reading, decompressing, and hashing
// with writing run side by side.
func (d *imageDestination) storeBlob(ctx context.Context, stream io.Reader, info types.BlobInfo) (receivedBlob, digest.Digest, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ahead := async.NewReader(ctx, stream)
	defer ahead.Close()
	defer cancel() // Before Close, so that a source that knows the context returns.

	in := newBlobInput(ahead, info)
	prefix, err := ahead.Peek(compression.PrefixLen)
	if err != nil {
		return receivedBlob{}, "", err
	}
	l := d.writer.layout
	algorithm := compression.None
	if l.decompresses() {
		algorithm = compression.Detect(prefix)
	}
	b := &blobWriter{ctx: ctx, name: l.blobName}
	slot := d.writer.slots[info.Digest]
	size := int64(-1)
	var header *tar.Header
	if algorithm == compression.None {
		size = info.Size
		if size < 0 && slot != nil {
			size = slot.Size()
		}
		if info.Digest != "" && (info.Digest.Algorithm() == digest.Canonical || !l.decompresses()) {
			// Verified by whoever feeds the stream, so it needs no other hash.
			b.digest = info.Digest
			// On a stream a header is sent at once. That must wait if the layer may
			// come in another form meanwhile, and be there then.
			if !d.writer.mixed {
				if header, err = fileHeader(b.name(b.digest), max(size, 0)); err != nil {
					return receivedBlob{}, "", err
				}
			}
		}
	}
	if b.digest == "" {
		b.hash = digest.Canonical.Hash()
	}
	if b.blob, err = d.writer.tar.Create(slot, header, size); err != nil {
		return receivedBlob{}, "", err
	}
	defer b.blob.Abort() // Does nothing once the blob is finished.
	ahead.OnWait(b.blob.SourceWaits)
	if err := b.copy(in, algorithm, cancel); err != nil {
		return receivedBlob{}, "", err
	}
	received, err := in.end()
	if err != nil {
		return receivedBlob{}, "", err
	}
	stored, err := b.finish(d.writer.blobs)
	if err != nil {
		return receivedBlob{}, "", err
	}
	b.blob.Abort()
	if slot != nil { // The blob may have been there, in another compression.
		if err := slot.Release(stored.entry); err != nil {
			return receivedBlob{}, "", err
		}
	}
	return receivedBlob{stored: stored, size: in.n}, received, nil
}

// blobInput is the blob as it is received.
type blobInput struct {
	r    io.Reader
	info types.BlobInfo
	n    int64
	hash hash.Hash // nil if the digest is known
}

func newBlobInput(r *async.Reader, info types.BlobInfo) *blobInput {
	in := &blobInput{r: r, info: info}
	if info.Digest == "" {
		in.hash = digest.Canonical.Hash()
	}
	return in
}

func (in *blobInput) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.n += int64(n)
	if in.hash != nil {
		in.hash.Write(p[:n])
	}
	return n, err
}

// WriteTo saves a copy for layers that are not compressed.
func (in *blobInput) WriteTo(w io.Writer) (int64, error) {
	if in.hash != nil {
		w = io.MultiWriter(w, in.hash)
	}
	n, err := in.r.(io.WriterTo).WriteTo(w)
	in.n += n
	return n, err
}

// end checks that the stream has been read to its end, which is where its
// source tells whether the digest was right, and returns the digest.
func (in *blobInput) end() (digest.Digest, error) {
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

// blobWriter writes the blob as it is stored.
type blobWriter struct {
	ctx    context.Context
	name   func(digest.Digest) string
	blob   *tarfile.Blob
	hash   hash.Hash     // nil if the digest is known
	digest digest.Digest // under which the blob is stored; "" until the end if it is not known
	size   int64
}

// Write implements io.Writer.
func (b *blobWriter) Write(p []byte) (int, error) {
	if b.hash != nil {
		b.hash.Write(p)
	}
	if err := b.blob.Write(b.ctx, p); err != nil {
		return 0, err
	}
	b.size += int64(len(p))
	return len(p), nil
}

// copy writes the input decompressed. It calls cancel if it fails, so that
// nobody waits for what will not come.
func (b *blobWriter) copy(in *blobInput, algorithm compression.Algorithm, cancel func()) error {
	if algorithm == compression.None {
		_, err := in.WriteTo(b)
		return err
	}
	uncompressed, err := compression.NewReader(in, algorithm)
	if err != nil {
		return err
	}
	defer uncompressed.Close()
	behind := async.NewWriter(b)
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

func (b *blobWriter) finish(blobs *blobSet) (*storedBlob, error) {
	if b.hash != nil {
		b.digest = digest.NewDigest(digest.Canonical, b.hash)
	}
	header, err := fileHeader(b.name(b.digest), b.size)
	if err != nil {
		return nil, err
	}
	finish := func() (*tarfile.Entry, error) { return b.blob.Finish(b.ctx, header) }
	if b.blob.Sent() { // Too late to leave it out, whatever else has arrived meanwhile.
		entry, err := finish()
		if err != nil {
			return nil, err
		}
		finish = func() (*tarfile.Entry, error) { return entry, nil }
	}
	return blobs.add(storedBlob{digest: b.digest, size: b.size}, finish)
}
