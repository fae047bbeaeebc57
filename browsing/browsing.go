// Package browsing shows the images of a registry of archives to people: HTML pages over
// the archives that a serving.Server has, drawn here and complete without JavaScript. It
// changes nothing, keeps no state of its users, and asks no other server for anything.
//
//	s, err := serving.New(ctx, paths, serving.Options{})
//	pages := browsing.New(s, browsing.Options{})
//	s.Handle(pages)
//	err = serving.Serve(ctx, listener, s, "", "", grace)
//
// # What it takes
//
// Lists of images come from manifests and configs. Layers are read when a client asks for
// files: each once for all clients that ask at the same time, and those of two images at a
// time. The work ends when no client waits any more. The results are kept: the file lists
// of at most 8 images, in about 128 MiB. Afterwards a file costs one restart interval of
// its layer. An image of more than a million entries is refused.
//
// # Trust
//
// Archives are taken to be hostile. Every page comes with a Content-Security-Policy that
// runs nothing but the script in this package; files of images are sent as attachments of
// bytes, in a sandbox. Links of images are links only if they are http or https.
package browsing

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/serving"
)

// Options are how images are shown.
type Options struct {
	// Log gets errors of reading. nil is none.
	Log *slog.Logger
	// Local is set if clients cannot pull from here: pages say how archives are loaded
	// instead.
	Local bool
	// TLS is set if clients reach the registry by https.
	TLS bool
	// TempDir is the directory for layers that have to be unpacked, in files without names;
	// "" is the system's for large ones.
	TempDir string
}

// Pages is an http.Handler of the pages. The caller must close it when no request is being
// answered any more.
type Pages struct {
	options Options
	server  *serving.Server
	mux     *http.ServeMux
	library library
	cache   *cache
	shared  files.Shared // layers of all images that are being read or kept
}

// New returns the pages about a server's archives.
func New(s *serving.Server, o Options) *Pages {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pages{options: o, server: s, mux: http.NewServeMux(), library: newLibrary(s), cache: newCache()}
	for pattern, show := range map[string]func(*request) error{
		"/{$}":                        p.home,
		"/compare":                    p.compare,
		"/image/{id}":                 p.image,
		"/image/{id}/layers":          p.layers,
		"/image/{id}/files":           p.files,
		"/image/{id}/files/{path...}": p.files,
		"/image/{id}/raw/{path...}":   p.raw,
		"/image/{id}/packages":        p.packages,
		"/image/{id}/manifest.json":   p.manifestFile,
		"/image/{id}/config.json":     p.configFile,
	} {
		p.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) { p.answer(w, r, show) })
	}
	p.mux.HandleFunc("GET /-/{name}", asset)
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.answer(w, r, func(*request) error { return errNoPage })
	})
	return p
}

// Close frees kept results, and ends running reads.
func (p *Pages) Close() { p.cache.close() }

// contentPolicy lets a page load only this package's assets.
const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP implements http.Handler.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if p.options.TLS || r.TLS != nil || isLoopback(r.Host) { // Browsers complain of it elsewhere, and ignore it.
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "these pages can only be read", http.StatusMethodNotAllowed)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// request is a request for a page.
type request struct {
	*http.Request
	w     http.ResponseWriter
	shelf *shelf // the images there are
}

var (
	errNoPage  = errors.New("there is no such page")
	errNoImage = errors.New("no archive here has this image")
)

// answer answers a request, also if it fails.
func (p *Pages) answer(w http.ResponseWriter, r *http.Request, show func(*request) error) {
	q := &request{Request: r, w: w}
	err := r.Context().Err()
	if err == nil {
		q.shelf, err = p.library.shelf(r.Context())
	}
	if err == nil {
		p.cache.keepOnly(q.shelf.archives)
		err = show(q)
	}
	if err == nil || r.Context().Err() != nil { // Nobody waits for the answer.
		return
	}
	status := http.StatusInternalServerError
	var left *errdef.LeftOutError
	switch {
	case errors.Is(err, errNoPage), errors.Is(err, errNoImage):
		status = http.StatusNotFound
	case errors.As(err, &left), errors.Is(err, fs.ErrNotExist):
		status = http.StatusNotFound
	case errors.Is(err, serving.ErrReplaced), errors.Is(err, context.Canceled):
		status = http.StatusServiceUnavailable
	case errors.Is(err, errdef.ErrDamaged), errors.Is(err, errdef.ErrLimit), errors.Is(err, errors.ErrUnsupported):
		status = http.StatusUnprocessableEntity
	}
	if status == http.StatusInternalServerError {
		p.options.Log.Error("page cannot be shown", "path", printable.String(r.URL.Path), "error", printable.Error(err))
	}
	p.render(q, status, "error", page{Title: http.StatusText(status), Content: printable.Error(err)})
}

// page has the parts of every page.
type page struct {
	Title   string
	Query   string
	Trail   []crumb
	Content any
}

// crumb is a step of the way to a page. The last one has no URL.
type crumb struct{ Name, URL string }

// render sends a page.
func (p *Pages) render(r *request, status int, name string, content page) {
	var b bytes.Buffer
	if err := templates()[name].ExecuteTemplate(&b, "layout", content); err != nil {
		p.options.Log.Error("page cannot be drawn", "page", name, "error", printable.Error(err))
		http.Error(r.w, "the page cannot be drawn; the log of the server says why", http.StatusInternalServerError)
		return
	}
	r.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	r.w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = r.w.Write(b.Bytes()) // The client is gone.
	}
}

// show sends a page that was found.
func (p *Pages) show(r *request, name string, content page) error {
	p.render(r, http.StatusOK, name, content)
	return nil
}

// validHost is a Host header that may be part of a command.
func validHost(host string) bool {
	return host != "" && len(host) < 256 && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]") == ""
}
