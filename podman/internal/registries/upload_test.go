package registries_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// uploadServer takes one blob, over connections that break.
type uploadServer struct {
	breakAfter int64                                   // bytes of a request
	says       func(w http.ResponseWriter, n int) bool // may answer instead how much is there

	late     int64 // bytes of a break that come after the registry was asked
	noRanges bool  // no part is taken but a first one

	mu       sync.Mutex
	coming   []byte
	begun    int
	data     []byte
	received int64
	done     digest.Digest
}

func (s *uploadServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Location", fmt.Sprintf("/upload/%d?state=%d", s.begun, len(s.data)))
	switch r.Method {
	case http.MethodPost:
		s.begun++
		s.data = nil
		w.Header().Set("Location", fmt.Sprintf("/upload/%d", s.begun))
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPatch:
		if s.take(w, r) {
			w.Header().Set("Location", fmt.Sprintf("/upload/%d?state=all", s.begun))
			w.WriteHeader(http.StatusAccepted)
		}
	case http.MethodGet:
		if s.says != nil && s.says(w, len(s.data)) {
			return
		}
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(s.data)-1, 0)))
		w.WriteHeader(http.StatusNoContent)
		s.data, s.coming = append(s.data, s.coming...), nil
	case http.MethodPut:
		if r.ContentLength > 0 && !s.take(w, r) {
			return
		}
		s.done = digest.FromBytes(s.data)
		if r.URL.Query().Get("digest") != s.done.String() {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}
}

// take takes bytes of the blob, unless they are a part that it does not want.
func (s *uploadServer) take(w http.ResponseWriter, r *http.Request) bool {
	var first, last int64
	if part := r.Header.Get("Content-Range"); part != "" {
		if _, err := fmt.Sscanf(part, "%d-%d", &first, &last); err != nil || s.noRanges || first != int64(len(s.data)) || last-first+1 != r.ContentLength {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return false
		}
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, s.breakAfter))
	s.data = append(s.data[:first], data...)
	s.received += int64(len(data))
	if late := int64(len(data)) - s.late; s.late > 0 && late > 0 {
		s.data, s.coming = s.data[:first+late], data[late:]
	}
	if err != nil || int64(len(data)) < r.ContentLength {
		panic(http.ErrAbortHandler)
	}
	return true
}

// uploadTo returns an upload of 5 MiB, a function that opens the blob, and the blob.
func uploadTo(t *testing.T, server http.Handler) (*registries.Upload, func(int64) (io.ReadCloser, error), []byte) {
	t.Helper()
	data := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{}).Read(data) // Never fails.
	client := newClient(t, &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue})
	u := client.Upload(repository(t, serve(t, server.ServeHTTP)), imgspecv1.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))})
	return u, func(int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, data
}

// Over a line that breaks, bytes that the registry has are not sent again.
func TestUploadGoesOn(t *testing.T) {
	for _, breakAfter := range []int64{1 << 20, 3 << 20 / 2, 5<<20 - 1, 5 << 20} {
		s := &uploadServer{breakAfter: breakAfter}
		u, open, data := uploadTo(t, s)
		var skipped, announced []int64
		u.Announce = func(err error, offset int64) {
			assert.Error(t, err)
			announced = append(announced, offset)
		}
		require.NoError(t, u.Send(t.Context(), func(skip int64) (io.ReadCloser, error) {
			skipped = append(skipped, skip)
			return open(skip)
		}))
		assert.Equal(t, digest.FromBytes(data), s.done)
		assert.EqualValues(t, len(data), s.received)
		assert.Equal(t, 1, s.begun)
		assert.Equal(t, skipped[1:], append([]int64{}, announced...))
		for i, skip := range skipped {
			assert.Equal(t, int64(i)*breakAfter, skip)
		}
	}
}

// Upload finds out about bytes that are still on their way when it asks the registry.
func TestUploadWhileSomeIsOnItsWay(t *testing.T) {
	s := &uploadServer{breakAfter: 2 << 20, late: 100}
	u, open, data := uploadTo(t, s)
	opened := 0
	require.NoError(t, u.Send(t.Context(), func(skip int64) (io.ReadCloser, error) {
		if opened++; opened > 2 {
			s.mu.Lock()
			s.late = 0
			s.mu.Unlock()
		}
		return open(skip)
	}))
	assert.Equal(t, digest.FromBytes(data), s.done)
	assert.Equal(t, 1, s.begun)
}

// A registry that does not go on is sent the whole blob each time.
func TestUploadToWhoDoesNotGoOn(t *testing.T) {
	s := &uploadServer{breakAfter: 2 << 20, noRanges: true}
	u, open, data := uploadTo(t, s)
	for begun := 2; begun < 4; begun++ {
		err := u.Send(t.Context(), open)
		require.Error(t, err)
		verdict := retry.Policy{Classifiers: []retry.Classifier{registries.Judge}}.Judge(err)
		assert.True(t, verdict.Retry, "the line broke: %v", err)
		assert.Equal(t, begun, s.begun)
	}
	s.mu.Lock()
	s.breakAfter = 5 << 20
	s.mu.Unlock()
	require.NoError(t, u.Send(t.Context(), open))
	assert.Equal(t, digest.FromBytes(data), s.done)
}

// If too little comes through, or the registry has nothing to go on with, Send fails,
// and a later attempt may do better.
func TestUploadFails(t *testing.T) {
	for name, c := range map[string]struct {
		says       func(w http.ResponseWriter, n int) bool
		breakAfter int64
		begun      int
	}{
		"little":     {nil, 1<<20 - 1, 1},
		"nothing":    {nil, 0, 1},
		"forgotten":  {func(w http.ResponseWriter, _ int) bool { w.WriteHeader(http.StatusNotFound); return true }, 2 << 20, 3},
		"busy":       {func(w http.ResponseWriter, _ int) bool { w.WriteHeader(http.StatusServiceUnavailable); return true }, 2 << 20, 1},
		"cannot say": {func(w http.ResponseWriter, _ int) bool { w.WriteHeader(http.StatusNoContent); return true }, 2 << 20, 3},
		"too much": {func(w http.ResponseWriter, _ int) bool {
			w.Header().Set("Range", "0-5242880")
			w.WriteHeader(http.StatusNoContent)
			return true
		}, 2 << 20, 3},
		"hung up": {func(http.ResponseWriter, int) bool { panic(http.ErrAbortHandler) }, 2 << 20, 1},
		"less than it has": {func(w http.ResponseWriter, n int) bool {
			w.Header().Set("Range", fmt.Sprintf("0-%d", n-2))
			w.WriteHeader(http.StatusNoContent)
			return true
		}, 2 << 20, 3},
	} {
		s := &uploadServer{breakAfter: c.breakAfter, says: c.says}
		u, open, data := uploadTo(t, s)
		require.Error(t, u.Send(t.Context(), open), name)
		s.mu.Lock()
		s.breakAfter, s.says = int64(len(data)), nil
		s.mu.Unlock()
		require.NoError(t, u.Send(t.Context(), open), name)
		assert.Equal(t, digest.FromBytes(data), s.done, name)
		assert.Equal(t, c.begun, s.begun, name)
	}
}

// A registry that never says how much it has is sent the whole blob in the end.
func TestUploadToWhoNeverSays(t *testing.T) {
	s := &uploadServer{breakAfter: 2 << 20, says: func(w http.ResponseWriter, _ int) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}}
	u, open, data := uploadTo(t, s)
	require.Error(t, u.Send(t.Context(), open))
	s.mu.Lock()
	s.breakAfter = int64(len(data))
	s.mu.Unlock()
	require.Error(t, u.Send(t.Context(), open))
	assert.Equal(t, 1, s.begun)
	require.NoError(t, u.Send(t.Context(), open))
	assert.Equal(t, digest.FromBytes(data), s.done)
	assert.Equal(t, 2, s.begun)
}

// A blob that cannot be read, or a context that ends, is the error at once.
func TestUploadOfNothing(t *testing.T) {
	errLost := errors.New("lost")
	for _, after := range []int64{0, 1 << 20, 3 << 20} {
		s := &uploadServer{breakAfter: 2 << 20}
		u, open, data := uploadTo(t, s)
		require.ErrorIs(t, u.Send(t.Context(), func(int64) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(data[:after]), iotest.ErrReader(errLost))), nil
		}), errLost, after)
		require.ErrorIs(t, u.Send(t.Context(), func(int64) (io.ReadCloser, error) { return nil, errLost }), errLost)
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, u.Send(ctx, func(skip int64) (io.ReadCloser, error) { cancel(); return open(skip) }), context.Canceled)
		assert.Empty(t, s.done)
	}
}
