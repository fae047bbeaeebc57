package copying_test

import (
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// thinArchives returns the paths of an archive and of another one that was saved without it.
func thinArchives(t testing.TB) (full, delta string, second *imagetest.Image) {
	t.Helper()
	first, second := versions(t)
	all, _ := save(t, saving(t), named(t, first, "app:1"))
	rest, _ := save(t, thin(t, "january.tar", all), named(t, second, "other:2"))
	return imagetest.WriteFile(t, all), imagetest.WriteFile(t, rest), second
}

// A layer that an archive was saved without is taken from where the registry has it, or from
// another archive of the same push.
func TestPushThin(t *testing.T) {
	full, delta, second := thinArchives(t)
	there := int64(len(second.Layers[0].Blob) + len(second.Layers[1].Blob))
	cache := t.TempDir()
	push := func(p *pushed, dry bool, paths ...string) []copying.PushResult {
		t.Helper()
		var images []copying.PushImage
		for _, path := range paths {
			images = append(images, p.archived(t, path)...)
		}
		o := pushing(t)
		o.DryRun, o.DestinationCtx.BlobInfoCacheDir = dry, cache
		results, err := copying.Push(t.Context(), imagetest.Trusting(t), images, o)
		require.NoError(t, err)
		return results
	}
	t.Run("nowhere", func(t *testing.T) {
		for _, dry := range []bool{false, true} {
			p := newPushed(t)
			o := pushing(t)
			o.DryRun = dry
			_, err := copying.Push(t.Context(), imagetest.Trusting(t), p.archived(t, delta), o)
			var leftOut *errdef.LeftOutError
			require.ErrorAs(t, err, &leftOut)
			require.Len(t, leftOut.Layers, 2, "all are named at once")
			assert.Equal(t, errdef.LeftOut{Digest: second.Layers[0].Digest, Size: int64(len(second.Layers[0].Blob)), Archive: "january.tar"}, leftOut.Layers[0])
			assert.Empty(t, p.seen().uploads, "and nothing is sent")
			assert.Zero(t, p.seen().manifests)
		}
	})
	t.Run("together", func(t *testing.T) {
		p := newPushed(t)
		dry := push(p, true, delta, full)
		assert.Zero(t, p.seen().manifests)
		results := push(p, false, delta, full)
		for n := range results {
			assert.Equal(t, dry[n].Sent+dry[n].There, results[n].Sent+results[n].There)
		}
		assert.Equal(t, dry[0].Sent+dry[1].Sent, results[0].Sent+results[1].Sent)
		p.pulls(t, "other:2", second)
	})
	t.Run("in that repository", func(t *testing.T) {
		p := newPushed(t)
		p.Push(t, "library/other:before", second)
		p.forget()
		for _, dry := range []bool{true, false} {
			results := push(p, dry, delta)
			assert.GreaterOrEqual(t, results[0].There, there)
		}
		p.pulls(t, "other:2", second)
	})
	t.Run("in another", func(t *testing.T) {
		p := newPushed(t)
		push(p, false, full)
		p.forget()
		mounted := map[string]string{}
		var mu sync.Mutex
		p.faulty(func(_ int, w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			if d := r.URL.Query().Get("mount"); d != "" {
				mounted[d] = r.URL.Query().Get("from")
				w.WriteHeader(http.StatusCreated)
				return true
			}
			if r.Method != http.MethodHead || !strings.Contains(r.URL.Path, "/other/blobs/") || mounted[path.Base(r.URL.Path)] != "" {
				return false
			}
			http.NotFound(w, r) // The registry has one store for all repositories.
			return true
		})
		results := push(p, false, delta)
		assert.Equal(t, there, results[0].There)
		assert.Equal(t, map[string]string{second.Layers[0].Digest.String(): "library/app", second.Layers[1].Digest.String(): "library/app"}, mounted)
		p.faulty(nil)
		p.pulls(t, "other:2", second)
	})
}

// pulls fails unless the registry has all of an image.
func (p *pushed) pulls(t testing.TB, name string, img *imagetest.Image) {
	t.Helper()
	repository, tag, _ := strings.Cut("library/"+name, ":")
	for _, path := range []string{"/manifests/" + tag, "/blobs/" + img.ConfigDigest().String(), "/blobs/" + img.Layers[0].Digest.String(), "/blobs/" + img.Layers[1].Digest.String(), "/blobs/" + img.Layers[2].Digest.String()} {
		response, err := http.Head("http://" + p.Address + "/v2/" + repository + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode, path)
	}
}

// A store that has the layers gets the rest. With several archives, those that lack layers
// come last.
func TestLoadThin(t *testing.T) {
	full, delta, second := thinArchives(t)
	s := newContentStore()
	var reasons []error
	_, err := copying.LoadContent(t.Context(), imagetest.Trusting(t), inArchive(t, delta), s, loadingContent(&reasons))
	var leftOut *errdef.LeftOutError
	require.ErrorAs(t, err, &leftOut)
	assert.Empty(t, s.names)
	_, err = copying.LoadContent(t.Context(), imagetest.Trusting(t), append(inArchive(t, delta), inArchive(t, full)...), s, loadingContent(&reasons))
	require.NoError(t, err)
	for _, l := range second.Layers {
		assert.True(t, s.blobs[l.Digest])
	}
	s = newContentStore()
	s.blobs[second.Layers[0].Digest], s.blobs[second.Layers[1].Digest] = true, true
	_, err = copying.LoadContent(t.Context(), imagetest.Trusting(t), inArchive(t, delta), s, loadingContent(&reasons))
	require.NoError(t, err)
	assert.Equal(t, []digest.Digest{second.Layers[2].Digest}, s.received)
	assert.Empty(t, reasons)

	var order []string
	dir := t.TempDir()
	place := func(name reference.NamedTagged, _ digest.Digest) (types.ImageReference, error) {
		order = append(order, name.String())
		return directory.NewReference(filepath.Join(dir, name.Tag()))
	}
	_, err = copying.LoadInto(t.Context(), imagetest.Trusting(t), append(inArchive(t, delta), inArchive(t, full)...), place, &copying.LoadIntoOptions{Reading: copying.Reading{SourceCtx: imagetest.Isolated()}, DestinationCtx: imagetest.Isolated()})
	require.ErrorAs(t, err, &leftOut, "a directory keeps nothing of other images")
	assert.Equal(t, []string{"docker.io/library/app:1", "docker.io/library/other:2"}, order)
}
