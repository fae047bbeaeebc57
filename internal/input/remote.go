package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Access is how a server is asked for something.
type Access struct {
	// Username and Password are for the server; without a user name none are sent.
	Username, Password string
	// CertDir has certificates: *.crt of authorities to trust, and *.cert with *.key for this client.
	CertDir string
	// SkipVerify has no certificate verified.
	SkipVerify bool
	// UserAgent is what the client calls itself; "" is the library's own name.
	UserAgent string
	// Retries is how often, at most, a request that fails for a passing reason is repeated; 0 means 5 times.
	Retries int
}

// Remote is something elsewhere that is read by ranges. It may be read concurrently.
type Remote interface {
	io.ReaderAt
	io.Closer
	// Size returns how many bytes it has.
	Size() int64
}

// Store is a server or a bucket. It looks up and opens files with the same connections and credentials for as long
// as a program runs. Its methods, except Close, may be called concurrently.
type Store interface {
	// Stat describes the file at an address. The error wraps fs.ErrNotExist if there is none.
	Stat(ctx context.Context, address string) (Info, error)
	// List describes all files below an address, ordered by their addresses. The error wraps errors.ErrUnsupported
	// if the server has no lists.
	List(ctx context.Context, address string) ([]Info, error)
	// Open opens a file, as Scheme.Open does.
	Open(ctx context.Context, address string) (Remote, error)
	// Close ends the connections. All files must be closed before.
	Close()
}

// Info describes a file that is elsewhere.
type Info struct {
	Address string
	Size    int64  // in bytes; -1 if that is not known
	Version string // differs if the content differs, as far as the server tells
}

// Stream is returned, as an error, by a Scheme for a file that cannot be read by ranges.
type Stream struct {
	Body io.ReadCloser
	// Reason says why.
	Reason string
}

// Error says why it is a stream.
func (s *Stream) Error() string { return s.Reason }

// Scheme opens files that are elsewhere. A file that it returns ends with ctx, the reader's.
type Scheme struct {
	Open func(ctx context.Context, address string, access Access) (Remote, error)
	// Store returns the store of an address.
	Store func(ctx context.Context, address string, access Access) (Store, error)
	// Copied, if not nil, is told that something has been copied because it cannot be read by ranges.
	Copied func(address, reason string)
}

var registered struct {
	sync.Mutex
	schemes map[string]Scheme
}

// Register makes a scheme known to Open. Programs import the packages that do, as they do
// drivers of database/sql, so that only programs that want a scheme link it.
func Register(name string, s Scheme) {
	registered.Lock()
	defer registered.Unlock()
	if registered.schemes == nil {
		registered.schemes = map[string]Scheme{}
	}
	registered.schemes[name] = s
}

// schemeOf returns the scheme of an address.
func schemeOf(name, address string) (Scheme, error) {
	registered.Lock()
	defer registered.Unlock()
	scheme, ok := registered.schemes[name]
	if !ok {
		return Scheme{}, fmt.Errorf("opening %s: this program does not read %s:// (it does not import the package store/%s)", address, name, name)
	}
	return scheme, nil
}

// OpenStore returns the store of an address with the scheme name. The caller must close it.
func OpenStore(ctx context.Context, name, address string, access Access) (Store, error) {
	scheme, err := schemeOf(name, address)
	if err != nil {
		return nil, err
	}
	store, err := scheme.Store(ctx, address, access)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", address, err)
	}
	return store, nil
}

func openRemote(ctx context.Context, name, address string, o Options) (*File, error) {
	scheme, err := schemeOf(name, address)
	if err != nil {
		return nil, err
	}
	remote, err := scheme.Open(ctx, address, o.Access)
	var stream *Stream
	if errors.As(err, &stream) {
		file, err := spooled(ctx, stream.Body, o)
		if err := errors.Join(err, stream.Body.Close()); err != nil {
			return nil, fmt.Errorf("reading %s: %w", address, err)
		}
		scheme.tell(address, stream.Reason)
		return file, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", address, err)
	}
	section := io.NewSectionReader(remote, 0, remote.Size())
	compressed, err := isCompressed(section)
	if err == nil {
		err = refusePart(address, section)
	}
	if err == nil && !compressed {
		return &File{SectionReader: section, close: remote.Close}, nil
	}
	var file *File
	if err == nil {
		if file, err = spooled(ctx, section, o); err == nil {
			scheme.tell(address, "it is compressed")
		}
	}
	if err := errors.Join(err, remote.Close()); err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return nil, fmt.Errorf("reading %s: %w", address, err)
	}
	return file, nil
}

func (s Scheme) tell(address, reason string) {
	if s.Copied != nil {
		s.Copied(address, reason)
	}
}
