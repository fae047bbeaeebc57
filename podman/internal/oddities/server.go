// Package oddities is a registry that behaves as registries were reported to behave, for
// tests: all code that talks to registries is run against each of them.
package oddities

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Oddity is something that a registry does and another one does not.
type Oddity struct {
	Name string
	Seen string // where it was reported
	// NoReferrers is set for a registry without the referrers API.
	NoReferrers bool
	// Once is set if failed requests must not be sent again.
	Once bool
	// Wrap returns a registry with the oddity. It is called once for each Server.
	Wrap func(next http.Handler) http.Handler
	// Says has words that a command must say, by its name, and Fails those with which it
	// must fail.
	Says, Fails map[string]string
}

// Server is a registry with an oddity.
type Server struct {
	// Odd is the address of the registry, Plain one of the same registry without the oddity.
	Odd, Plain string

	mu   sync.Mutex
	seen []string
}

// New starts an empty registry, which ends with the test.
func New(t testing.TB, o Oddity) *Server {
	t.Helper()
	plain := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(!o.NoReferrers))
	s := &Server{}
	odd := o.Wrap(plain)
	start := func(h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	s.Plain = start(plain)
	s.Odd = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		odd.ServeHTTP(w, r)
	}))
	return s
}

// Requests returns the requests since it was last called.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

// answering returns an oddity that answers some requests itself.
func answering(which func(*http.Request) bool, answer http.HandlerFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if which(r) {
				answer(w, r)
			} else {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// first returns an oddity that lasts for the first requests of a kind, for each path.
func first(times int, which func(*http.Request) bool, answer http.HandlerFunc) func(http.Handler) http.Handler {
	var mu sync.Mutex
	counts := map[string]int{}
	return answering(func(r *http.Request) bool {
		if !which(r) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		key := r.Method + path.Dir(r.URL.Path)
		counts[key]++
		return counts[key] <= times
	}, answer)
}

// changing returns an oddity that changes the header of answers.
func changing(which func(*http.Request) bool, change func(r *http.Request, status int, header http.Header) int) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if which(r) {
				w = &changed{ResponseWriter: w, change: func(status int, h http.Header) int { return change(r, status, h) }}
			}
			next.ServeHTTP(w, r)
		})
	}
}

type changed struct {
	http.ResponseWriter
	change func(status int, header http.Header) int
	done   bool
}

// WriteHeader implements http.ResponseWriter.
func (c *changed) WriteHeader(status int) {
	c.done = true
	c.ResponseWriter.WriteHeader(c.change(status, c.Header()))
}

// Write implements http.ResponseWriter.
func (c *changed) Write(p []byte) (int, error) {
	if !c.done {
		c.WriteHeader(http.StatusOK)
	}
	return c.ResponseWriter.Write(p)
}

// answer returns a handler with a status and a body, as JSON if it looks like that.
func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 64<<20)) // Nobody waits for it in vain.
		for n := 0; n+1 < len(header); n += 2 {
			w.Header().Set(header[n], header[n+1])
		}
		switch {
		case w.Header().Get("Content-Type") != "":
		case strings.HasPrefix(body, "{"):
			w.Header().Set("Content-Type", "application/json")
		default:
			w.Header().Set("Content-Type", "text/html")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// asked returns a filter for requests with one of some methods, separated by spaces, and a
// part of a path.
func asked(methods, part string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return strings.Contains(" "+methods+" ", " "+r.Method+" ") && strings.Contains(r.URL.Path, part)
	}
}
