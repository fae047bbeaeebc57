package serving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
	"github.com/dockerarchive/dockerarchive/internal/webclient"
)

const (
	// storeInterval is how often Watch checks a store: each check takes at least one request.
	storeInterval = 10 * time.Second
	// askedInterval is how often, at most, a store is checked because clients want something unknown.
	askedInterval = time.Second
	// lookPatience is how long a check may take while archives are served.
	lookPatience = 30 * time.Second
	// askedPatience is how long a client waits for a check.
	askedPatience = 10 * time.Second
	// storeRetries is how often a request to a store is repeated: for a minute and a half.
	storeRetries = 7
)

// stores are the stores of all addresses that are served.
type stores struct {
	access archive.Access
	meter  *webclient.Meter

	mu     sync.Mutex
	opened map[string]input.Store // by the scheme and the host or bucket
}

func newStores(access archive.Access) *stores {
	if access.Retries == 0 {
		access.Retries = storeRetries
	}
	return &stores{access: access, meter: &webclient.Meter{}, opened: map[string]input.Store{}}
}

// of returns the store of an address.
func (s *stores) of(ctx context.Context, scheme, address string) (input.Store, error) {
	host, _, _ := strings.Cut(address[len(scheme)+len("://"):], "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	key := scheme + "://" + host
	if store := s.opened[key]; store != nil {
		return store, nil
	}
	store, err := input.OpenStore(ctx, scheme, address, s.access)
	if err == nil {
		s.opened[key] = store
	}
	return store, err
}

func (s *stores) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, store := range s.opened {
		store.Close()
	}
}

// location is an address that is served. Server.refreshing guards all fields but failed.
type location struct {
	address string
	scheme  string
	folder  bool // whether it was a folder at the last check
	looked  time.Time
	found   []file
	failed  string // why the last check failed, or ""; guarded by Server.mu
}

func (s *Server) addLocations() {
	for _, p := range s.paths {
		if scheme, ok := naming.Scheme(p); ok {
			s.locations = append(s.locations, &location{address: p, scheme: scheme})
		}
	}
}

// locationOf returns the location of an address, nil for a local path.
func (s *Server) locationOf(path string) *location {
	i := slices.IndexFunc(s.locations, func(l *location) bool { return l.address == path })
	if i < 0 {
		return nil
	}
	return s.locations[i]
}

// lookAll checks all addresses side by side, and returns the errors.
func (s *Server) lookAll(ctx context.Context, age time.Duration, strict bool) map[*location]error {
	failed := make([]error, len(s.locations))
	var looks sync.WaitGroup
	for n, l := range s.locations {
		looks.Go(func() { failed[n] = s.lookAt(ctx, l, age, strict) })
	}
	looks.Wait()
	all := map[*location]error{}
	for n, l := range s.locations {
		all[l] = failed[n]
	}
	return all
}

// lookAt finds the archives of an address, unless it has done so at most age ago. If it fails, the archives stay those
// of the last successful check, and only a Server that starts reports the error. A check does not end with the client
// that wants it: others want it, too, and clients that leave at once would cause any number of checks.
func (s *Server) lookAt(ctx context.Context, l *location, age time.Duration, strict bool) error {
	s.mu.Lock()
	if age > 0 && l.failed != "" {
		age = storeInterval // Clients need not find out again and again.
	}
	s.mu.Unlock()
	if !strict && time.Since(l.looked) < age {
		return nil
	}
	if !strict {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lookPatience)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
	}
	found, err := s.look(webclient.WithMeter(ctx, s.stores.meter), l)
	l.looked = time.Now()
	if errors.Is(err, context.Canceled) { // The Server is being closed.
		return err
	}
	said := ""
	if err != nil {
		said = printable.Error(err)
	} else {
		l.found = found
	}
	s.mu.Lock()
	before := l.failed
	l.failed = said
	s.mu.Unlock()
	switch {
	case said != "" && said != before:
		s.options.Log.Warn("store cannot be read", "path", printable.String(l.address), "error", said, "archives still served as they were", len(l.found))
	case said == "" && before != "":
		s.options.Log.Info("store can be read again", "path", printable.String(l.address))
	}
	return err
}

// look asks a store for the archives of an address.
func (s *Server) look(ctx context.Context, l *location) ([]file, error) {
	store, err := s.stores.of(ctx, l.scheme, l.address)
	if err != nil {
		return nil, err
	}
	var missing error
	if !l.folder {
		info, err := store.Stat(ctx, l.address)
		if err == nil {
			return []file{{path: l.address, stamp: stamp{version: info.Version}, named: true}}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing = err
	}
	infos, err := store.List(ctx, l.address)
	switch {
	case errors.Is(err, errors.ErrUnsupported) && len(l.found) > 0: // The file is gone.
		return nil, nil
	case errors.Is(err, errors.ErrUnsupported):
		return nil, missing
	case err != nil:
		return nil, err
	case len(infos) == 0 && len(l.found) == 0 && tarName().MatchString(path.Base(l.address)):
		return nil, missing // The name is that of an archive, not of a folder.
	}
	l.folder = len(infos) > 0
	var files []file
	for _, info := range infos {
		if tarName().MatchString(path.Base(info.Address)) {
			files = append(files, file{path: info.Address, stamp: stamp{version: info.Version}})
		}
	}
	return files, nil
}

// stampOf describes the file at a path or an address.
func (s *stores) stampOf(ctx context.Context, path string) (stamp, error) {
	scheme, ok := naming.Scheme(path)
	if !ok {
		return stampOf(path)
	}
	store, err := s.of(ctx, scheme, path)
	if err != nil {
		return stamp{}, err
	}
	info, err := store.Stat(webclient.WithMeter(ctx, s.meter), path)
	return stamp{version: info.Version}, err
}

// openArchive opens the archive at a path or an address. It can be read until it is closed, even after ctx has ended.
func (s *stores) openArchive(ctx context.Context, opener archive.Opener, path string) (*archiveFile, error) {
	scheme, ok := naming.Scheme(path)
	if !ok {
		a, err := opener.Open(ctx, path)
		if err != nil {
			return nil, err
		}
		return &archiveFile{Archive: a}, nil
	}
	store, err := s.of(ctx, scheme, path)
	if err != nil {
		return nil, err
	}
	// Other requests read it after the request that opens it has ended.
	reading, end := context.WithCancel(webclient.WithMeter(context.WithoutCancel(ctx), s.meter))
	ended := context.AfterFunc(ctx, end)
	a, err := openRemote(ctx, reading, opener, store, path)
	if !ended() && err == nil { // Nothing more can be read from it.
		err = errors.Join(context.Cause(ctx), a.Close())
	}
	if err != nil {
		end()
		return nil, err
	}
	return a, nil
}

// openRemote opens an archive of a store, which is read until reading ends.
func openRemote(ctx, reading context.Context, opener archive.Opener, store input.Store, path string) (*archiveFile, error) {
	remote, err := store.Open(reading, path)
	var stream *input.Stream
	if errors.As(err, &stream) {
		a, err := opener.Read(ctx, stream.Body)
		if err := errors.Join(err, stream.Body.Close()); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		return &archiveFile{Archive: a}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	a, err := opener.New(ctx, remote, remote.Size())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, errors.Join(err, remote.Close()))
	}
	return &archiveFile{Archive: a, remote: remote}, nil
}

// archiveFile is an open archive with its source.
type archiveFile struct {
	*archive.Archive
	remote io.Closer // nil if the source is a local file
}

// Close closes both.
func (a *archiveFile) Close() error {
	err := a.Archive.Close()
	if a.remote != nil {
		err = errors.Join(err, a.remote.Close())
	}
	return err
}

// storeError is an error of reading from a store. It may pass.
type storeError struct {
	path string
	err  error
}

// Error names the archive.
func (e *storeError) Error() string { return fmt.Sprintf("reading %s: %v", e.path, e.err) }

// Unwrap returns the cause.
func (e *storeError) Unwrap() error { return e.err }

// explain classifies an error of reading the archive: a storeError may pass, ErrReplaced needs the new archive.
func (o *opened) explain(err error) error {
	var known *storeError
	switch {
	case err == nil || !o.elsewhere() || errors.As(err, &known) || errors.Is(err, ErrReplaced) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, ranged.ErrChanged):
		o.changed.Store(true)
		return fmt.Errorf("%w: %w", ErrReplaced, err)
	case errors.Is(err, errdef.ErrDamaged), errors.Is(err, errdef.ErrLimit):
		return err
	}
	return &storeError{o.path, err}
}

// elsewhere reports whether the archive is in a store.
func (o *opened) elsewhere() bool { return isElsewhere(o.path) }

func isElsewhere(path string) bool {
	_, ok := naming.Scheme(path)
	return ok
}

// mayPass reports whether reading again may succeed.
func mayPass(err error) bool {
	var away *storeError
	return errors.Is(err, ErrReplaced) || tooManyFiles(err) || errors.As(err, &away)
}
