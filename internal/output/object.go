package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/naming"
)

// Object writes an archive in an object store from start to end. Commit makes it appear at its
// address, whole or not at all. Commit or Abort must be called once. Abort may be called during
// a Write, which then fails.
type Object interface {
	io.Writer
	// WriteFrom is Write of bytes that a file, opened by input.Open, has at an offset. If Copies is
	// set, and the file is the object that is replaced, the store may copy them.
	WriteFrom(p []byte, file io.ReaderAt, off int64) (int, error)
	// Expect says how many bytes, at least, will be written. It is a hint, given before the
	// first Write.
	Expect(size int64)
	Commit(ctx context.Context) error
	Abort() error
}

// ChangedObject writes the next version of an existing object. It replaces only the version that
// was read: if there is another one by then, the error is ErrChanged.
type ChangedObject interface {
	Object
	// ReaderAt reads the existing object.
	io.ReaderAt
	// Size returns the size of the existing object in bytes.
	Size() int64
	// Keep makes the next version begin with the first n bytes of the existing object. The
	// store copies them. It is called at most once, before the first Write.
	Keep(n int64) error
}

// RemoteOptions say how archives are written to object stores.
type RemoteOptions struct {
	// Force replaces an object that exists when the writing begins.
	Force bool
	// Copies says that much of the new object is likely to be in the old one.
	Copies bool
	// Unconditional allows stores that ignore the conditions of completions.
	Unconditional bool
	// Resume keeps the sent parts after a failure, and continues such an upload.
	Resume bool
	// AbortUpload is the ID of an unfinished upload of the same object to abort first.
	AbortUpload string
	// CertDir, SkipVerify and UserAgent are those of input.Access.
	CertDir    string
	SkipVerify bool
	UserAgent  string
}

type remoteKey struct{}

// WithRemote returns a context with changed options for Create and the other functions.
func WithRemote(ctx context.Context, set func(*RemoteOptions)) context.Context {
	o := remoteOptions(ctx)
	set(&o)
	return context.WithValue(ctx, remoteKey{}, o)
}

func remoteOptions(ctx context.Context) RemoteOptions {
	o, _ := ctx.Value(remoteKey{}).(RemoteOptions)
	return o
}

// Scheme writes archives at the addresses of one scheme.
type Scheme struct {
	// Create begins an object. The error is ErrNotEmpty if the object exists and may not be
	// replaced.
	Create func(ctx context.Context, address string, o RemoteOptions) (Object, error)
	// Open begins the next version of an object.
	Open func(ctx context.Context, address string, o RemoteOptions) (ChangedObject, error)
}

var registered struct {
	sync.Mutex
	schemes map[string]Scheme
}

// Register makes a scheme known, as input.Register does.
func Register(name string, s Scheme) {
	registered.Lock()
	defer registered.Unlock()
	if registered.schemes == nil {
		registered.schemes = map[string]Scheme{}
	}
	registered.schemes[name] = s
}

// ErrRemote is returned, wrapped, for an address that cannot be written.
var ErrRemote = errors.New("writing archives there is not supported")

// IsRemote reports whether a path is an address.
func IsRemote(path string) bool {
	_, ok := naming.Scheme(path)
	return ok
}

// schemeOf returns the scheme of an address. ok is false for a path of this machine.
func schemeOf(path string) (s Scheme, ok bool, err error) {
	name, ok := naming.Scheme(path)
	if !ok {
		return Scheme{}, false, nil
	}
	registered.Lock()
	defer registered.Unlock()
	s, known := registered.schemes[name]
	switch {
	case known:
		return s, true, nil
	case name == "s3":
		return Scheme{}, true, fmt.Errorf("%w: this program does not import the package store/%s", ErrRemote, name)
	}
	return Scheme{}, true, fmt.Errorf("%w (%s://)", ErrRemote, name)
}

// remote is an Output in an object store.
type remote struct {
	path   string
	object Object
	old    ChangedObject // the same as object if an existing one is changed, else nil

	grow    func() error // at the first write; nil if there is nothing to do
	written bool
	err     error // of a Write: what follows would not be the archive
}

// createRemote is Create for an address.
func createRemote(ctx context.Context, s Scheme, path string, o RemoteOptions) (*Output, error) {
	object, err := s.Create(ctx, path, o)
	if err != nil {
		return nil, err
	}
	return (&remote{path: path, object: object}).output(), nil
}

// openRemote is Open for an address.
func openRemote(ctx context.Context, s Scheme, path string) (*Output, error) {
	object, err := s.Open(ctx, path, remoteOptions(ctx))
	if err != nil {
		return nil, err
	}
	return (&remote{path: path, object: object, old: object}).output(), nil
}

func (r *remote) output() *Output {
	return &Output{
		path: r.path, writer: r, stream: true, appears: true, remote: r,
		finish: r.commit, undo: r.object.Abort,
	}
}

func (r *remote) commit(ctx context.Context) error {
	var err error
	switch {
	case r.err != nil:
		err = errors.Join(r.err, r.object.Abort())
	case r.old != nil && !r.written: // Nothing changes.
		return r.object.Abort()
	default:
		err = r.object.Commit(ctx)
	}
	if errors.Is(err, ErrChanged) {
		err = &changedError{err}
	}
	return err
}

// changedError is an error that passes: another attempt adds to the new version.
type changedError struct{ error }

// Unwrap returns the error.
func (e *changedError) Unwrap() error { return e.error }

// RetryAfter says that there is no need to wait.
func (e *changedError) RetryAfter() time.Duration { return 0 }

// Write implements io.Writer.
func (r *remote) Write(p []byte) (int, error) { return r.write(p, r.object.Write) }

// WriteFrom implements tarfile.Copier.
func (r *remote) WriteFrom(p []byte, file io.ReaderAt, off int64) (int, error) {
	return r.write(p, func(p []byte) (int, error) { return r.object.WriteFrom(p, file, off) })
}

func (r *remote) write(p []byte, write func([]byte) (int, error)) (n int, err error) {
	if r.err != nil {
		return 0, r.err
	}
	if grow := r.grow; grow != nil {
		r.grow = nil
		err = grow()
	}
	if err == nil {
		r.written = true
		n, err = write(p)
	}
	if err != nil {
		r.err = &Error{Op: "write", Path: r.path, Err: err}
	}
	return n, r.err
}

// Remote reports whether the output is in an object store.
func (o *Output) Remote() bool { return o.remote != nil }

// Expect says how many bytes will be written, at least, if that is known.
func (o *Output) Expect(size int64) {
	if o.remote != nil {
		o.remote.object.Expect(size)
	}
}

// Grow makes the next version of an opened archive in an object store begin with its bytes
// before the offset from, except that block, of 512 bytes, replaces those at the offset at. The
// bytes that are written follow. Nothing is sent before the first Write.
func (o *Output) Grow(block []byte, at, from int64) {
	r := o.remote
	r.grow = func() error {
		if err := r.old.Keep(at); err != nil {
			return err
		}
		if _, err := r.object.Write(block); err != nil {
			return err
		}
		at += int64(len(block))
		kept := min(from, r.old.Size())
		if _, err := io.Copy(r.object, io.NewSectionReader(r.old, at, kept-at)); err != nil {
			return err
		}
		_, err := r.object.Write(make([]byte, from-kept)) // Padding up to a whole block.
		return err
	}
}
