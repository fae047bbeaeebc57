package writing

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Find reports whether the archive has a blob already, and its size as it was
// received. If the blob is on its way, Find waits for it; if not, owner is expected
// to put it, and others that look for it wait.
func (a *Archive) Find(ctx context.Context, owner Owner, d digest.Digest) (size int64, ok bool, err error) {
	blob, ok, err := a.blobs.find(ctx, owner, d)
	if ok {
		a.debugf("blob %s is there already", d)
	}
	return blob.size, ok, err
}

// Release says that owner will not put the blobs that it has looked for in vain.
func (a *Archive) Release(owner Owner) { a.blobs.release(owner) }

// Put stores a blob, a layer decompressed if the layout wants that, unless the
// archive has it, in which case r is not read. d is its digest, or "", and size its
// size in bytes, or -1, as it comes from r. It returns both.
//
// The caller must verify that the blob has the digest d, and fail the last read of
// r if it has not.
func (a *Archive) Put(ctx context.Context, owner Owner, r io.Reader, d digest.Digest, size int64) (digest.Digest, int64, error) {
	in := received{digest: d, size: size, place: d}
	if d == "" {
		return a.putUnknown(ctx, owner, r, in)
	}
	return a.put(ctx, owner, r, in)
}

// put is Put for a blob whose digest is known.
func (a *Archive) put(ctx context.Context, owner Owner, r io.Reader, in received) (digest.Digest, int64, error) {
	d := in.digest
	if err := d.Validate(); err != nil {
		return "", 0, err
	}
	blob, known, err := a.blobs.begin(ctx, owner, d)
	if err != nil {
		return "", 0, err
	}
	if known {
		a.debugf("blob %s is there already", d)
		return d, blob.size, nil
	}
	blob, _, err = a.store(ctx, r, in)
	a.blobs.end(d, blob, err == nil)
	if err != nil {
		return "", 0, err
	}
	return d, blob.size, nil
}

// PutPlanned is Put for a blob without a known digest and size, which stands in the
// plan under place instead.
func (a *Archive) PutPlanned(ctx context.Context, owner Owner, r io.Reader, place digest.Digest) (digest.Digest, int64, error) {
	return a.putUnknown(ctx, owner, r, received{size: -1, place: place})
}

// PutStored is Put for a blob that a file, if it is not nil, has at an offset, with the bytes that come from r.
// An archive in an object store may copy it from there.
func (a *Archive) PutStored(ctx context.Context, owner Owner, r io.Reader, d digest.Digest, size int64, file io.ReaderAt, off int64) error {
	_, _, err := a.put(ctx, owner, r, received{digest: d, size: size, place: d, file: file, off: off})
	return err
}

// putUnknown is Put for a blob whose digest is not known.
func (a *Archive) putUnknown(ctx context.Context, owner Owner, r io.Reader, in received) (digest.Digest, int64, error) {
	blob, got, err := a.store(ctx, r, in)
	if err != nil {
		return "", 0, err
	}
	if _, known, err := a.blobs.begin(ctx, owner, got); err != nil {
		return "", 0, err
	} else if !known {
		a.blobs.end(got, blob, true)
	}
	return got, blob.size, nil
}

// PutBytes is Put for a blob in memory, whose digest is known to be right.
func (a *Archive) PutBytes(ctx context.Context, owner Owner, data []byte, d digest.Digest) error {
	_, _, err := a.Put(ctx, owner, bytes.NewReader(data), d, int64(len(data)))
	return err
}

// store writes a blob, decompressed if the layout wants that, and returns it
// with the digest that it was received under. Reading, decompressing, hashing and
// writing run side by side.
func (a *Archive) store(ctx context.Context, stream io.Reader, info received) (receivedBlob, digest.Digest, error) {
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
	l := a.layout
	algorithm := compression.Detect(prefix)
	b := &blobWriter{ctx: ctx, header: l.BlobHeader, unpack: a.unpack}
	if !l.Unpacks() {
		b.algorithm, algorithm = algorithm, compression.None
	}
	if info.digest != "" { // Else it is made here.
		b.examined = newExamination(b.algorithm, info.digest.Algorithm(), a.examines(info.digest, info.size))
	} else {
		b.examined = newExamination(b.algorithm, digest.Canonical, false)
	}
	defer b.examined.end()
	slot := a.slots[info.place]
	size := int64(-1)
	var header *tar.Header
	if algorithm == compression.None {
		size = info.size
		if size < 0 && slot != nil {
			size = slot.Size()
		}
		if info.digest != "" && (info.digest.Algorithm() == digest.Canonical || !l.Unpacks()) {
			// The caller verifies the stream, so it needs no other hash.
			b.digest = info.digest
			// A stream sends a header at once. It must wait if the layer may come in another
			// form meanwhile, and be there then.
			if !a.mixed {
				if header, err = b.header(b.digest, max(size, 0)); err != nil {
					return receivedBlob{}, "", err
				}
			}
		}
	}
	if b.digest == "" {
		b.hash = digest.Canonical.Hash()
	}
	if b.blob, err = a.tar.Create(slot, header, size); err != nil {
		return receivedBlob{}, "", err
	}
	defer b.blob.Abort() // Does nothing once the blob is finished.
	ahead.OnWait(b.blob.SourceWaits)
	if algorithm == compression.None {
		b.blob.From(info.file, info.off)
	}
	if algorithm != compression.None {
		var stop func()
		b.sizes, stop = a.guess(ctx, info, algorithm, prefix)
		b.patient = a.adopted
		defer stop()
		a.debugf("decompressing %s, which is in %s", info, algorithm)
	}
	if err := b.copy(in, algorithm, cancel); err != nil {
		return receivedBlob{}, "", err
	}
	received, err := in.end()
	if err != nil {
		return receivedBlob{}, "", err
	}
	spooled := b.blob.Spooled()
	stored, err := b.finish(a.blobs)
	if err != nil {
		return receivedBlob{}, "", err
	}
	how := "in its place"
	if spooled {
		how = "by way of a temporary file"
	}
	a.debugf("wrote %s, %d bytes, %s", l.BlobName(stored.digest), stored.size, how)
	b.blob.Abort()
	if slot != nil { // The blob may have been there, in another compression.
		if err := slot.Release(stored.entry); err != nil {
			return receivedBlob{}, "", err
		}
	}
	return receivedBlob{stored: stored, size: in.n}, received, nil
}

// received has the announced digest and size of a blob that is received.
type received struct {
	digest digest.Digest // "" if unknown
	size   int64         // in bytes, -1 if unknown
	place  digest.Digest // under which the blob is planned
	file   io.ReaderAt   // has the same bytes at off; nil if no file is known to
	off    int64
}

// String is for messages.
func (r received) String() string {
	if r.digest == "" {
		return "a blob of unknown digest"
	}
	return "blob " + r.digest.String()
}

// blobInput is the blob as it is received.
type blobInput struct {
	r    io.Reader
	info received
	n    int64
	hash hash.Hash // nil if the digest is known
}

func newBlobInput(r *async.Reader, info received) *blobInput {
	in := &blobInput{r: r, info: info}
	if info.digest == "" {
		in.hash = digest.Canonical.Hash()
	}
	return in
}

// Read implements io.Reader.
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

// end checks that the stream has been read to its end, where its source tells
// whether the digest was right, and returns the digest.
func (in *blobInput) end() (digest.Digest, error) {
	used := in.n
	if _, err := io.Copy(io.Discard, in); err != nil {
		return "", err
	}
	if in.n != used {
		return "", fmt.Errorf("%d bytes follow the end of the compressed data", in.n-used)
	}
	if in.info.size >= 0 && in.n != in.info.size {
		return "", fmt.Errorf("%d bytes instead of the %d announced", in.n, in.info.size)
	}
	if in.hash != nil {
		return digest.NewDigest(digest.Canonical, in.hash), nil
	}
	return in.info.digest, nil
}

// blobWriter writes the blob as it is stored.
type blobWriter struct {
	ctx    context.Context
	header func(digest.Digest, int64) (*tar.Header, error)
	blob   *tarfile.Blob
	hash   hash.Hash     // nil if the digest is known
	digest digest.Digest // under which the blob is stored; "" until the end if it is not known
	size   int64
	unpack func(io.Reader, compression.Algorithm) (io.ReadCloser, error)
	sizes  <-chan int64 // brings, soon or never, how large the blob may become; nil later
	// patient has Write wait for the sizes: the blob may be one that was here before, and
	// has a gap left for it.
	patient bool
	// algorithm is the compression of the bytes written.
	algorithm compression.Algorithm
	examined  *examination // of the bytes written
}

// Write implements io.Writer. It leaves hashing to the caller.
func (b *blobWriter) Write(p []byte) (int, error) {
	b.expect()
	if err := b.blob.Write(b.ctx, p); err != nil {
		return 0, err
	}
	b.size += int64(len(p))
	return b.examined.Write(p)
}

// expect says how large the blob may become, if that is known now.
func (b *blobWriter) expect() {
	if b.sizes == nil {
		return
	}
	size, known := int64(0), true
	if b.patient {
		select {
		case size, known = <-b.sizes:
		case <-b.ctx.Done():
		}
	} else {
		select {
		case size, known = <-b.sizes:
		default:
		}
	}
	if size > 0 {
		b.blob.Expect(size)
	}
	if !known {
		b.sizes = nil
	}
}

// copy writes the input decompressed. It calls cancel if it fails, so that nobody
// waits for data that will not come.
func (b *blobWriter) copy(in *blobInput, algorithm compression.Algorithm, cancel func()) error {
	if algorithm == compression.None {
		w := io.Writer(b)
		if b.hash != nil {
			w = io.MultiWriter(b.hash, b)
		}
		_, err := in.WriteTo(w)
		return err
	}
	uncompressed, err := b.unpack(in, algorithm)
	if err != nil {
		return err
	}
	defer uncompressed.Close()
	behind := async.NewWriter(b.hash, b)
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
	header, err := b.header(b.digest, b.size)
	if err != nil {
		return nil, err
	}
	finish := func() (*tarfile.Entry, error) { return b.blob.Finish(b.ctx, header) }
	if b.blob.Sent() { // Too late to leave it out, even if the same blob has arrived meanwhile.
		entry, err := finish()
		if err != nil {
			return nil, err
		}
		finish = func() (*tarfile.Entry, error) { return entry, nil }
	}
	return blobs.add(b.ctx, storedBlob{digest: b.digest, size: b.size, algorithm: b.algorithm, content: b.examined.content()}, finish)
}
