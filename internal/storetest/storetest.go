// Package storetest serves objects to tests, as an S3-compatible store or as a server for https, in the process of
// the test. It counts requests, and fails on demand. It ignores signatures.
package storetest

import (
	"bytes"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Bucket is the name of the tests' bucket.
const Bucket = "images"

// Server has objects. It may be used concurrently.
type Server struct {
	// URL is the server's address. URLs of a store's objects have the bucket in the path.
	URL string
	// CertDir has the certificate of a server for https.
	CertDir string

	mu       sync.Mutex
	objects  map[string]object
	before   func(http.ResponseWriter, *http.Request) bool
	requests []string
	sent     int64
	s3       bool

	uploads       map[string]*upload
	begun         int
	received      int64
	unconditional bool
	equalParts    bool
}

type object struct {
	data  []byte
	etag  string
	token string // its metadata, as far as tests need it
}

// NewS3 returns a store, and sets the environment so that programs find it. It ends with the test.
func NewS3(t testing.TB) *Server {
	t.Helper()
	s := &Server{objects: map[string]object{}, s3: true}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL
	s.setEnvironment(t)
	return s
}

// NewS3TLS is NewS3 for https.
func NewS3TLS(t testing.TB) *Server {
	t.Helper()
	s := NewHTTPS(t)
	s.s3 = true
	s.setEnvironment(t)
	return s
}

func (s *Server) setEnvironment(t testing.TB) {
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": s.URL, "AWS_ENDPOINT_URL_S3": "", "AWS_REGION": "us-east-1", "AWS_PROFILE": "",
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_NO_SIGN_REQUEST": "",
	} {
		t.Setenv(name, value)
	}
}

// NewHTTPS returns a server for https. It ends with the test.
func NewHTTPS(t testing.TB) *Server {
	t.Helper()
	s := &Server{objects: map[string]object{}, CertDir: t.TempDir()}
	server := httptest.NewTLSServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(s.CertDir, "ca.crt"), ca, 0o600))
	return s
}

// Put stores an object, or a new version of it. It returns its path for commands.
func (s *Server) Put(key string, data []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.objects[key]
	s.objects[key] = object{data: data, etag: fmt.Sprintf("%q", fmt.Sprintf("%s+%d", strings.Trim(old.etag, `"`), len(data)))}
	if s.s3 {
		return "s3://" + Bucket + "/" + key
	}
	return s.URL + "/" + key
}

// Before makes the server call f first for each request. f reports whether it has answered. nil ends that.
func (s *Server) Before(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Count returns the requests since the last call, each as its method and range, and how many bytes of objects the
// server sent for them.
func (s *Server) Count() (requests []string, sent int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests, sent = s.requests, s.sent
	s.requests, s.sent = nil, 0
	return requests, sent
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	prefix := "/"
	if s.s3 {
		prefix += Bucket + "/"
	}
	s.mu.Lock()
	key := r.URL.Path[min(len(prefix), len(r.URL.Path)):]
	o, found := s.objects[key]
	before := s.before
	s.requests = append(s.requests, r.Method+" "+r.Header.Get("Range"))
	s.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	if s.s3 && r.URL.Query().Get("list-type") == "2" {
		s.list(w, r)
		return
	}
	if s.s3 && s.write(w, r, key) {
		return
	}
	if !found {
		Refuse(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	w.Header().Set("ETag", o.etag)
	if o.token != "" {
		w.Header().Set(tokenHeader, o.token)
	}
	http.ServeContent(counted{w, s}, r, "", time.Time{}, bytes.NewReader(o.data))
}

// pageSize is how many keys a list has at most.
const pageSize = 3

// list answers with one page of keys.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	type item struct {
		Key, ETag string
		Size      int
	}
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []item
	}
	query := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(key, query.Get("prefix")) || key <= query.Get("continuation-token") {
			continue
		}
		if len(page.Contents) == pageSize {
			page.IsTruncated, page.NextContinuationToken = true, page.Contents[pageSize-1].Key
			break
		}
		page.Contents = append(page.Contents, item{key, s.objects[key].etag, len(s.objects[key].data)})
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(page) // The client is gone.
}

// Delete removes an object.
func (s *Server) Delete(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
}

// Refuse answers as S3 does when it fails.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

// counted counts the bytes of answers.
type counted struct {
	http.ResponseWriter
	server *Server
}

// Write implements io.Writer.
func (c counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.sent += int64(n)
	return n, err
}
