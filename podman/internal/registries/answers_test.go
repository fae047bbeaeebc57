package registries_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// questions are all that a Client asks.
var questions = map[string]func(ctx context.Context, c *registries.Client, to reference.Named) error{
	"digest": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		_, err := c.Digest(ctx, to)
		return err
	},
	"claimed digest": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		_, err := c.ClaimedDigest(ctx, to)
		return err
	},
	"tags": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		_, err := c.Tags(ctx, reference.TrimNamed(to), 10)
		return err
	},
	"tagged": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		_, _, err := c.Tagged(ctx, to, "1")
		return err
	},
	"referrers": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		_, _, err := c.Referrers(ctx, to, subject)
		return err
	},
	"list": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		_, err := c.List(ctx, to, subject, one, []byte("{}"))
		return err
	},
	"has blob": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		_, err := c.HasBlob(ctx, to, subject)
		return err
	},
	"mount": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		_, err := c.Upload(to, imgspecv1.Descriptor{Digest: subject}).Mount(ctx, to)
		return err
	},
	"mount from anywhere": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		_, err := c.Upload(to, imgspecv1.Descriptor{Digest: subject}).Mount(ctx, nil)
		return err
	},
	"manifest": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		return c.PutManifest(ctx, to, registries.Manifest{Raw: []byte("{}"), MediaType: imgspecv1.MediaTypeImageManifest, Digest: subject})
	},
	"blob": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		open := func(int64) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("data")), nil }
		return c.Upload(to, imgspecv1.Descriptor{Digest: subject, Size: 4}).Send(ctx, open)
	},
	"blob of a stream": func(ctx context.Context, c *registries.Client, to reference.Named) error {
		_, err := c.Put(ctx, to, bytes.NewReader([]byte("data")), types.BlobInfo{Size: 4})
		return err
	},
}

// A registry and its token server say how long a client has to wait, in seconds or as a date.
// Errors of every kind of request tell that.
func TestRetryAfter(t *testing.T) {
	for form, header := range map[string]func() string{
		"seconds": func() string { return "3600" },
		"date":    func() string { return time.Now().Add(time.Hour + time.Minute).UTC().Format(http.TimeFormat) },
	} {
		for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
			busy := func(w http.ResponseWriter) {
				w.Header().Set("Retry-After", header())
				w.WriteHeader(status)
			}
			for where, handler := range map[string]http.HandlerFunc{
				"registry": func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/v2/" {
						busy(w)
					}
				},
				"blob itself": func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost && !r.URL.Query().Has("mount") {
						w.Header().Set("Location", "/v2/app/blobs/uploads/1")
						w.WriteHeader(http.StatusAccepted)
					} else if r.URL.Path != "/v2/" {
						busy(w)
					}
				},
				"tokens": func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/token" {
						busy(w)
						return
					}
					w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, r.Host))
					w.WriteHeader(http.StatusUnauthorized)
				},
			} {
				to, err := reference.ParseNamed(serve(t, handler) + "/app:1")
				require.NoError(t, err)
				c := registries.New(imagetest.RegistryContext(t))
				for name, ask := range questions {
					name = fmt.Sprint(form, status, where, name)
					err := ask(t.Context(), c, to)
					require.Error(t, err, name)
					verdict, known := registries.Judge(err)
					require.True(t, known && verdict.Retry, "%s: %v", name, err)
					assert.InDelta(t, time.Hour+30*time.Second, verdict.After, float64(5*time.Minute), name)
				}
				c.Close()
			}
		}
	}
	_, known := registries.Judge(errors.New("something else"))
	assert.False(t, known)
}

// A registry without space is not sent anything again.
func TestIsFull(t *testing.T) {
	for body, full := range map[string]bool{
		`{"errors":[{"code":"UNKNOWN","detail":{"DriverName":"filesystem","Enclosed":{"Op":"write","Err":28}}}]}`: true,
		`{"errors":[{"code":"UNKNOWN","message":"write /var/x: No space left on device"}]}`:                       true,
		`{"errors":[{"code":"UNKNOWN","detail":{"Err":280}}]}`:                                                    false,
		`no space left`: false, // No registry says so.
	} {
		to, err := reference.ParseNamed(serve(t, answers(http.StatusInternalServerError, "application/json", body)) + "/app:1")
		require.NoError(t, err)
		c := registries.New(imagetest.RegistryContext(t))
		err = questions["manifest"](t.Context(), c, to)
		c.Close()
		require.Error(t, err)
		verdict, known := registries.Judge(err)
		assert.True(t, known)
		assert.Equal(t, full, registries.IsFull(err), body)
		assert.Equal(t, !full, verdict.Retry, body)
	}
}

// Nor is it if it has run out of space halfway.
func TestFullHalfway(t *testing.T) {
	var begun, chunks atomic.Int32
	to, err := reference.ParseNamed(serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/v2/app/blobs/uploads/1")
		switch {
		case r.Method == http.MethodPost:
			begun.Add(1)
			w.WriteHeader(http.StatusAccepted)
		case r.Method == http.MethodPatch && chunks.Add(1) == 2:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNKNOWN","message":"no space left on device"}]}`)
		case r.Method == http.MethodPatch:
			w.WriteHeader(http.StatusAccepted)
		case r.URL.Path != "/v2/":
			w.Header().Set("Range", "0-1")
			w.WriteHeader(http.StatusNoContent)
		}
	}) + "/app:1")
	require.NoError(t, err)
	c := registries.New(imagetest.RegistryContext(t))
	defer c.Close()
	upload := c.Upload(to, imgspecv1.Descriptor{Digest: subject, Size: 6})
	upload.ChunkSize = 2
	err = upload.Send(t.Context(), func(int64) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("012345")), nil })
	require.True(t, registries.IsFull(err), "%v", err)
	assert.EqualValues(t, 1, begun.Load())
	assert.EqualValues(t, 2, chunks.Load())
}
