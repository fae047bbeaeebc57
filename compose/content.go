package compose

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Tar returns the content of a tar file, compressed or not. It is opened when it is
// needed.
func Tar(path string) Content { return tarFile(path) }

type tarFile string

// Name implements Content.
func (f tarFile) Name() string { return string(f) }

// Open implements Content.
func (f tarFile) Open(context.Context) (io.ReadCloser, error) {
	file, err := os.Open(string(f))
	if err != nil { // Not a nil *os.File in an interface.
		return nil, err
	}
	return file, nil
}

// Stream returns the content of a tar, compressed or not, that can be read only once:
// an image with it can be made once. It is not closed. name is what errors call it.
func Stream(name string, r io.Reader) Content { return &stream{name: name, r: r} }

type stream struct {
	name   string
	r      io.Reader
	opened atomic.Bool
}

// Name implements Content.
func (s *stream) Name() string { return s.name }

// Open implements Content.
func (s *stream) Open(context.Context) (io.ReadCloser, error) {
	if s.opened.Swap(true) {
		return nil, fmt.Errorf("%s can be read only once", s.name)
	}
	return io.NopCloser(s.r), nil
}

// Rewriting is what becomes of each file of a layer. The zero Rewriting only clears
// the names of users and groups, which mean nothing on another machine. Its functions
// must return the same for the same, and may be called concurrently if images are made
// concurrently.
type Rewriting struct {
	// SetTime, unless it is zero, replaces all times, cut to seconds.
	SetTime time.Time
	// MaxTime, unless it is zero, replaces all later times, cut to seconds.
	MaxTime time.Time
	// Owner, unless nil, returns the owner for an owner. SetOwner and MapOwner return
	// such functions.
	Owner func(uid, gid int) (newUID, newGID int, err error)
	// Mode, unless nil, returns the mode for an entry: permissions, setuid (04000),
	// setgid (02000), sticky (01000). It is not asked about symbolic links.
	Mode func(h *tar.Header) int64
	// StripSetID takes setuid and setgid away.
	StripSetID bool
	// StripXattrs takes extended attributes away.
	StripXattrs bool
}

// SetOwner returns a function for Rewriting.Owner that gives everything to one owner.
func SetOwner(uid, gid int) func(int, int) (int, int, error) {
	return func(int, int) (int, int, error) { return uid, gid, nil }
}

// IDRange says that Size IDs from From are IDs from To, as a line of a user
// namespace's map does.
type IDRange struct{ From, To, Size int }

// MapOwner returns a function for Rewriting.Owner that looks the IDs up. No ranges
// leave them as they are; an ID that is in none of the ranges is an error.
func MapOwner(uids, gids []IDRange) func(int, int) (int, int, error) {
	return func(uid, gid int) (int, int, error) {
		u, ok := lookup(uids, uid)
		if !ok {
			return 0, 0, fmt.Errorf("the user %d is not mapped", uid)
		}
		g, ok := lookup(gids, gid)
		if !ok {
			return 0, 0, fmt.Errorf("the group %d is not mapped", gid)
		}
		return u, g, nil
	}
}

func lookup(ranges []IDRange, id int) (int, bool) {
	for _, r := range ranges {
		if id >= r.From && id-r.From < r.Size {
			return r.To + id - r.From, true
		}
	}
	return id, len(ranges) == 0
}

// Filter returns content with its files rewritten. It is not compressed, whether the
// original is or not. Entries keep their order; sparse files are filled, as the
// specification of layers knows none. A tar that is damaged is an errdef.ErrDamaged.
func Filter(content Content, rewriting Rewriting) Content {
	return &filtered{content, layertar.Rewriting(rewriting)}
}

type filtered struct {
	Content
	rewriting layertar.Rewriting
}

// Open implements Content.
func (f *filtered) Open(ctx context.Context) (io.ReadCloser, error) { return f.openOn(ctx, nil) }

func (f *filtered) openOn(ctx context.Context, lower *files.Tree) (io.ReadCloser, error) {
	unpacked, err := openUnpacked(ctx, f.Content, lower)
	if err != nil {
		return nil, err
	}
	return piped(ctx, func(ctx context.Context, w io.Writer) error {
		defer unpacked.Close() //nolint:errcheck // It was only read.
		return layertar.Filter(ctx, w, unpacked, &f.rewriting)
	}), nil
}

// open opens content, which may be packed with regard to what is below.
func open(ctx context.Context, content Content, lower *files.Tree) (io.ReadCloser, error) {
	if c, ok := content.(interface {
		openOn(ctx context.Context, lower *files.Tree) (io.ReadCloser, error)
	}); ok {
		return c.openOn(ctx, lower)
	}
	return content.Open(ctx)
}

// openUnpacked opens content, and decompresses it.
func openUnpacked(ctx context.Context, content Content, lower *files.Tree) (io.ReadCloser, error) {
	stream, err := open(ctx, content, lower)
	if err != nil {
		return nil, err
	}
	return unpack(ctx, stream)
}

// unpack decompresses a stream, however it is compressed. The stream is closed with
// what is returned, or at an error.
func unpack(ctx context.Context, stream io.ReadCloser) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	ahead := async.NewReadCloser(ctx, stream)
	u := &unpacked{ahead: ahead, cancel: cancel}
	prefix, err := ahead.Peek(compression.PrefixLen)
	if err == nil {
		u.ReadCloser, err = decompress(ahead, compression.Detect(prefix))
	}
	if err != nil {
		cancel()
		_ = ahead.Close() // It was only read.
		return nil, err
	}
	return u, nil
}

// unpacked is a stream that is decompressed.
type unpacked struct {
	io.ReadCloser
	ahead  *async.Reader
	cancel context.CancelFunc
	ended  bool
}

// Read reads on behind the end of the compressed stream, so that a verifying reader
// gets to its verdict.
func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err == io.EOF && !u.ended {
		u.ended = true
		if _, rest := io.Copy(io.Discard, u.ahead); rest != nil {
			err = rest
		}
	}
	return n, err
}

// Close closes both streams.
func (u *unpacked) Close() error {
	u.cancel() // Nobody waits for what is not wanted.
	err := u.ReadCloser.Close()
	_ = u.ahead.Close() // It was only read, or it has been cancelled.
	return err
}

// piped returns what a function writes. Closing it ends the function's context, and
// waits for it.
func piped(ctx context.Context, write func(ctx context.Context, w io.Writer) error) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(write(ctx, w)) // nil makes it io.EOF.
	}()
	return &pipe{r, func() {
		cancel()
		r.CloseWithError(io.ErrClosedPipe)
		<-done
	}}
}

type pipe struct {
	io.Reader
	stop func()
}

// Close ends the writing function.
func (p *pipe) Close() error {
	p.stop()
	return nil
}
