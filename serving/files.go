package serving

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// tarName matches the names of a directory's files that are served. Names that begin
// with a dot belong to unfinished files.
var tarName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^[^.].*\.(?:tar|tgz|tzst|txz|tbz2?|tar\.[a-z0-9]{2,4})$`)
})

// stamp tells whether a file is still the same.
type stamp struct {
	info    fs.FileInfo
	parts   string // of the other files, if this is the first part of an archive
	version string // of an object in a store; info is nil then
}

func (s stamp) same(other stamp) bool {
	if s.info == nil || other.info == nil {
		return s.info == other.info && s.version == other.version
	}
	return s.parts == other.parts && os.SameFile(s.info, other.info) && s.info.Size() == other.info.Size() && s.info.ModTime().Equal(other.info.ModTime())
}

// stampOf describes the file or directory at a path. An OCI layout in a directory is
// described by its index, which a writer replaces when it changes images; another
// directory by itself.
func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, imgspecv1.ImageLayoutFile)); err == nil {
			info, err := os.Stat(filepath.Join(path, imgspecv1.ImageIndexFile))
			return stamp{info: info}, err
		}
	}
	return stamp{info: info, parts: partsStamp(path)}, err
}

// file is a file or a directory found to be served.
type file struct {
	path  string
	stamp stamp
	named bool // not found in a directory
}

// refresh opens new archives. It checks stores unless their last check is younger than age. An
// error is returned only if strict, for the first file named that cannot be opened, or if ctx
// ends while others refresh.
func (s *Server) refresh(ctx context.Context, age time.Duration, strict bool) error {
	select {
	case s.refreshing <- struct{}{}:
		defer func() { <-s.refreshing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return s.refreshNow(ctx, age, strict)
}

// refreshNow is refresh for a caller that holds s.refreshing.
func (s *Server) refreshNow(ctx context.Context, age time.Duration, strict bool) error {
	before := s.acquire()
	if before == nil {
		return nil
	}
	defer s.release(before)
	files, err := s.find(ctx, before, age, strict)
	if err != nil {
		return err
	}
	old := map[string]*opened{}
	for _, a := range before.archives {
		old[a.path] = a
	}
	found, failed := s.openAll(ctx, files, old)
	var archives, added []*opened
	for n, a := range found {
		if a == nil {
			continue
		}
		if a != old[files[n].path] {
			added = append(added, a)
		}
		archives = append(archives, a)
		delete(old, a.path)
	}
	for n, err := range failed {
		if err != nil && strict && files[n].named {
			s.dropAll(added)
			return err
		}
	}
	for path := range old {
		s.options.Log.Info("archive is gone", "path", printable.String(path))
	}
	s.refused.keep(files)
	if len(added) > 0 || len(old) > 0 {
		s.swap(newSnapshot(s, archives))
	}
	return nil
}

// openAll opens files, several at a time if there are stores: opening waits for answers of theirs.
func (s *Server) openAll(ctx context.Context, files []file, old map[string]*opened) (found []*opened, failed []error) {
	found, failed = make([]*opened, len(files)), make([]error, len(files))
	var group errgroup.Group
	group.SetLimit(1)
	if len(s.locations) > 0 {
		group.SetLimit(maxOpening)
	}
	for n, f := range files {
		group.Go(func() error {
			found[n], failed[n] = s.open(ctx, f, old[f.path])
			return nil
		})
	}
	_ = group.Wait() // Always nil.
	return found, failed
}

// maxOpening is how many archives in stores are opened at the same time.
const maxOpening = 8

// open returns the archive at a path. It returns old if that is still there, or if
// its replacement cannot be read. It is nil if there is none.
func (s *Server) open(ctx context.Context, f file, old *opened) (*opened, error) {
	if old != nil && old.stamp.same(f.stamp) && !old.changed.Load() {
		return old, nil
	}
	if s.refused.has(f) {
		return old, nil
	}
	begun := time.Now()
	o, err := s.openNew(ctx, f)
	if err != nil {
		if ctx.Err() == nil {
			s.refuse(f, err)
			s.options.Log.Warn("archive cannot be read", "path", printable.String(f.path), "error", printable.Error(err), "still served as it was", old != nil)
		}
		return old, pathError(f.path, err)
	}
	s.refused.remove(f)
	s.options.Log.Info("serving archive", "path", printable.String(f.path), "images", len(o.images), "ready after", time.Since(begun).Round(time.Microsecond))
	return o, nil
}

// openNew opens an archive. It also reads the manifests of one in a store, which may be unreachable when the first
// client asks for them.
func (s *Server) openNew(ctx context.Context, f file) (*opened, error) {
	a, err := s.stores.openArchive(ctx, s.pool.opener, f.path)
	if err != nil {
		return nil, err
	}
	o := &opened{path: f.path, stamp: f.stamp}
	for _, img := range a.All() {
		o.images = append(o.images, img.Names)
	}
	s.pool.add(o, a)
	if !o.elsewhere() {
		return o, nil
	}
	if _, err := o.list(ctx, s.reportListing(o)); err != nil {
		s.pool.drop(o)
		return nil, err
	}
	return o, nil
}

// refuse remembers an archive that cannot be opened, and until when. One of a store is opened again after a time: it
// may have been damaged on its way, too, but not twice.
func (s *Server) refuse(f file, err error) {
	bad := errors.Is(err, errdef.ErrDamaged) || errors.Is(err, errdef.ErrNoImageArchive) || errors.Is(err, errdef.ErrLimit)
	switch {
	case tooManyFiles(err): // The next refresh tries again.
	case isElsewhere(f.path) && !(bad && s.refused.before(f)):
		s.refused.add(f, time.Now().Add(reopenInterval), bad)
	default:
		s.refused.add(f, time.Time{}, bad)
	}
}

// reopenInterval is how often, at most, a failed archive of a store is opened again.
const reopenInterval = 30 * time.Second

// refusals are files that could not be read, with their stamps.
type refusals struct {
	mu  sync.Mutex
	all map[string]refusal
}

type refusal struct {
	stamp
	until time.Time // zero: until the file changes
	bad   bool      // its content is wrong; else it could not be read
}

func (r *refusals) has(f file) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	refused, ok := r.all[f.path]
	return ok && refused.same(f.stamp) && (refused.until.IsZero() || time.Now().Before(refused.until))
}

// before reports whether the file has been refused before for its content.
func (r *refusals) before(f file) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	refused, ok := r.all[f.path]
	return ok && refused.same(f.stamp) && refused.bad
}

func (r *refusals) add(f file, until time.Time, bad bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]refusal{}
	}
	r.all[f.path] = refusal{f.stamp, until, bad}
}

// keep forgets all files but those that are still there.
func (r *refusals) keep(files []file) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return
	}
	there := map[string]bool{}
	for _, f := range files {
		there[f.path] = true
	}
	maps.DeleteFunc(r.all, func(path string, _ refusal) bool { return !there[path] })
}

func (r *refusals) remove(f file) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, f.path)
}

// find returns the files to be served, each once, in the order of the paths given. An
// error is returned only if strict, for the first path that cannot be read.
func (s *Server) find(ctx context.Context, before *snapshot, age time.Duration, strict bool) ([]file, error) {
	var files []file
	seen := map[string]bool{}
	failed := s.lookAll(ctx, age, strict)
	for _, path := range s.paths {
		var found []file
		var now stamp
		var err error
		at := s.locationOf(path)
		if at != nil {
			found, err = at.found, failed[at]
		} else {
			now, err = stampOf(path)
		}
		switch {
		case at != nil:
		case err == nil && now.info.IsDir():
			found, err = s.findIn(path, before)
		case err == nil:
			found = []file{{path: path, stamp: now, named: true}}
		case !errors.Is(err, fs.ErrNotExist):
			found = s.unreadable(path, before, err)
		}
		if err != nil && strict {
			return nil, pathError(path, err)
		}
		for _, f := range found {
			if !seen[f.path] {
				seen[f.path] = true
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// findIn returns the files of a directory that are to be served.
func (s *Server) findIn(dir string, before *snapshot) (files []file, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return s.unreadable(dir, before, err), err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		isDir := e.IsDir() && !strings.HasPrefix(e.Name(), ".")
		if !isDir && (!tarName().MatchString(e.Name()) || otherPart(path)) {
			continue
		}
		now, err := stampOf(path)
		switch {
		case err == nil && now.info.Mode().IsRegular():
			files = append(files, file{path: path, stamp: now})
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			files = append(files, s.unreadable(path, before, err)...)
		}
	}
	return files, nil
}

// unreadable returns the files that were served from a path, or from the directory
// there, that cannot be read now: that may pass.
func (s *Server) unreadable(path string, before *snapshot, err error) (files []file) {
	for _, a := range before.archives {
		if filepath.Clean(a.path) == filepath.Clean(path) || filepath.Dir(a.path) == filepath.Clean(path) {
			files = append(files, file{path: a.path, stamp: a.stamp})
		}
	}
	s.options.Log.Warn("file or directory cannot be read", "error", printable.Error(err), "archives still served as they were", len(files))
	return files
}
