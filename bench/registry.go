//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// registryServer is a registry that has the images of the layout in bench/app, and hashes
// what is pushed to others, as every registry does, but keeps only its digest, so that no
// disk is measured.
type registryServer struct {
	http.Server
	addresses []string     // in the networks
	moved     atomic.Int64 // bytes of blobs that were sent and received
	data      string

	mu        sync.Mutex
	uploads   map[string]*upload
	blobs     map[string]int64 // by repository@digest
	manifests map[string]document
}

// upload is a blob that is on its way. Its parts come one after the other.
type upload struct {
	digester digest.Digester
	size     int64
}

type document struct {
	mediaType string
	data      []byte
}

const repository = "bench/app"

func startRegistry(data string) (*registryServer, error) {
	s := &registryServer{data: data}
	s.Handler = s
	for _, n := range networks {
		listener, err := n.listen(anyPort)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.addresses = append(s.addresses, listener.Addr().String())
		go func() { _ = s.Serve(listener) }() // Who asks it notices if it ends.
	}
	return s, nil
}

// forget forgets what was pushed.
func (s *registryServer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads, s.blobs, s.manifests = map[string]*upload{}, map[string]int64{}, map[string]document{}
}

var registryPath = regexp.MustCompile(`^/v2/(.+)/(blobs/uploads|blobs|manifests)/([^/]*)$`)

// ServeHTTP implements http.Handler.
func (s *registryServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked := registryPath.FindStringSubmatch(r.URL.Path)
	switch {
	case r.URL.Path == "/v2/":
	case asked == nil:
		http.NotFound(w, r)
	case asked[2] == "manifests":
		s.manifest(w, r, asked[1], asked[3])
	case asked[2] == "blobs":
		s.blob(w, r, asked[1], asked[3])
	default:
		s.upload(w, r, asked[1], asked[3])
	}
}

func (s *registryServer) blob(w http.ResponseWriter, r *http.Request, repo, name string) {
	w.Header().Set("Docker-Content-Digest", name)
	if d, err := digest.Parse(name); err == nil && repo == repository {
		if f, err := os.Open(blobPath(s.data, d)); err == nil {
			defer f.Close() // It was only read.
			w.Header().Set("Content-Type", "application/octet-stream")
			http.ServeContent(countedResponse{w, countedWriter{w, &s.moved}}, r, "", time.Time{}, f)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	size, ok := s.blobs[repo+"@"+name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(size))
}

// countedResponse adds what is sent to a total. It leaves the reading to the connection, so
// that the kernel can send a file.
type countedResponse struct {
	http.ResponseWriter
	counted countedWriter
}

// Write implements io.Writer.
func (c countedResponse) Write(p []byte) (int, error) { return c.counted.Write(p) }

// ReadFrom implements io.ReaderFrom.
func (c countedResponse) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.counted.total.Add(n)
	return n, err
}

// upload takes a blob, a part of one, or the wish to send or to mount one.
func (s *registryServer) upload(w http.ResponseWriter, r *http.Request, repo, id string) {
	query := r.URL.Query()
	s.mu.Lock()
	if size, ok := s.blobs[query.Get("from")+"@"+query.Get("mount")]; ok {
		s.blobs[repo+"@"+query.Get("mount")] = size
		s.mu.Unlock()
		s.created(w, repo, "blobs", query.Get("mount"))
		return
	}
	if r.Method == http.MethodPost {
		id = fmt.Sprint(len(s.uploads))
		s.uploads[id] = &upload{digester: digest.Canonical.Digester()}
	}
	u := s.uploads[id]
	s.mu.Unlock()
	if u == nil {
		http.NotFound(w, r)
		return
	}
	n, err := io.CopyBuffer(u.digester.Hash(), struct{ io.Reader }{r.Body}, make([]byte, 256<<10))
	u.size += n
	s.moved.Add(n)
	want := query.Get("digest")
	switch {
	case err != nil || want != "" && want != u.digester.Digest().String():
		w.WriteHeader(http.StatusBadRequest)
	case want == "":
		w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+id)
		if u.size > 0 {
			w.Header().Set("Range", fmt.Sprintf("0-%d", u.size-1))
		}
		w.WriteHeader(http.StatusAccepted)
	default:
		s.mu.Lock()
		s.blobs[repo+"@"+want] = u.size
		s.mu.Unlock()
		s.created(w, repo, "blobs", want)
	}
}

func (s *registryServer) created(w http.ResponseWriter, repo, kind, d string) {
	w.Header().Set("Location", "/v2/"+repo+"/"+kind+"/"+d)
	w.Header().Set("Docker-Content-Digest", d)
	w.WriteHeader(http.StatusCreated)
}

func (s *registryServer) manifest(w http.ResponseWriter, r *http.Request, repo, name string) {
	if r.Method == http.MethodPut {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		d := digest.FromBytes(data).String()
		s.mu.Lock()
		for _, at := range []string{name, d} {
			s.manifests[repo+"@"+at] = document{r.Header.Get("Content-Type"), data}
		}
		s.mu.Unlock()
		s.created(w, repo, "manifests", d)
		return
	}
	s.mu.Lock()
	m, ok := s.manifests[repo+"@"+name]
	s.mu.Unlock()
	if !ok && repo == repository {
		m.mediaType = imgspecv1.MediaTypeImageManifest
		d, err := manifestDigest(s.data, name)
		if err == nil {
			m.data, err = os.ReadFile(blobPath(s.data, d))
		}
		ok = err == nil
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", m.mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(m.data)))
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(m.data).String())
	_, _ = w.Write(m.data) // Who is gone needs no answer.
}

func blobPath(data string, d digest.Digest) string {
	return filepath.Join(data, "oci/blobs", d.Algorithm().String(), d.Encoded())
}
