package files

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/spool"
)

// Source is where a layer comes from.
type Source struct {
	// Name is what errors call the layer.
	Name string
	// Digest is that of the bytes that At or Open return, DiffID that of the layer when it
	// is unpacked. A layer that is read as a whole is verified against one of them: a
	// compressed one against Digest, unless that is empty, as that is less to hash. Either may
	// be empty.
	Digest, DiffID digest.Digest
	// At returns the layer as it is stored, compressed or not, for reading anywhere and
	// concurrently; nil if it cannot. Trees may share an io.SectionReader: see Shared.
	At func(ctx context.Context) (io.ReaderAt, int64, error)
	// Open returns the layer as it is stored. It is for a Source without At. It is called
	// once, and the layer kept in a temporary file, unless Again says that it may be called
	// for each reading.
	Open  func(ctx context.Context) (io.ReadCloser, error)
	Again bool
	// Size is how many bytes At or Open return, or 0. It is a hint, but for a Source that is
	// opened again.
	Size int64
	// Outside, unless nil, is told each entry, and changes one that leads out of the root, as
	// "../x" does. Without it such an entry is an error.
	Outside func(h *tar.Header)
}

// stored is a layer as it is stored. A source that cannot be read twice is kept in a temporary
// file.
type stored struct {
	*Source
	tempDir     string
	maxUnpacked int64

	mutex     sync.Mutex
	at        io.ReaderAt // nil of what is opened again
	size      int64
	algorithm compression.Algorithm
	temporary *local.File
	opened    *opened // to read from the start, nil after that
}

// opened is a layer that has been opened, with nothing read yet.
type opened struct {
	*bufio.Reader
	io.Closer
}

// open finds out where the layer is. It is called before the other methods.
func (s *stored) open(ctx context.Context) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.at != nil || s.size > 0 {
		return nil
	}
	for _, d := range []digest.Digest{s.Digest, s.DiffID} {
		if d == "" {
			continue
		}
		if err := d.Validate(); err != nil {
			return errdef.Errorf(errdef.ErrDamaged, "%q is no digest: %w", d, err)
		}
	}
	if s.At == nil && s.Again {
		return s.openAgain(ctx)
	}
	at, size, err := s.find(ctx)
	if err != nil {
		return err
	}
	prefix := make([]byte, min(compression.PrefixLen, size))
	if _, err := at.ReadAt(prefix, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.at, s.size, s.algorithm = at, size, compression.Detect(prefix)
	return nil
}

// openAgain opens the layer and looks how it is compressed.
func (s *stored) openAgain(ctx context.Context) error {
	stream, err := s.Open(ctx)
	if err != nil {
		return err
	}
	o := &opened{bufio.NewReader(async.WithContext(ctx, stream)), stream}
	prefix, err := o.Peek(compression.PrefixLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return errors.Join(err, o.Close())
	}
	s.opened, s.size, s.algorithm = o, max(s.Size, 1), compression.Detect(prefix)
	return nil
}

// stream returns the layer from its start.
func (s *stored) stream(ctx context.Context) (io.ReadCloser, error) {
	if s.at != nil {
		return io.NopCloser(async.WithContext(ctx, io.NewSectionReader(s.at, 0, s.size))), nil
	}
	s.mutex.Lock()
	o := s.opened
	s.opened = nil
	s.mutex.Unlock()
	if o != nil {
		return o, nil
	}
	stream, err := s.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &opened{bufio.NewReader(async.WithContext(ctx, stream)), stream}, nil
}

func (s *stored) find(ctx context.Context) (io.ReaderAt, int64, error) {
	if s.At != nil {
		return s.At(ctx)
	}
	stream, err := s.Open(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer stream.Close() //nolint:errcheck // It was only read.
	s.temporary, err = spool.Create(spool.Dir(s.tempDir))
	if err != nil {
		return nil, 0, err
	}
	size, err := io.Copy(s.temporary, async.WithContext(ctx, stream))
	if err != nil {
		err = errors.Join(err, s.temporary.Close())
		s.temporary = nil
		return nil, 0, err
	}
	return s.temporary, size, nil
}

// close frees the temporary file.
func (s *stored) close() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.opened != nil {
		o := s.opened
		s.opened = nil
		return o.Close()
	}
	if s.temporary == nil {
		return nil
	}
	s.at = nil
	err := s.temporary.Close()
	s.temporary = nil
	return err
}

// maxRatio is against bombs: a layer of any size may unpack to Options.MaxUnpacked bytes, or
// to so many times its size.
const maxRatio = 100

// wanted returns the digest that the whole layer is verified against, and whether that is
// the one of its tar. It is empty if nothing is known of the layer.
func (s *stored) wanted() (d digest.Digest, unpacked bool) {
	if s.Digest != "" && (s.algorithm != compression.None || s.DiffID == "") {
		return s.Digest, false
	}
	return s.DiffID, s.DiffID != ""
}

// unpack returns the layer's tar. Its end is an error if the tar has wrong content or is too
// large. It need not be verified if it has been, unless it is opened again. Closing it stops
// what reads ahead.
func (s *stored) unpack(ctx context.Context, verify bool, decompress func(io.Reader) (io.ReadCloser, error)) (io.ReadCloser, error) {
	opened, err := s.stream(ctx)
	if err != nil {
		return nil, err
	}
	u := &unpacked{most: max(s.maxUnpacked, s.size*maxRatio)}
	if s.algorithm == compression.None && s.at != nil {
		u.most = s.size
	}
	u.left = u.most
	if verify || s.at == nil {
		u.want, u.hashes = s.wanted()
	}
	if u.want != "" {
		u.digester = u.want.Algorithm().Digester()
	}
	if u.want != "" && !u.hashes { // Decompressing takes one core already.
		opened = async.NewReadCloser(ctx, hashed{io.TeeReader(opened, u.digester.Hash()), opened})
	}
	source := &remembering{r: opened}
	u.stored, u.source = opened, source
	if u.ReadCloser, err = decompress(source); err != nil {
		return nil, errors.Join(source.explain(err), opened.Close())
	}
	return async.NewReadCloser(ctx, u), nil
}

// hashed is a layer that is hashed as it is read.
type hashed struct {
	io.Reader
	io.Closer
}

// decompress undoes the compression of the layer.
func (s *stored) decompress(r io.Reader) (io.ReadCloser, error) {
	return compression.NewReader(r, s.algorithm)
}

// remembering remembers whether the layer could be read.
type remembering struct {
	r   io.Reader
	err error // other than io.EOF
}

// Read implements io.Reader.
func (s *remembering) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// explain makes an error of decompressing one of a damaged layer, unless it is one of
// reading it.
func (s *remembering) explain(err error) error {
	if err == nil || err == io.EOF || s.err != nil {
		return err
	}
	return errdef.Errorf(errdef.ErrDamaged, "%w", err)
}

// unpacked is a layer's tar that is verified as it is read.
type unpacked struct {
	io.ReadCloser
	stored   io.Closer // what is decompressed
	source   *remembering
	want     digest.Digest
	digester digest.Digester // nil if nothing is known of the layer
	hashes   bool            // the tar, and not what is stored
	most     int64           // bytes that it may have
	left     int64           // of these
}

// Close closes what is decompressed, too. It was only read.
func (u *unpacked) Close() error {
	err := u.ReadCloser.Close()
	_ = u.stored.Close()
	return err
}

// Read implements io.Reader.
func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if u.hashes {
		u.digester.Hash().Write(p[:n]) // Never fails.
	}
	if u.left -= int64(n); u.left < 0 {
		return 0, fmt.Errorf("it unpacks to more than %d bytes: %w", u.most, errdef.ErrLimit)
	}
	if err == io.EOF && !u.hashes && u.digester != nil {
		if _, err := io.Copy(io.Discard, u.source); err != nil { // Bytes behind the compressed stream are hashed too.
			return n, err
		}
	}
	if err == io.EOF && u.digester != nil && u.digester.Digest() != u.want {
		return n, &errdef.MismatchError{Name: "its content", Want: u.want, Got: u.digester.Digest()}
	}
	return n, u.source.explain(err)
}
