// Package serving is a registry that serves the images of image archives, read-only
// and straight from the files: nothing is unpacked, copied or kept elsewhere. A
// [Server] is an [http.Handler] of the pull side of the OCI distribution
// specification 1.1, with content discovery: manifests, blobs in ranges, tags, the
// catalog and referrers.
//
//	s, err := serving.New(ctx, []string{"images.tar", "/srv/archives"}, serving.Options{})
//	go s.Watch(ctx, 2*time.Second)
//	err = serving.Serve(ctx, listener, s)
//
// # Names
//
// An image registry.example.com/team/app:1 is found as team/app:1 and as
// registry.example.com/team/app:1 of this registry, and, for mirrors that say whose they
// are, as team/app:1 with the query ns=registry.example.com. If two images have the same
// path, the first one has it: in the order of the paths given to New, and of an archive.
// The port of a registry is behind a hyphen instead of a colon, which a path cannot have.
// An image of docker.io/library is found without that, too. An image without a name, or
// with no more than a tag, is found under the name of its archive's file up to the first
// dot. A referrer is found with its image.
//
// # Files
//
// Archives are opened when a client asks for something in them. They are closed again while
// more are open than a quarter of the files that the process may open: the others are for
// clients. A compressed archive is then unpacked anew.
//
// # Stores
//
// A path may be the address of an archive, or of a folder in a bucket, if the program imports the package of its
// scheme, such as store/s3. All archives below a folder are served, in the order of their addresses. Blobs are
// passed on as they arrive; a client of a wrong blob is cut off before the last byte. If an object is replaced while
// it is sent, the answer breaks off. With Options.CacheDir, verified blobs are kept on disk, and clients that want a
// blob of an archive at the same time share one fetch. Servers have no other state, so any number of them can serve
// the same archives, with the same digests.
//
// # Trust
//
// Archives and clients are both taken to be hostile. Manifests are verified before they are
// sent. Blobs are sent unverified, and verified once after that, when nothing is being
// sent: clients verify them anyway, and damaged ones are logged and refused from then on. A blob that comes damaged
// from a store is requested once more before.
package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/blobcache"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// Options are how archives are served.
type Options struct {
	// Log gets events: archives that come, go or cannot be read, and content that is damaged.
	// nil is none.
	Log *slog.Logger
	// Access, if not nil, is called after each request, concurrently.
	Access func(Access)
	// Authorize, if not nil, returns nil for a client that may read, ErrDenied for one to be
	// asked for a user and a password, and ErrBusy for one that should come again later. It is
	// called concurrently, with the context of a request, which ends when the client is gone.
	// See Users.
	Authorize func(ctx context.Context, l Login) error
	// Patience is how long a client may take to read 256 KB; 0 is 30 seconds. A slower client
	// is cut off.
	Patience time.Duration
	// TempDir is the directory for archives that have to be unpacked, in files without
	// names; "" is the system's for large ones.
	TempDir string
	// Bases, if not nil, have layers that archives leave out. Layers that deltas make are made
	// once, and kept as far as BasesOptions.Keep goes.
	Bases *archive.Bases
	// Stores is how to reach archives at addresses.
	Stores archive.Access
	// CacheDir, unless it is "", is a directory that keeps blobs of archives in stores, at most CacheSize bytes. See
	// the package documentation.
	CacheDir  string
	CacheSize int64
}

// Access is a request that was answered.
type Access struct {
	Remote   string // address
	User     string // "" if no user is needed
	Method   string
	Target   string // path and query, as they were asked for
	Status   int
	Bytes    int64 // of the body, that were sent
	Begun    time.Time
	Duration time.Duration
}

// Server serves archives. All of its methods may be called concurrently.
type Server struct {
	options Options
	pages   http.Handler // for paths outside the registry; nil if nothing else is here
	paths   []string
	pool    *pool
	ctx     context.Context // for work between requests
	cancel  context.CancelFunc
	work    sync.WaitGroup // of that
	checker chan struct{}  // held by a goroutine that reads a blob to verify it
	sending atomic.Int64   // how many blobs are being sent
	quiet   chan struct{}  // has something when that has become none

	refreshing chan struct{} // held by who refreshes
	asked      asked
	refused    refusals
	locations  []*location
	stores     *stores
	cache      *blobcache.Cache // nil if there is none

	mu      sync.Mutex
	current *snapshot // nil when closed
}

// New returns a Server of the archives at paths: files, OCI layouts in directories, or
// other directories. In these it serves OCI layouts, and files with the extension of a tar
// archive, compressed or not. A compressed archive is unpacked to a temporary file. The
// error is for a file that is named in paths and cannot be read, and wraps that of
// archive.Open; unreadable files in directories are left out, and logged. The caller must
// close the Server.
func New(ctx context.Context, paths []string, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	s := &Server{options: o, paths: make([]string, len(paths)), stores: newStores(o.Stores), refreshing: make(chan struct{}, 1), checker: make(chan struct{}, 1), quiet: make(chan struct{}, 1)}
	for n, path := range paths {
		s.paths[n] = naming.HideQuery(path)
	}
	s.addLocations()
	s.pool = newPool(openLimit(), archive.Opener{TempDir: o.TempDir, Bases: o.Bases}, s.stores)
	if o.CacheDir != "" {
		var err error
		if s.cache, err = blobcache.Open(o.CacheDir, o.CacheSize); err != nil {
			return nil, err
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.current = newSnapshot(s, nil)
	if err := s.refresh(ctx, 0, true); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Watch calls Refresh at every interval until ctx ends, but checks stores only every ten seconds.
func (s *Server) Watch(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = s.refresh(ctx, storeInterval, false) // Everything is logged.
		}
	}
}

// Refresh looks which archives have been added, replaced or removed. Requests that are
// being answered go on with the old archives, and so do all others until the replacement of
// an archive can be read.
func (s *Server) Refresh(ctx context.Context) {
	_ = s.refresh(ctx, 0, false) // Everything is logged.
}

// Images returns how many images are served, and of how many archives.
func (s *Server) Images() (images, archives int) {
	view := s.acquire()
	if view == nil {
		return 0, 0
	}
	defer s.release(view)
	for _, a := range view.archives {
		images += len(a.images)
	}
	return images, len(view.archives)
}

// Close ends the work between requests and closes all archives; those in use are closed
// when their requests end. It may be called more than once.
func (s *Server) Close() error {
	s.cancel()
	s.swap(nil) // No check begins after that.
	s.work.Wait()
	if s.cache == nil {
		s.stores.close()
		return nil
	}
	err := s.cache.Close()
	s.stores.close()
	return err
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rw := &responseWriter{ResponseWriter: w, patience: s.options.Patience}
	begun := time.Now()
	user, password, given := r.BasicAuth()
	if s.options.Access != nil {
		defer func() {
			a := Access{Remote: r.RemoteAddr, Method: r.Method, Target: r.URL.RequestURI(), Status: rw.status, Bytes: rw.bytes, Begun: begun, Duration: time.Since(begun)}
			if s.options.Authorize != nil {
				a.User = user
			}
			s.options.Access(a)
		}()
	}
	rw.extend()
	if r.Body != http.NoBody { // Nobody has to send one, and none is waited for.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(headerTimeout)) // As for extend.
	}
	if s.pages == nil || isAPI(r.URL.Path) {
		rw.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	}
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	if s.options.Authorize != nil {
		err := ErrDenied
		if given {
			err = s.options.Authorize(r.Context(), Login{User: user, Password: password, Remote: r.RemoteAddr})
		}
		if err != nil {
			s.deny(rw, r, err)
			return
		}
	}
	if s.pages != nil && !isAPI(r.URL.Path) {
		s.pages.ServeHTTP(rw, r)
		return
	}
	first := &attempt{}
	if s.answer(rw, r, first); first.again {
		over := s.await(r.Context(), first.age)
		s.answer(rw, r, &attempt{last: true, unsure: !over})
	}
}

// answer answers a request, unless it sets a.again for another attempt.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, a *attempt) {
	view := s.acquire()
	if view == nil {
		fail(w, r, http.StatusServiceUnavailable, codeUnavailable, "the server is being stopped")
		return
	}
	defer s.release(view)
	s.route(w, r, view, a)
}

// deny answers a request of a client that may not read, or not now.
func (s *Server) deny(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, ErrDenied):
		w.Header().Set("WWW-Authenticate", `Basic realm="image archives", charset="UTF-8"`)
		fail(w, r, http.StatusUnauthorized, codeUnauthorized, "a user and a password are needed")
	case errors.Is(err, ErrBusy):
		w.Header().Set("Retry-After", "1")
		fail(w, r, http.StatusTooManyRequests, codeTooMany, "too many passwords are waiting to be checked; try again")
	default:
		if r.Context().Err() == nil {
			s.options.Log.Error("a user cannot be checked", "error", printable.Error(err))
		}
		fail(w, r, http.StatusServiceUnavailable, codeUnavailable, "the user cannot be checked now")
	}
}

// acquire returns the snapshot that is served now, to be used until it is released; nil
// when the Server is closed.
func (s *Server) acquire() *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.current.users++
	}
	return s.current
}

func (s *Server) release(view *snapshot) {
	s.mu.Lock()
	view.users--
	unused := s.unused(view)
	s.mu.Unlock()
	s.dropAll(unused)
}

// swap serves next from now on.
func (s *Server) swap(next *snapshot) {
	s.mu.Lock()
	last := s.current
	s.current = next
	if next != nil {
		for _, a := range next.archives {
			a.views++
		}
	}
	var unused []*opened
	if last != nil {
		unused = s.unused(last)
	}
	s.mu.Unlock()
	s.dropAll(unused)
}

// unused returns the archives that nobody uses any more if nobody uses view. It must
// be called with s.mu held.
func (s *Server) unused(view *snapshot) []*opened {
	if view.users > 0 || view == s.current {
		return nil
	}
	var unused []*opened
	for _, a := range view.archives {
		if a.views--; a.views == 0 {
			unused = append(unused, a)
		}
	}
	return unused
}

func (s *Server) dropAll(archives []*opened) {
	for _, a := range archives {
		s.pool.drop(a)
	}
}

// pathError says which file an error is about, if it does not say so itself.
func pathError(path string, err error) error { return fmt.Errorf("serving %s: %w", path, err) }
