package registries_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// wholeServer takes blobs, and says which requests it has got.
type wholeServer struct {
	*uploadServer
	whole func(w http.ResponseWriter, r *http.Request) bool // may answer a PUT with a blob
	other func(w http.ResponseWriter, r *http.Request) bool // may answer any other request

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
	answer := s.other
	if request == "PUT data" {
		answer = s.whole
	}
	if answer != nil && answer(w, r) {
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
	inBoth  = inOne + ", GET, PATCH data, PUT"
)

// status returns a function that answers a blob with a status.
func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(code)
		return true
	}
}

// some reads a part of a blob.
func some(r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, 1<<20) }

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
	for name, whole := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"400": status(http.StatusBadRequest),
		"404": status(http.StatusNotFound),
		"405": status(http.StatusMethodNotAllowed),
		"501": status(http.StatusNotImplemented),
		"202": status(http.StatusAccepted),
		"refuses at once": func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusBadRequest)
			return true
		},
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
			assert.Equal(t, inBoth, s.requests())
			require.NoError(t, send(t.Context()))
			assert.Equal(t, inParts, s.requests())
		})
	}
}

// If a whole blob breaks for a reason that may be the line's, or a server's behind the registry,
// only that blob goes in a PATCH. After the second, all do.
func TestUploadInOneBreaksTwice(t *testing.T) {
	for name, whole := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"408":                 status(http.StatusRequestTimeout),
		"500":                 status(http.StatusInternalServerError),
		"502":                 status(http.StatusBadGateway),
		"504":                 status(http.StatusGatewayTimeout),
		"hangs up":            func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
		"hangs up in between": func(_ http.ResponseWriter, r *http.Request) bool { some(r); panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			var takes atomic.Bool
			s := &wholeServer{uploadServer: &uploadServer{breakAfter: 1 << 30}, whole: func(w http.ResponseWriter, r *http.Request) bool {
				return !takes.Load() && whole(w, r)
			}}
			send := s.sender(t)
			for _, c := range []struct {
				takes bool
				want  string
			}{{false, inBoth}, {true, inOne}, {false, inBoth}, {true, inParts}} {
				takes.Store(c.takes)
				require.NoError(t, send(t.Context()))
				assert.Equal(t, c.want, s.requests())
			}
		})
	}
}

// A blob that a registry refuses however it is sent is sent once, and says nothing of other blobs.
func TestUploadInOneIsDenied(t *testing.T) {
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			var answered atomic.Bool
			s := &wholeServer{uploadServer: &uploadServer{breakAfter: 1 << 30}, whole: func(w http.ResponseWriter, r *http.Request) bool {
				return !answered.Swap(true) && status(code)(w, r)
			}}
			send := s.sender(t)
			got, ok := registries.Status(send(t.Context()))
			assert.True(t, ok)
			assert.Equal(t, code, got)
			assert.Equal(t, inOne, s.requests())
			require.NoError(t, send(t.Context()))
			assert.Equal(t, inOne, s.requests())
		})
	}
}

// A blob in a PATCH gets no attempt for free because meanwhile another has shown that the registry
// takes no whole one.
func TestUploadInOneOfAnother(t *testing.T) {
	s := &wholeServer{uploadServer: &uploadServer{breakAfter: 1 << 30}, whole: status(http.StatusBadRequest)}
	send := s.sender(t)
	var posts, patches atomic.Int32
	s.other = func(_ http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodPost && posts.Add(1) == 1: // The other is sent before this upload begins.
			assert.NoError(t, send(t.Context()))
		case r.Method == http.MethodPatch && patches.Add(1) == 2: // This upload's.
			panic(http.ErrAbortHandler)
		}
		return false
	}
	require.Error(t, send(t.Context()))
	assert.Equal(t, "POST, "+inBoth+", PATCH data, GET", s.requests())
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

// After a break the registry gets only the bytes that it lacks.
func TestUploadInOneBreaks(t *testing.T) {
	s := &wholeServer{uploadServer: &uploadServer{breakAfter: 2 << 20}}
	require.NoError(t, s.sender(t)(t.Context()))
	assert.Equal(t, inBoth, s.requests())
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

// A registry that takes a whole blob and says nothing, until package stall gives up, gets the next in
// a PATCH, so that it is not waited for with each. It still gets whole ones if the caller gives up.
func TestUploadInOneIsSilent(t *testing.T) {
	for name, c := range map[string]struct {
		cause error
		times int
		next  string
	}{
		"silence":           {os.ErrDeadlineExceeded, 1, inParts}, // It is a net.Error.
		"cancelled":         {context.Canceled, 2, inOne},
		"deadline":          {context.DeadlineExceeded, 2, inOne},
		"silence elsewhere": {fmt.Errorf("sending another: %w", os.ErrDeadlineExceeded), 2, inOne},
	} {
		t.Run(name, func(t *testing.T) {
			var end atomic.Pointer[context.CancelCauseFunc]
			s := &wholeServer{uploadServer: &uploadServer{breakAfter: 1 << 30}, whole: func(_ http.ResponseWriter, r *http.Request) bool {
				cancel := end.Swap(nil)
				if cancel == nil {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body)
				(*cancel)(c.cause)
				<-r.Context().Done()
				return true
			}}
			send := s.sender(t)
			for range c.times {
				ctx, cancel := context.WithCancelCause(t.Context())
				end.Store(&cancel)
				require.ErrorIs(t, send(ctx), c.cause)
				assert.Equal(t, inOne, s.requests())
			}
			require.NoError(t, send(t.Context()))
			assert.Equal(t, c.next, s.requests())
		})
	}
}
