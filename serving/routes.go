package serving

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// The codes of errors from the distribution specification, and two more of
// registries.
const (
	codeNameInvalid     = "NAME_INVALID"
	codeNameUnknown     = "NAME_UNKNOWN"
	codeManifestUnknown = "MANIFEST_UNKNOWN"
	codeBlobUnknown     = "BLOB_UNKNOWN"
	codeDigestInvalid   = "DIGEST_INVALID"
	codeUnauthorized    = "UNAUTHORIZED"
	codeUnsupported     = "UNSUPPORTED"
	codePagination      = "PAGINATION_NUMBER_INVALID"
	codeTooMany         = "TOOMANYREQUESTS"
	codeUnavailable     = "UNAVAILABLE"
	codeUnknown         = "UNKNOWN"
)

// validName is the specification's, and allows hosts with a port before it:
// clients may ask for the names of images in archives as they are.
var validName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-zA-Z0-9.-]+:[0-9]+(/` + component + `)+$|^` + component + `(/` + component + `)*$`)
})

const (
	component = `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
	maxName   = 1024
)

// attempt is an attempt to answer a request.
type attempt struct {
	last bool
	// again is set to request another attempt after a refresh: an archive is gone, or there may be a new one.
	again bool
	age   time.Duration // how old the last check of stores may be
	// unsure is set if the refresh is still going on.
	unsure bool
}

// request is a request for something in a repository.
type request struct {
	*http.Request
	*attempt
	name       string // of the repository, as it was asked for
	repository *repository
	view       *snapshot
}

// isAPI reports whether a path belongs to the registry, and not to a page.
func isAPI(path string) bool { return path == "/v2" || strings.HasPrefix(path, "/v2/") }

// route answers a request for anything.
func (s *Server) route(w http.ResponseWriter, r *http.Request, view *snapshot, a *attempt) {
	path, isAPI := strings.CutPrefix(r.URL.Path, "/v2")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, r, http.StatusMethodNotAllowed, codeUnsupported, "this registry serves image archives and is read-only")
	case isAPI && (path == "" || path == "/"):
		sendJSON(w, r, "application/json", struct{}{})
	case isAPI && path == "/_catalog":
		s.catalog(w, r, view)
	case isAPI:
		s.routeRepository(w, r, view, a, strings.TrimPrefix(path, "/"))
	default:
		fail(w, r, http.StatusNotFound, codeNameUnknown, "there is nothing here but /v2/")
	}
}

// routeRepository answers a request for the content of a repository. path is
// behind /v2/.
func (s *Server) routeRepository(w http.ResponseWriter, r *http.Request, view *snapshot, a *attempt, path string) {
	parts := strings.Split(path, "/")
	if len(parts) < 3 {
		fail(w, r, http.StatusNotFound, codeUnsupported, "the distribution specification has no such path")
		return
	}
	name, kind, reference := strings.Join(parts[:len(parts)-2], "/"), parts[len(parts)-2], parts[len(parts)-1]
	var answer func(http.ResponseWriter, *request, string)
	switch kind {
	case "manifests":
		answer = s.manifest
	case "blobs":
		answer = s.blob
	case "referrers":
		answer = s.referrers
	case "tags":
		answer = s.tags
	}
	if answer == nil || kind == "tags" && reference != "list" {
		fail(w, r, http.StatusNotFound, codeUnsupported, "the distribution specification has no such path")
		return
	}
	namespace := ""
	if r.URL.RawQuery != "" {
		namespace = r.URL.Query().Get("ns")
	}
	repository := view.names.find(namespace, name)
	switch {
	case repository != nil:
	case strings.Contains(reference, ":") && (s.lookAgain(a) || s.failUnsure(w, r, a)):
		return
	case len(name) > maxName || !validName().MatchString(name):
		fail(w, r, http.StatusBadRequest, codeNameInvalid, "the name of the repository is not valid")
		return
	default:
		fail(w, r, http.StatusNotFound, codeNameUnknown, "no archive has an image of this name")
		return
	}
	answer(w, &request{Request: r, attempt: a, name: name, repository: repository, view: view}, reference)
}

// manifest answers a request for a manifest or an index by its tag or digest.
func (s *Server) manifest(w http.ResponseWriter, r *request, reference string) {
	if !strings.Contains(reference, ":") {
		img := r.view.tagged(r.repository, reference)
		if img == nil {
			status, code := http.StatusNotFound, codeManifestUnknown
			if !naming.IsTag(reference) {
				status = http.StatusBadRequest
			}
			fail(w, r.Request, status, code, "no archive has this tag")
			return
		}
		m, err := r.view.documents.get(r.Context(), img, "")
		s.sendManifest(w, r, m, err)
		return
	}
	d, ok := digestOf(w, r, reference)
	if !ok {
		return
	}
	m, err := r.view.manifest(r.Context(), r.repository, d)
	s.sendManifest(w, r, m, err)
}

// sendManifest sends a manifest, if it could be read and the client takes such.
func (s *Server) sendManifest(w http.ResponseWriter, r *request, m *archive.Manifest, err error) {
	switch {
	case err != nil:
		s.failReading(w, r, codeManifestUnknown, err)
	case !accepts(r.Header, m.MediaType):
		w.Header().Set("Vary", "Accept")
		fail(w, r.Request, http.StatusNotAcceptable, codeUnsupported, "the manifest has the media type "+m.MediaType+", which the request does not accept")
	default:
		w.Header().Set("Vary", "Accept")
		send(w, r.Request, m.MediaType, m.Digest, m.Data)
	}
}

// digestOf returns the digest that a request names, or fails the request.
func digestOf(w http.ResponseWriter, r *request, reference string) (d digest.Digest, ok bool) {
	d, err := digest.Parse(reference)
	if err != nil {
		fail(w, r.Request, http.StatusBadRequest, codeDigestInvalid, "this is no digest")
	}
	return d, err == nil
}

// lookAgain requests another attempt after a check of the stores: another replica may have told the client a new
// digest.
func (s *Server) lookAgain(a *attempt) bool {
	a.again, a.age = !a.last && len(s.locations) > 0, askedInterval
	return a.again
}

// failUnsure answers that something may be in a store that cannot be checked, unless all stores have been.
func (s *Server) failUnsure(w http.ResponseWriter, r *http.Request, a *attempt) bool {
	which := slices.Sorted(maps.Keys(s.Failing()))
	switch {
	case len(which) > 0:
		unavailable(w, r, 5, "it is in no archive that is known, and "+strings.Join(which, ", ")+" cannot be checked for new ones, because a store fails; the log of the server says why")
	case a.unsure:
		unavailable(w, r, 5, "it is in no archive that is known, and the stores are still being checked for new ones")
	default:
		return false
	}
	return true
}

// unavailable answers that a client should come back after so many seconds.
func unavailable(w http.ResponseWriter, r *http.Request, seconds int, message string) {
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	fail(w, r, http.StatusServiceUnavailable, codeUnavailable, message)
}

// failReading answers that something could not be read.
func (s *Server) failReading(w http.ResponseWriter, r *request, code string, err error) {
	var damaged *damagedError
	var away *storeError
	switch {
	case r.Context().Err() != nil: // Nobody waits for the answer.
	case errors.Is(err, ErrReplaced) && !r.last:
		r.again = true
	case errors.Is(err, fs.ErrNotExist) && s.lookAgain(r.attempt):
	case errors.Is(err, ErrReplaced), tooManyFiles(err):
		unavailable(w, r.Request, 1, "the archive cannot be read now; try again")
	case errors.As(err, &damaged): // The content that has this digest is not there.
		fail(w, r.Request, http.StatusNotFound, code, "it is damaged in the archive")
	case errors.Is(err, fs.ErrNotExist) && s.failUnsure(w, r.Request, r.attempt):
	case errors.Is(err, fs.ErrNotExist):
		fail(w, r.Request, http.StatusNotFound, code, "no archive has it in this repository")
	case errors.As(err, &away):
		s.options.Log.Error("content cannot be read", "path", printable.String(r.URL.Path), "archive", printable.String(away.path), "error", printable.Error(away.err))
		unavailable(w, r.Request, 5, printable.String(away.path)+" cannot be read now, because its store fails; the log of the server says why")
	default:
		s.options.Log.Error("content cannot be read", "path", printable.String(r.URL.Path), "error", printable.Error(err))
		fail(w, r.Request, http.StatusInternalServerError, codeUnknown, "it cannot be read from the archive; the log of the server says why")
	}
}

// fail sends an error.
func fail(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, _ := json.Marshal(struct { // Strings can always be written.
		Errors []item `json:"errors"`
	}{[]item{{code, message}}})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // The client is gone.
	}
}

// send sends a document, if the client has not got it already.
func send(w http.ResponseWriter, r *http.Request, mediaType string, d digest.Digest, data []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	if d != "" {
		h.Set("Docker-Content-Digest", d.String())
		h.Set("ETag", `"`+d.String()+`"`)
		if r.Header.Get("If-None-Match") == h.Get("ETag") {
			h.Del("Content-Length")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // The client is gone.
	}
}

// sendJSON sends JSON that has no digest.
func sendJSON(w http.ResponseWriter, r *http.Request, mediaType string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		fail(w, r, http.StatusInternalServerError, codeUnknown, err.Error())
		return
	}
	send(w, r, mediaType, "", data)
}
