package serving

import (
	"context"
	"net/http"
	"strings"

	"github.com/distribution/reference"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/naming"
)

// Handle has a handler answer all requests outside of /v2/, under the same rules as the
// registry's own: after Authorize, logged, and cut off if the client is too slow. It must be
// called before the first request.
func (s *Server) Handle(pages http.Handler) { s.pages = pages }

// Served is an archive that a Server serves. It is the same value for as long as the file is
// the same.
type Served struct{ opened *opened }

// Archives returns the archives that are served now, in the order of the paths given to New.
func (s *Server) Archives() []Served {
	view := s.acquire()
	if view == nil {
		return nil
	}
	defer s.release(view)
	all := make([]Served, len(view.archives))
	for i, a := range view.archives {
		all[i] = Served{a}
	}
	return all
}

// Path returns where the archive is on this machine.
func (a Served) Path() string { return a.opened.path }

// Use returns the archive, open until done is called. The error wraps ErrReplaced if there is
// another file, or none, in its place.
func (a Served) Use(ctx context.Context) (open *archive.Archive, done func(), err error) {
	return a.opened.use(ctx)
}

// References returns the names and tags by which clients pull an image of an archive from
// this Server, one for each of its names that leads to it, the shortest that does. For an
// image without a tag it is a name without one: its digest has to follow.
func (s *Server) References(a Served, position int) []string {
	view := s.acquire()
	if view == nil {
		return nil
	}
	defer s.release(view)
	var found []string
	for _, img := range view.images {
		if img.from != a.opened || img.position != position {
			continue
		}
		for _, name := range img.names {
			if ref := view.names.reference(name, img); ref != "" {
				found = append(found, ref)
			}
		}
		if name, tag := fileName(img.from.path), unnamedTag(img); len(img.names) == 0 {
			switch {
			case tag == "":
				found = append(found, name)
			case view.names.leads(name, tag, img):
				found = append(found, name+":"+tag)
			}
		}
		break
	}
	return found
}

// reference returns the NAME:TAG under which an image is found by one of its names, "" if it
// is not found.
func (n *names) reference(name string, img *image) string {
	if naming.IsTag(name) && n.leads(fileName(img.from.path), name, img) {
		return fileName(img.from.path) + ":" + name
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if !ok {
		return ""
	}
	host, path := reference.Domain(named), reference.Path(named)
	candidates := []string{path, strings.ToLower(strings.ReplaceAll(host, ":", "-")) + "/" + path}
	if host == dockerHub {
		candidates = append([]string{reference.FamiliarName(named)}, candidates...)
	}
	for _, name := range candidates {
		if n.leads(name, tagged.Tag(), img) {
			return name + ":" + tagged.Tag()
		}
	}
	return ""
}

// leads reports whether a name and a tag stand for an image, or for an index made of it and
// others.
func (n *names) leads(name, tag string, img *image) bool {
	r := n.find("", name)
	if r == nil {
		return false
	}
	found := r.tags[tag]
	return found == img || found != nil && found.made != nil && found.from == img.from && r.images[img]
}
