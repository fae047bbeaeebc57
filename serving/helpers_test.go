package serving_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/serving"
)

// layout is an archive that a test makes: in the OCI layout, if it has images.
type layout struct {
	t     testing.TB
	files map[string][]byte
	order []string
	index v1.Index
}

func newLayout(t testing.TB) *layout {
	return &layout{t: t, files: map[string][]byte{}, index: v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}}}
}

func (l *layout) file(name string, data []byte) {
	if l.files[name] == nil {
		l.order = append(l.order, name)
	}
	l.files[name] = data
}

func blobPath(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

// blobs adds the blobs of an image.
func (l *layout) blobs(m *imagetest.Image) {
	for _, layer := range m.Layers {
		l.file(blobPath(layer.Digest), layer.Blob)
	}
	l.file(blobPath(m.ConfigDigest()), m.Config)
	l.file(blobPath(m.Digest()), m.Raw)
}

// add adds an image with names, or without.
func (l *layout) add(m *imagetest.Image, names ...string) *layout {
	l.blobs(m)
	if len(names) == 0 {
		l.index.Manifests = append(l.index.Manifests, m.Descriptor())
	}
	for _, name := range names {
		d := m.Descriptor()
		d.Annotations = map[string]string{"io.containerd.image.name": name}
		l.index.Manifests = append(l.index.Manifests, d)
	}
	return l
}

// unpack writes the layout to a directory, as clients do: the index last, and in the place of the
// one before.
func (l *layout) unpack(dir string) {
	r := tar.NewReader(bytes.NewReader(l.bytes()))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(l.t, err)
		data, err := io.ReadAll(r)
		require.NoError(l.t, err)
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		require.NoError(l.t, os.MkdirAll(filepath.Dir(path), 0o700))
		replace(l.t, path, data)
	}
	replace(l.t, filepath.Join(dir, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

// bytes returns the archive.
func (l *layout) bytes() []byte {
	if len(l.index.Manifests) > 0 {
		index, err := json.Marshal(l.index)
		require.NoError(l.t, err)
		l.file("index.json", index)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range l.order {
		require.NoError(l.t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(l.files[name]))}))
		_, err := w.Write(l.files[name])
		require.NoError(l.t, err)
	}
	require.NoError(l.t, w.Close())
	return b.Bytes()
}

// write writes the archive to a file called images.tar, and returns its path.
func (l *layout) write() string {
	path := filepath.Join(l.t.TempDir(), "images.tar")
	require.NoError(l.t, os.WriteFile(path, l.bytes(), 0o600))
	return path
}

// logged is a log that a test reads.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// served is a Server that a test asks.
type served struct {
	*serving.Server
	t    testing.TB
	url  string
	log  *logged
	http *httptest.Server
}

func serve(t testing.TB, paths ...string) *served {
	t.Helper()
	return serveWith(t, serving.Options{}, paths...)
}

func serveWith(t testing.TB, o serving.Options, paths ...string) *served {
	t.Helper()
	s := &served{t: t, log: &logged{}}
	o.Log = slog.New(slog.NewTextHandler(s.log, nil))
	var err error
	s.Server, err = serving.New(t.Context(), paths, o)
	require.NoError(t, err)
	s.http = httptest.NewServer(s)
	s.url = s.http.URL
	t.Cleanup(func() {
		s.http.Close()
		assert.NoError(t, s.Close())
	})
	return s
}

// answer is the answer of a Server.
type answer struct {
	*http.Response
	body []byte
	err  error // of reading the body
}

// do sends a request; headers are names and values.
func (s *served) do(method, target string, headers ...string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+target, nil)
	require.NoError(s.t, err)
	for n := 0; n < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	a := answer{Response: response}
	a.body, a.err = io.ReadAll(response.Body)
	require.NoError(s.t, response.Body.Close())
	return a
}

// get returns the answer for a path under /v2/, which must be there.
func (s *served) get(path string) []byte {
	s.t.Helper()
	a := s.do(http.MethodGet, "/v2/"+path)
	require.NoError(s.t, a.err)
	require.Equal(s.t, http.StatusOK, a.StatusCode, "%s: %s", path, a.body)
	return a.body
}

// getHere is get without a network between: it returns when the request has ended.
func (s *served) getHere(path string) []byte {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, "/v2/"+path, nil))
	assert.Equal(s.t, http.StatusOK, w.Code)
	return w.Body.Bytes()
}

// getAndCheck is getHere, and returns when the blobs that were sent have been
// verified.
func (s *served) getAndCheck(path string) []byte {
	s.t.Helper()
	body := s.getHere(path)
	s.AwaitChecks()
	return body
}

// status returns the status of a GET request under /v2/.
func (s *served) status(path string) int {
	s.t.Helper()
	return s.do(http.MethodGet, "/v2/"+path).StatusCode
}

// code returns the code of an error.
func (a answer) code(t testing.TB) string {
	t.Helper()
	var e struct {
		Errors []struct{ Code, Message string }
	}
	require.NoError(t, json.Unmarshal(a.body, &e), "%s", a.body)
	require.Len(t, e.Errors, 1)
	assert.NotEmpty(t, e.Errors[0].Message)
	return e.Errors[0].Code
}
