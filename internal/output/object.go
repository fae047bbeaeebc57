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

// Object is an archive in an object store that is written from its start to its end. It
// appears at its address when it is committed, whole, or not at all. Commit or Abort must
// be called once; Abort may be called while something is written, which then fails.
type Object interface {
	io.Writer
	// Expect says how many bytes will come, at least. It is a hint, given before anything is
	// written.
	Expect(size int64)
	Commit(ctx context.Context) error
	Abort() error
}

// ChangedObject is the next version of an object that is there. It takes the place of the one
// that was read, and of no other: else the error is ErrChanged.
type ChangedObject interface {
	Object
	// ReaderAt reads the object that is there.
	io.ReaderAt
	// Size returns how many bytes that has.
	Size() int64
	// Keep has the next version begin with the first n bytes of the object that is there. The
	// store copies them. It is called at most once, before anything is written.
	Keep(n int64) error
}

// RemoteOptions are how archives are written to object stores.
type RemoteOptions struct {
	// Force has an object replaced that is there when the writing begins.
	Force bool
	// Unconditional allows stores that complete an upload without looking at its conditions.
	Unconditional bool
	// Resume keeps the parts that have been sent after a failure, and goes on with them.
	Resume bool
	// AbortUpload is an unfinished upload of the same object that is given up first.
	AbortUpload string
}

type remoteKey struct{}

// WithRemote returns a context for Create and the other functions with other options.
func WithRemote(ctx context.Context, set func(*RemoteOptions)) context.Context {
	o := remoteOptions(ctx)
	set(&o)
	return context.WithValue(ctx, remoteKey{}, o)
}

func remoteOptions(ctx context.Context) RemoteOptions {
	o, _ := ctx.Value(remoteKey{}).(RemoteOptions)
	return o
}

// Scheme writes archives that are elsewhere.
type Scheme struct {
	// Create begins an object. Its error is ErrNotEmpty for one that is there, unless that may
	// be replaced.
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

// ErrRemote is returned, wrapped, for an address of a kind that is only read.
var ErrRemote = errors.New("writing archives there is not supported")

// IsRemote reports whether a path is the address of something that is elsewhere.
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
	old    ChangedObject // the same object if there is one that is changed, else nil

	grow    func() error // at the first write; nil if there is nothing to do
	written bool
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
	if r.old != nil && !r.written {
		return r.object.Abort() // Nothing changes.
	}
	err := r.object.Commit(ctx)
	if errors.Is(err, ErrChanged) {
		err = &changedError{err}
	}
	return err
}

// changedError is an error that passes: whoever does it all once more adds to the new version.
type changedError struct{ error }

// Unwrap returns the error.
func (e *changedError) Unwrap() error { return e.error }

// RetryAfter says that there is no need to wait.
func (e *changedError) RetryAfter() time.Duration { return 0 }

// Write implements io.Writer.
func (r *remote) Write(p []byte) (int, error) {
	if grow := r.grow; grow != nil {
		r.grow = nil
		if err := grow(); err != nil {
			return 0, &Error{Op: "write", Path: r.path, Err: err}
		}
	}
	r.written = true
	n, err := r.object.Write(p)
	if err != nil {
		err = &Error{Op: "write", Path: r.path, Err: err}
	}
	return n, err
}

// Remote reports whether the output is in an object store.
func (o *Output) Remote() bool { return o.remote != nil }

// Expect says how many bytes will be written, at least, if that is known.
func (o *Output) Expect(size int64) {
	if o.remote != nil {
		o.remote.object.Expect(size)
	}
}

// Grow has an opened archive in an object store begin with the bytes that it has before the
// offset from, but for a block at another offset, of 512 bytes. The bytes that are written
// follow. Nothing is sent before they come.
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
