package copying_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// breakingUploads takes blobs over connections that break, and passes them on when they
// are complete.
type breakingUploads struct {
	address string
	every   int64 // bytes

	mu       sync.Mutex
	data     map[string][]byte // by path of the upload
	received int64
}

// answer answers requests about uploads; it is a fault of pushed.
func (u *breakingUploads) answer(n int, w http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/blobs/uploads/") || r.Header.Get("Test-Direct") != "" {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	w.Header().Set("Location", r.URL.Path)
	switch r.Method {
	case http.MethodPost:
		w.Header().Set("Location", fmt.Sprintf("%s%d", r.URL.Path, n))
		w.WriteHeader(http.StatusAccepted)
	case http.MethodPatch:
		u.take(r)
		w.WriteHeader(http.StatusAccepted)
	case http.MethodGet:
		w.Header().Set("Range", fmt.Sprintf("0-%d", len(u.data[r.URL.Path])-1))
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPut:
		u.take(r)
		whole := "http://" + u.address + r.URL.Path[:strings.LastIndex(r.URL.Path, "/")+1] + "?digest=" + url.QueryEscape(r.URL.Query().Get("digest"))
		request, _ := http.NewRequest(http.MethodPost, whole, bytes.NewReader(u.data[r.URL.Path]))
		request.Header.Set("Test-Direct", "yes")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		response.Body.Close()
		w.WriteHeader(response.StatusCode)
	}
	return true
}

// take takes bytes of a blob.
func (u *breakingUploads) take(r *http.Request) {
	data, _ := io.ReadAll(io.LimitReader(r.Body, u.every))
	u.received += int64(len(data))
	u.data[r.URL.Path] = append(u.data[r.URL.Path], data...)
	if int64(len(data)) == u.every {
		panic(http.ErrAbortHandler)
	}
}

// An upload that breaks goes on where it broke, however often.
func TestPushGoesOnWhereItBroke(t *testing.T) {
	img := imagetest.NewImage(t, "large", imagetest.Gzip(1, 5<<20))
	size := int64(len(img.Layers[0].Blob))
	to := newPushed(t)
	uploads := &breakingUploads{address: to.Address, every: 3 << 19, data: map[string][]byte{}}
	to.faulty(uploads.answer)
	options := pushing(t)
	options.RetryTimes = 1
	target := imagetest.Tagged(t, to.Address+"/app:1")
	images := []copying.PushImage{{SaveImage: copying.SaveImage{Source: img}, Targets: []reference.Named{target}}}
	_, err := copying.Push(t.Context(), imagetest.Trusting(t), images, options)
	require.NoError(t, err)
	to.checkThere(t, target, img.Digest())
	assert.Equal(t, img.Layers[0].Blob, to.get(t, "app/blobs/"+img.Layers[0].Digest.String()))
	assert.Equal(t, size+int64(len(img.Config)), uploads.received, "all once")
}
