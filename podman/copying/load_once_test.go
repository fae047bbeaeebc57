package copying_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// changing is an image that is another one when it is opened again.
type changing struct {
	*imagetest.Image
	then   *imagetest.Image
	opened int
}

// NewImageSource counts.
func (c *changing) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	if c.opened++; c.opened > 1 {
		return c.then.NewImageSource(ctx, sys)
	}
	return c.Image.NewImageSource(ctx, sys)
}

// The image that was checked is the one that is sent, also if it is sent twice: its source
// is opened once, and its config read once.
func TestLoadOpensOnce(t *testing.T) {
	first, then := imagetest.NewImage(t, "first", imagetest.Gzip(1, 3000), imagetest.Gzip(2, 2000)), imagetest.NewImage(t, "then", imagetest.Gzip(3, 3000))
	newSource := func() *changing {
		first.Forget()
		return &changing{Image: first, then: then}
	}
	const name = "example.com/app:1"
	for _, refused := range []bool{false, true} {
		src, d := newSource(), imagetest.NewLoadDaemon(t)
		load(t, d, loading(t, d), named(t, imagetest.NewImage(t, "base", imagetest.Gzip(1, 3000)), "example.com/base:1"))
		posts := 0
		d.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/images/load" {
				return false
			}
			if posts++; refused && posts == 1 {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
			return false
		})
		_, err := copying.Load(t.Context(), imagetest.Trusting(t), []copying.SaveImage{{Source: src, Name: imagetest.Tagged(t, name)}}, loading(t, d))
		require.NoError(t, err)
		assert.Equal(t, first.ConfigDigest(), d.Names()[name])
		assert.Equal(t, 1, src.opened)
		assert.Equal(t, 1, first.Gets[first.ConfigDigest()])
	}

	src, s := newSource(), newContentStore()
	var reasons []error
	loaded, err := copying.LoadContent(t.Context(), imagetest.Trusting(t), []copying.SaveImage{{Source: src, Name: imagetest.Tagged(t, name)}}, s, loadingContent(&reasons))
	require.NoError(t, err)
	assert.Equal(t, first.Digest(), loaded.Images[0].ID)
	assert.Equal(t, 1, src.opened)
	assert.Equal(t, 1, first.Gets[first.ConfigDigest()])
}

// Only the image that was checked is copied into a storage, or nothing.
func TestLoadIntoWhatWasChecked(t *testing.T) {
	first, then := imagetest.NewImage(t, "first", imagetest.Gzip(1, 3000)), imagetest.NewImage(t, "then", imagetest.Gzip(3, 3000))
	src := &changing{Image: first, then: then}
	dir := t.TempDir()
	place := func(reference.NamedTagged, digest.Digest) (types.ImageReference, error) {
		return ocilayout.NewReference(dir, "app")
	}
	_, err := copying.LoadInto(t.Context(), imagetest.Trusting(t), []copying.SaveImage{{Source: src, Name: imagetest.Tagged(t, "example.com/app:1")}}, place, nil)
	require.ErrorContains(t, err, "has changed since it was checked")
}
