package browsing

import (
	"cmp"
	"context"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/serving"
)

// place is an image in an archive.
type place struct {
	archive  serving.Served
	position int
}

// entry is the subject of a page: a manifest, an index or, of an image without a
// manifest, a config.
type entry struct {
	id     digest.Digest
	info   *archive.Description
	names  []string // of the image, or of the index that it is of
	places []place  // where it is; never empty
	index  *entry   // that it is of, nil if none
}

// listed is an image as the list of all images has it.
type listed struct {
	*entry       // nil if it cannot be read
	names        []string
	place        place
	referrer     bool
	fault        string // "" if nothing is wrong
	about        int    // how much refers to it
	archiveNamed string
}

// shelf is the images of archives at a time.
type shelf struct {
	archives []serving.Served
	images   []listed
	entries  map[digest.Digest]*entry
}

// library knows the images of the archives that a server serves. It reads an archive's
// manifests and configs once.
type library struct {
	server *serving.Server

	reading chan struct{} // taken by the goroutine that reads
	known   map[serving.Served][]described
	mu      *sync.Mutex
	current *shelf
}

// described is an image of an archive.
type described struct {
	names    []string
	info     *archive.Description
	err      error
	referrer bool
	about    int
}

func newLibrary(s *serving.Server) library {
	return library{server: s, reading: make(chan struct{}, 1), known: map[serving.Served][]described{}, mu: &sync.Mutex{}}
}

// shelf returns the current images.
func (l *library) shelf(ctx context.Context) (*shelf, error) {
	archives := l.server.Archives()
	l.mu.Lock()
	current := l.current
	l.mu.Unlock()
	if current != nil && slices.Equal(current.archives, archives) {
		return current, nil
	}
	select {
	case l.reading <- struct{}{}:
		defer func() { <-l.reading }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	known := map[serving.Served][]described{}
	for _, a := range archives {
		images, ok := l.known[a]
		if !ok {
			var err error
			if images, err = describe(ctx, a); err != nil {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				images = []described{{err: err}}
			}
			l.known[a] = images // Also if somebody stops waiting before the others are read.
		}
		known[a] = images
	}
	l.known = known
	s := newShelf(archives, known)
	l.mu.Lock()
	l.current = s
	l.mu.Unlock()
	return s, nil
}

// describe describes the images of an archive.
func describe(ctx context.Context, served serving.Served) ([]described, error) {
	a, done, err := served.Use(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	images := make([]described, len(a.All()))
	for i, img := range a.All() {
		images[i] = described{names: img.Names, referrer: true}
		images[i].info, images[i].err = img.Describe(ctx)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if d := images[i].info; d != nil && d.Digest != "" {
			images[i].about = len(a.Referrers(d.Digest))
		}
	}
	for _, img := range a.Images() {
		images[img.Position].referrer = false
	}
	return images, nil
}

func newShelf(archives []serving.Served, known map[serving.Served][]described) *shelf {
	s := &shelf{archives: archives, entries: map[digest.Digest]*entry{}}
	for _, a := range archives {
		for position, d := range known[a] {
			row := listed{names: d.names, place: place{a, position}, referrer: d.referrer, about: d.about, archiveNamed: filepath.Base(a.Path())}
			switch {
			case d.err != nil:
				row.fault = printable.Error(d.err)
			case d.info.Fault != nil:
				row.fault = printable.Error(d.info.Fault)
			}
			if d.info != nil && d.err == nil {
				row.entry = s.add(d.info, d.names, row.place, nil)
			}
			s.images = append(s.images, row)
		}
	}
	return s
}

// add notes an entry, and those that it leads to. It returns nil if the image is not in the archive.
func (s *shelf) add(info *archive.Description, names []string, at place, index *entry) *entry {
	id := cmp.Or(info.Digest, info.Config)
	if id == "" || info.Missing {
		return nil
	}
	e := s.entries[id]
	if e == nil {
		e = &entry{id: id, info: info, index: index}
		s.entries[id] = e
	}
	for _, name := range names {
		if !slices.Contains(e.names, name) {
			e.names = append(e.names, name)
		}
	}
	if !slices.Contains(e.places, at) {
		e.places = append(e.places, at)
	}
	for i := range info.Manifests {
		s.add(&info.Manifests[i], names, at, e)
	}
	return e
}

// find returns the entry of a digest.
func (s *shelf) find(id string) (*entry, error) {
	d, err := digest.Parse(id)
	if err != nil || s.entries[d] == nil {
		return nil, errNoImage
	}
	return s.entries[d], nil
}

// isIndex reports whether the entry is an index of manifests.
func (e *entry) isIndex() bool { return len(e.info.Manifests) > 0 }

// isImage reports whether the entry is an image for one platform.
func (e *entry) isImage() bool {
	return !e.isIndex() && !e.info.Attestation && e.info.ArtifactType == "" && e.info.Config != ""
}

// title is how the entry is called.
func (e *entry) title() string {
	if len(e.names) > 0 {
		return printable.String(e.names[0])
	}
	return short(e.id)
}

// opened is an entry that is read.
type opened struct {
	*entry
	place    place
	archive  *archive.Archive
	image    *archive.Image
	manifest *archive.Manifest
	done     func()
}

// open opens the entry in the first archive that has it. done must be called.
func (e *entry) open(ctx context.Context) (o *opened, err error) {
	for _, at := range e.places {
		if o, err = e.openAt(ctx, at); err == nil || ctx.Err() != nil {
			return o, err
		}
	}
	return nil, err
}

func (e *entry) openAt(ctx context.Context, at place) (*opened, error) {
	a, done, err := at.archive.Use(ctx)
	if err != nil {
		return nil, err
	}
	o := &opened{entry: e, place: at, archive: a, image: a.All()[at.position], done: done}
	if e.info.Digest == "" {
		o.manifest, err = o.image.Manifest(ctx)
	} else {
		o.manifest, err = o.image.Instance(ctx, e.info.Digest)
	}
	if err == nil && o.manifest == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		done()
		return nil, err
	}
	return o, nil
}
