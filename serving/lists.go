package serving

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	specs "github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// catalog answers with the repositories that there are.
func (s *Server) catalog(w http.ResponseWriter, r *http.Request, view *snapshot) {
	repositories, ok := page(w, r, view.names.listed)
	if ok {
		sendJSON(w, r, "application/json", map[string]any{"repositories": repositories})
	}
}

// tags answers with the tags of a repository.
func (s *Server) tags(w http.ResponseWriter, r *request, _ string) {
	tags, ok := page(w, r.Request, slices.Sorted(maps.Keys(r.repository.tags)))
	if ok {
		sendJSON(w, r.Request, "application/json", map[string]any{"name": r.name, "tags": tags})
	}
}

// page returns the part of a sorted list that a client asks for with n and
// last, and sends the link to the rest. ok is false if it has failed the
// request.
func page(w http.ResponseWriter, r *http.Request, all []string) (part []string, ok bool) {
	query := r.URL.Query()
	if last := query.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if !query.Has("n") {
		return nonNil(all), true
	}
	n, err := strconv.Atoi(query.Get("n"))
	if err != nil || n < 0 {
		fail(w, r, http.StatusBadRequest, codePagination, "n is not a number of items")
		return nil, false
	}
	if n > 0 && n < len(all) {
		query.Set("last", all[n-1])
		next := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
		w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	}
	return nonNil(all[:min(n, len(all))]), true
}

// nonNil makes an empty list one that is not null in JSON.
func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// referrers answers with the referrers of a manifest, whether that is there or
// not.
func (s *Server) referrers(w http.ResponseWriter, r *request, reference string) {
	d, ok := digestOf(w, r, reference)
	if !ok {
		return
	}
	index := imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, Manifests: []imgspecv1.Descriptor{}}
	wanted := r.URL.Query().Get("artifactType")
	content := r.view.byDigest()
	for _, doc := range content.referrers[d] {
		if content.of(r.repository).has(doc) && (wanted == "" || wanted == doc.ArtifactType) {
			index.Manifests = append(index.Manifests, doc.Descriptor)
		}
	}
	if wanted != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	sendJSON(w, r.Request, imgspecv1.MediaTypeImageIndex, index)
}
