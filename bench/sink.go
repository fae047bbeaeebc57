package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"sync"

	"github.com/opencontainers/go-digest"
)

const (
	sinkRepository = "bench/pushed"
	forgetPath     = "/forget"
)

// sink is a registry to push to. It hashes blobs, as every registry does, and keeps their
// digests only, so that no disk is measured.
type sink struct {
	mu        sync.Mutex
	uploads   map[string]digest.Digester
	blobs     map[digest.Digest]int64
	manifests map[string][]byte // by tag and digest
	types     map[string]string
}

// sinkPath is what is asked for of a repository.
var sinkPath = regexp.MustCompile(`^/v2/` + sinkRepository + `/(blobs/uploads|blobs|manifests)/(.*)$`)

func newSink() *sink {
	s := &sink{}
	s.forget()
	return s
}

func (s *sink) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads, s.blobs = map[string]digest.Digester{}, map[digest.Digest]int64{}
	s.manifests, s.types = map[string][]byte{}, map[string]string{}
}

// ServeHTTP implements http.Handler.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == forgetPath {
		s.forget()
		return
	}
	asked := sinkPath.FindStringSubmatch(r.URL.Path)
	switch {
	case asked == nil:
		http.NotFound(w, r)
	case asked[1] == "manifests":
		s.manifest(w, r, asked[2])
	case asked[1] == "blobs":
		s.blob(w, digest.Digest(asked[2]))
	default:
		s.upload(w, r, asked[2])
	}
}

func (s *sink) blob(w http.ResponseWriter, d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, ok := s.blobs[d]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Length", fmt.Sprint(size))
}

// upload takes a blob or a part of one. A blob's parts come one after the other.
func (s *sink) upload(w http.ResponseWriter, r *http.Request, id string) {
	s.mu.Lock()
	if r.Method == http.MethodPost {
		id = fmt.Sprint(len(s.uploads))
		s.uploads[id] = digest.Canonical.Digester()
	}
	digester := s.uploads[id]
	s.mu.Unlock()
	if digester == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	hash := &counted{w: digester.Hash()}
	if _, err := io.CopyBuffer(hash, struct{ io.Reader }{r.Body}, make([]byte, 1<<20)); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Location", "/v2/"+sinkRepository+"/blobs/uploads/"+id)
	want := digest.Digest(r.URL.Query().Get("digest"))
	switch {
	case want == "":
		if r.ContentLength > 0 {
			w.Header().Set("Range", fmt.Sprintf("0-%d", hash.n-1))
		}
		w.WriteHeader(http.StatusAccepted)
	case want != digester.Digest():
		w.WriteHeader(http.StatusBadRequest)
	default:
		s.mu.Lock()
		s.blobs[want] = hash.n
		s.mu.Unlock()
		w.Header().Set("Docker-Content-Digest", want.String())
		w.WriteHeader(http.StatusCreated)
	}
}

func (s *sink) manifest(w http.ResponseWriter, r *http.Request, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPut {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		d := digest.FromBytes(data)
		for _, key := range []string{name, d.String()} {
			s.manifests[key], s.types[key] = data, r.Header.Get("Content-Type")
		}
		w.Header().Set("Docker-Content-Digest", d.String())
		w.WriteHeader(http.StatusCreated)
		return
	}
	data, ok := s.manifests[name]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", s.types[name])
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
	_, _ = w.Write(data) // Who is gone needs no answer.
}

// counted counts what is written.
type counted struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.w.Write(p)
}

// emptied has the registry forget what was pushed, and then does something.
func emptied(f func(context.Context, *env) error) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		response, err := http.Get("http://" + e.registry + forgetPath)
		if err != nil {
			return err
		}
		if err := response.Body.Close(); err != nil {
			return err
		}
		return f(ctx, e)
	}
}
