package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

const (
	sinkRepository = "bench/pushed"
	forgetPath     = "/forget"
)

// sink is a registry to push to. It hashes blobs, as every registry does, and keeps their
// digests only, so that no disk is measured.
type sink struct {
	received atomic.Int64 // bytes of blobs

	mu        sync.Mutex
	uploads   map[string]*sinkUpload
	blobs     map[string]int64  // by repository and digest
	manifests map[string][]byte // by repository and tag or digest
	types     map[string]string
}

// sinkUpload is a blob that is on its way. Its parts come one after the other.
type sinkUpload struct {
	digester digest.Digester
	size     int64
}

// sinkPath is what is asked for of a repository.
var sinkPath = regexp.MustCompile(`^/v2/(` + sinkRepository + `(?:/app[0-9]+)?)/(blobs/uploads|blobs|manifests)/(.*)$`)

func newSink() *sink {
	s := &sink{}
	s.forget()
	return s
}

func (s *sink) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads, s.blobs = map[string]*sinkUpload{}, map[string]int64{}
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
	case asked[2] == "manifests":
		s.manifest(w, r, asked[1], asked[3])
	case asked[2] == "blobs":
		s.blob(w, asked[1], asked[3])
	default:
		s.upload(w, r, asked[1], asked[3])
	}
}

func (s *sink) blob(w http.ResponseWriter, repository, d string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, ok := s.blobs[repository+"@"+d]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Docker-Content-Digest", d)
	w.Header().Set("Content-Length", fmt.Sprint(size))
}

// mount takes a blob from another repository, if that has it.
func (s *sink) mount(w http.ResponseWriter, repository, from, d string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, ok := s.blobs[from+"@"+d]
	if ok {
		s.blobs[repository+"@"+d] = size
		w.Header().Set("Location", "/v2/"+repository+"/blobs/"+d)
		w.Header().Set("Docker-Content-Digest", d)
		w.WriteHeader(http.StatusCreated)
	}
	return ok
}

// upload takes a blob, a part of one, or the wish to send one.
func (s *sink) upload(w http.ResponseWriter, r *http.Request, repository, id string) {
	if d := r.URL.Query().Get("mount"); d != "" && s.mount(w, repository, r.URL.Query().Get("from"), d) {
		return
	}
	s.mu.Lock()
	if r.Method == http.MethodPost {
		id = fmt.Sprint(len(s.uploads))
		s.uploads[id] = &sinkUpload{digester: digest.Canonical.Digester()}
	}
	upload := s.uploads[id]
	s.mu.Unlock()
	if upload == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	n, err := io.CopyBuffer(upload.digester.Hash(), struct{ io.Reader }{r.Body}, make([]byte, 1<<20))
	upload.size += n
	s.received.Add(n)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Location", "/v2/"+repository+"/blobs/uploads/"+id)
	want := digest.Digest(r.URL.Query().Get("digest"))
	switch {
	case want == "":
		if r.ContentLength > 0 {
			w.Header().Set("Range", fmt.Sprintf("0-%d", upload.size-1))
		}
		w.WriteHeader(http.StatusAccepted)
	case want != upload.digester.Digest():
		w.WriteHeader(http.StatusBadRequest)
	default:
		s.mu.Lock()
		s.blobs[repository+"@"+want.String()] = upload.size
		s.mu.Unlock()
		w.Header().Set("Docker-Content-Digest", want.String())
		w.WriteHeader(http.StatusCreated)
	}
}

func (s *sink) manifest(w http.ResponseWriter, r *http.Request, repository, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPut {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		d := digest.FromBytes(data)
		for _, at := range []string{name, d.String()} {
			key := repository + "@" + at
			s.manifests[key], s.types[key] = data, r.Header.Get("Content-Type")
		}
		w.Header().Set("Docker-Content-Digest", d.String())
		w.WriteHeader(http.StatusCreated)
		return
	}
	key := repository + "@" + name
	data, ok := s.manifests[key]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", s.types[key])
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
	_, _ = w.Write(data) // Who is gone needs no answer.
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
