package https

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
)

func TestMain(m *testing.M) {
	policy.FirstDelay = time.Millisecond
	os.Exit(m.Run())
}

// server has one object, which tests change.
type server struct {
	*httptest.Server
	access input.Access

	mu       sync.Mutex
	data     []byte
	etag     string
	before   func(http.ResponseWriter, *http.Request) bool // reports whether it has answered
	requests []string                                      // their ranges
}

func newServer(t testing.TB, size int) *server {
	t.Helper()
	s := &server{data: content(1, size), etag: `"one"`}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.answer))
	t.Cleanup(s.Close)
	s.access.CertDir = t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(s.access.CertDir, "ca.crt"), ca, 0o600))
	return s
}

func content(seed uint64, size int) []byte {
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = random.Read(data) // Never fails.
	return data
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Header.Get("Range"))
	data, etag, before := s.data, s.etag, s.before
	s.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	w.Header().Set("ETag", etag)
	http.ServeContent(w, r, "x.tar", time.Time{}, bytes.NewReader(data))
}

func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *server) open(t *testing.T, path string) (*input.File, error) {
	t.Helper()
	file, err := input.Open(t.Context(), naming.HideQuery(s.URL+path), input.Options{TempDir: t.TempDir(), Access: s.access})
	if err == nil {
		t.Cleanup(func() { assert.NoError(t, file.Close()) })
	}
	return file, err
}

func (s *server) mustOpen(t *testing.T) *input.File {
	t.Helper()
	file, err := s.open(t, "/x.tar")
	require.NoError(t, err)
	return file
}

// Reads at any place and of any length return the right bytes, in few requests.
func TestRanges(t *testing.T) {
	s := newServer(t, 3<<20)
	file := s.mustOpen(t)
	assert.False(t, file.Copied)
	assert.Equal(t, int64(3<<20), file.Size())
	require.NoError(t, iotest.TestReader(io.NewSectionReader(file, 1000, 70_000), s.data[1000:71_000]))
	for range 200 {
		off := rand.IntN(len(s.data))
		n := 1 + rand.IntN(min(len(s.data)-off, 300_000))
		p := make([]byte, n)
		_, err := file.ReadAt(p, int64(off))
		require.NoError(t, err)
		require.True(t, bytes.Equal(s.data[off:off+n], p), "%d bytes at %d", n, off)
	}
	n, err := file.ReadAt(make([]byte, 10), file.Size()-4)
	assert.Equal(t, 4, n)
	assert.Equal(t, io.EOF, err)
}

// Reading in order asks for more each time.
func TestReadAhead(t *testing.T) {
	s := newServer(t, 20<<20)
	file := s.mustOpen(t)
	var read bytes.Buffer
	_, err := io.CopyBuffer(struct{ io.Writer }{&read}, struct{ io.Reader }{io.NewSectionReader(file, 0, file.Size())}, make([]byte, 32<<10))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(s.data, read.Bytes()))
	assert.LessOrEqual(t, len(s.requests), 12)
}

// Many concurrent readers get the right bytes.
func TestConcurrently(t *testing.T) {
	s := newServer(t, 2<<20)
	file := s.mustOpen(t)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			p := make([]byte, 100_000)
			for off := n * 10_000; off+len(p) < len(s.data); off += 300_000 {
				if _, err := file.ReadAt(p, int64(off)); assert.NoError(t, err) {
					assert.True(t, bytes.Equal(s.data[off:off+len(p)], p))
				}
			}
		})
	}
	group.Wait()
}

// A file that cannot be read by ranges is copied once.
func TestWithoutRanges(t *testing.T) {
	for name, before := range map[string]func(s *server) func(http.ResponseWriter, *http.Request) bool{
		"no ranges": func(s *server) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool {
				_, _ = w.Write(s.data)
				return true
			}
		},
		"a weak version": func(s *server) func(http.ResponseWriter, *http.Request) bool {
			s.etag = `W/"one"`
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, 300_000)
			s.before = before(s)
			file := s.mustOpen(t)
			assert.True(t, file.Copied)
			got, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size()))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(s.data, got))
			assert.LessOrEqual(t, len(s.requests), 2)
		})
	}
}

// Another version is an error, also if a server does not look at If-Match, and stays one.
func TestChanges(t *testing.T) {
	changes := map[string]func(s *server){
		"another one":           func(s *server) { s.data, s.etag = content(2, len(s.data)), `"two"` },
		"a shorter one":         func(s *server) { s.data, s.etag = content(2, 100), `"two"` },
		"If-Match is not known": func(s *server) { s.data, s.etag = content(2, len(s.data)), `"two"`; s.before = withoutIfMatch },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, 2<<20)
			file := s.mustOpen(t)
			s.set(func() { change(s) })
			_, err := file.ReadAt(make([]byte, 10), 1<<20)
			require.ErrorIs(t, err, ranged.ErrChanged)
			_, err = file.ReadAt(make([]byte, 10), 0)
			require.ErrorIs(t, err, ranged.ErrChanged, "what is known of the old one is not given any more")
		})
	}
}

func withoutIfMatch(_ http.ResponseWriter, r *http.Request) bool {
	r.Header.Del("If-Match")
	return false
}

// A connection that breaks goes on where it broke; a server that is ill is asked again.
func TestBreaks(t *testing.T) {
	s := newServer(t, 2<<20)
	file := s.mustOpen(t)
	count := 0
	s.set(func() {
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			switch count++; {
			case count > 6:
				return false
			case count%2 == 0:
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			var from, to int
			_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
			assert.NoError(t, err)
			w.Header().Set("ETag", s.etag)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(s.data)))
			w.Header().Set("Content-Length", fmt.Sprint(to+1-from))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(s.data[from : from+(to+1-from)/2])
			panic(http.ErrAbortHandler)
		}
	})
	p := make([]byte, 1<<20)
	_, err := file.ReadAt(p, 1<<20)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(s.data[1<<20:], p))
	assert.Greater(t, count, 6)
}

// The password goes to the server that is named, and to no other.
func TestCredentials(t *testing.T) {
	other := newServer(t, 1000)
	other.before = func(_ http.ResponseWriter, r *http.Request) bool {
		assert.Empty(t, r.Header.Get("Authorization"))
		assert.Empty(t, r.Header.Get("Referer"))
		return false
	}
	s := newServer(t, 1000)
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		switch {
		case user != "me" || password != "secret":
			w.WriteHeader(http.StatusUnauthorized)
			return true
		case r.URL.Path == "/elsewhere":
			http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+"/x.tar", http.StatusFound)
			return true
		case r.URL.Path == "/plain":
			http.Redirect(w, r, "http://127.0.0.1:1/?sig=hidden", http.StatusFound)
			return true
		}
		return false
	}
	_, err := s.open(t, "/x.tar")
	require.ErrorContains(t, err, "401 Unauthorized: it wants other credentials (--creds)")
	s.access.Username, s.access.Password = "me", "secret"
	_, err = s.open(t, "/x.tar")
	require.NoError(t, err)
	s.access.SkipVerify = true // The other server is called by another name.
	_, err = s.open(t, "/elsewhere?sig=hidden")
	require.NoError(t, err)
	_, err = s.open(t, "/plain")
	require.ErrorContains(t, err, "not https")
	assert.NotContains(t, err.Error(), "hidden")
	_, err = input.Open(t.Context(), strings.Replace(s.URL, "https://", "https://me:secret@", 1)+"/x.tar", input.Options{})
	require.ErrorContains(t, err, "--creds")
}

// No error has the query string of an address.
func TestQueryIsHidden(t *testing.T) {
	s := newServer(t, 1000)
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/x.tar" {
			assert.Equal(t, "X-Amz-Signature=hidden&x=1", r.URL.RawQuery)
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	_, err := s.open(t, "/x.tar?X-Amz-Signature=hidden&x=1")
	require.NoError(t, err)
	errs := map[string]error{}
	_, errs["403"] = s.open(t, "/no.tar?X-Amz-Signature=hidden")
	s.access.CertDir = ""
	_, errs["certificate"] = s.open(t, "/x.tar?X-Amz-Signature=hidden&x=1")
	s.Close()
	_, errs["refused"] = s.open(t, "/x.tar?X-Amz-Signature=hidden&x=1")
	for name, err := range errs {
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), "hidden", name)
		assert.Contains(t, err.Error(), s.URL, name)
	}
}

// A compressed file is copied, and a missing one is reported.
func TestOthers(t *testing.T) {
	s := newServer(t, 1000)
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/none.tar" {
			http.NotFound(w, r)
			return true
		}
		return false
	}
	_, err := s.open(t, "/none.tar")
	require.ErrorContains(t, err, "404 Not Found")
	s.access.CertDir = filepath.Join(s.access.CertDir, "none")
	_, err = s.open(t, "/x.tar")
	require.True(t, errors.Is(err, os.ErrNotExist))
}
