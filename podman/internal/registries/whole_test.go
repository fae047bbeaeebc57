package registries_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
)

// wholeServer takes blobs, and says which requests it has got.
type wholeServer struct {
	*uploadServer
	whole func(w http.ResponseWriter, r *http.Request) bool // may answer a PUT with a blob

	mu   sync.Mutex
	seen []string
}

func (s *wholeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v2/": // It is asked how it is reached.
		return
	case "/token":
		_, _ = io.WriteString(w, `{"token":"it"}`)
		return
	}
	request := r.Method
	if r.ContentLength > 0 {
		request += " data"
	}
	s.mu.Lock()
	s.seen = append(s.seen, request)
	s.mu.Unlock()
	if request == "PUT data" && s.whole != nil && s.whole(w, r) {
		return
	}
	s.uploadServer.ServeHTTP(w, r)
}

// requests returns the requests since it was last called.
func (s *wholeServer) requests() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := strings.Join(s.seen, ", ")
	s.seen = nil
	return seen
}

// sender returns a function that sends one more blob of 3 MiB to a server.
func (s *wholeServer) sender(t *testing.T) func(context.Context) error {
	t.Helper()
	to := repository(t, serve(t, s.ServeHTTP))
	client := newClient(t, &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue})
	random := rand.NewChaCha8([32]byte{})
	return func(ctx context.Context) error {
		data := make([]byte, 3<<20)
		random.Read(data) // Never fails.
		upload := client.Upload(to, imgspecv1.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))})
		return upload.Send(ctx, func(int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	}
}

const (
	inOne   = "POST, PUT data"
	inParts = "POST, PATCH data, PUT"
)

// A blob goes into the request that ends the upload.
func TestUploadInOne(t *testing.T) {
	s := &wholeServer{uploadServer: &uploadServer{breakAfter: 1 << 30}}
	send := s.sender(t)
	for range 2 {
		require.NoError(t, send(t.Context()))
		assert.Equal(t, inOne, s.requests())
	}
}

// A registry that does not take that gets the blob in a PATCH, without another attempt of the
// caller, and so all blobs after it.
func TestUploadToWhoTakesNoWhole(t *testing.T) {
	other := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		assert.Fail(t, "a redirect was followed", "%s %s", r.Method, r.URL)
	})
	some := func(r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, 1<<20) }
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(code)
			return true
		}
	}
	for name, whole := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"400": status(http.StatusBadRequest),
		"404": status(http.StatusNotFound),
		"405": status(http.StatusMethodNotAllowed),
		"413": status(http.StatusRequestEntityTooLarge),
		"500": status(http.StatusInternalServerError),
		"202": status(http.StatusAccepted),
		"refuses at once": func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusBadRequest)
			return true
		},
		"hangs up":            func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
		"hangs up in between": func(_ http.ResponseWriter, r *http.Request) bool { some(r); panic(http.ErrAbortHandler) },
		"redirects": func(w http.ResponseWriter, r *http.Request) bool {
			some(r)
			http.Redirect(w, r, "http://"+other+"/upload", http.StatusTemporaryRedirect)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &wholeServer{uploadServer: &uploadServer{breakAfter: 1 << 30}, whole: whole}
			send := s.sender(t)
			require.NoError(t, send(t.Context()))
			assert.Equal(t, inOne+", GET, PATCH data, PUT", s.requests())
			require.NoError(t, send(t.Context()))
			assert.Equal(t, inParts, s.requests())
		})
	}
}

// A registry that treats the PUT as it treats a PATCH has all then, and gets nothing twice.
func TestUploadThatEndsLater(t *testing.T) {
	server := &uploadServer{breakAfter: 1 << 30}
	s := &wholeServer{uploadServer: server, whole: func(w http.ResponseWriter, r *http.Request) bool {
		r.Method = http.MethodPatch
		server.ServeHTTP(w, r)
		return true
	}}
	require.NoError(t, s.sender(t)(t.Context()))
	assert.Equal(t, inOne+", GET, PUT", s.requests())
	assert.EqualValues(t, 3<<20, server.received)
}

// Where the line breaks, the registry gets the rest of what it has not got.
func TestUploadInOneBreaks(t *testing.T) {
	s := &wholeServer{uploadServer: &uploadServer{breakAfter: 2 << 20}}
	require.NoError(t, s.sender(t)(t.Context()))
	assert.Equal(t, inOne+", GET, PATCH data, PUT", s.requests())
	assert.EqualValues(t, 3<<20, s.received)
}

// A registry that rejects the token in the middle, or wants to be asked later, still takes a
// whole blob in one request.
func TestUploadInOneLater(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		fails  bool
		want   string
	}{
		"token": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		}, false, inOne + ", GET, PUT data"},
		"busy": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		}, true, inOne},
	} {
		t.Run(name, func(t *testing.T) {
			var answered atomic.Bool
			s := &wholeServer{uploadServer: &uploadServer{breakAfter: 1 << 30}, whole: func(w http.ResponseWriter, r *http.Request) bool {
				if answered.Swap(true) {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body)
				c.answer(w, r)
				return true
			}}
			send := s.sender(t)
			err := send(t.Context())
			assert.Equal(t, c.fails, err != nil, err)
			assert.Equal(t, c.want, s.requests())
			require.NoError(t, send(t.Context()))
			assert.Equal(t, inOne, s.requests())
		})
	}
}

// A registry that takes a whole blob and says nothing, until the caller gives up, gets the next in a
// PATCH, so that it is not waited for with each.
func TestUploadInOneIsSilent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &wholeServer{uploadServer: &uploadServer{breakAfter: 1 << 30}, whole: func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		silent := ctx.Err() == nil
		if cancel(); silent {
			<-r.Context().Done()
		}
		return silent
	}}
	send := s.sender(t)
	require.ErrorIs(t, send(ctx), context.Canceled)
	assert.Equal(t, inOne, s.requests())
	require.NoError(t, send(t.Context()))
	assert.Equal(t, inParts, s.requests())
}
