package dockerarchive_test

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// together runs functions at the same time, each several times. The race detector does the
// rest: Go's maps notice unsafe use as well.
func together(functions ...func(n int)) {
	var wg sync.WaitGroup
	for _, f := range functions {
		for n := range 4 {
			wg.Go(func() { f(n) })
		}
	}
	wg.Wait()
}

// Every method of a destination may be called while others are.
func TestDestinationConcurrently(t *testing.T) {
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		m := imagetest.NewImage(t, "m", imagetest.Gzip(1, 3000), imagetest.Plain(2, 2000))
		other := imagetest.NewImage(t, "other", imagetest.Gzip(3, 3000))
		ref, err := transport.ParseReference(filepath.Join(t.TempDir(), "archive.tar") + ":example.com/m:1")
		require.NoError(t, err)
		d, err := ref.NewImageDestination(t.Context(), imagetest.Isolated())
		require.NoError(t, err)
		require.True(t, d.HasThreadSafePutBlob())
		put := func(data []byte, info types.BlobInfo, isConfig bool) {
			_, err := d.PutBlob(t.Context(), bytes.NewReader(data), info, none.NoCache, isConfig)
			assert.NoError(t, err)
		}
		config := func(img *imagetest.Image) func(int) {
			return func(int) {
				put(img.Config, types.BlobInfo{Digest: img.ConfigDigest(), Size: int64(len(img.Config))}, true)
			}
		}
		layers := func(img *imagetest.Image) func(int) {
			return func(int) {
				for _, l := range img.Layers {
					if ok, _, err := d.TryReusingBlob(t.Context(), types.BlobInfo{Digest: l.Digest}, none.NoCache, true); !assert.NoError(t, err) || ok {
						continue
					}
					put(l.Blob, types.BlobInfo{Digest: l.Digest, Size: int64(len(l.Blob))}, false)
				}
			}
		}
		asked := func(int) {
			_, _, _ = d.Reference(), d.SupportedManifestMIMETypes(), d.DesiredLayerCompression()
			_, _, _ = d.AcceptsForeignLayerURLs(), d.MustMatchRuntimeOS(), d.IgnoresEmbeddedDockerReference()
			assert.Error(t, d.SupportsSignatures(t.Context()))
			assert.NoError(t, d.PutSignatures(t.Context(), nil, nil))
		}
		together(config(m), config(other), layers(m), layers(other), asked)
		together(config(other), layers(other), asked, func(int) { assert.NoError(t, d.PutManifest(t.Context(), m.Raw, nil)) })
		together(config(other), func(int) { _ = d.Commit(t.Context(), nil) }, asked)
		together(func(int) { assert.NoError(t, d.Close()) }, asked)
		r, err := dockerarchive.NewReader(imagetest.Isolated(), ref.StringWithinTransport()[:len(ref.StringWithinTransport())-len(":example.com/m:1")])
		require.NoError(t, err)
		readTogether(t, r, m)
		require.NoError(t, r.Close())
	}
}

// readTogether calls every method of a Reader, and of sources that belong to it.
func readTogether(t *testing.T, r *dockerarchive.Reader, m *imagetest.Image) {
	ref, err := r.IndexReference(0)
	require.NoError(t, err)
	src, err := ref.NewImageSource(t.Context(), imagetest.Isolated())
	require.NoError(t, err)
	together(
		func(int) { _, err := r.Images(t.Context()); assert.NoError(t, err) },
		func(int) { _, err := r.List(); assert.NoError(t, err) },
		func(int) { _, err := r.ManifestTagsForReference(ref); assert.NoError(t, err) },
		func(int) {
			report, err := r.Verify(t.Context(), func(int) {})
			assert.NoError(t, err)
			assert.Empty(t, report.Problems)
		},
		func(int) { _, _ = r.Path(), r.Size() },
		func(int) {
			other, err := ref.NewImageSource(t.Context(), imagetest.Isolated())
			if assert.NoError(t, err) {
				assert.NoError(t, other.Close())
			}
		},
		func(int) { _, _, err := src.GetManifest(t.Context(), nil); assert.NoError(t, err) },
		func(n int) {
			info := types.BlobInfo{Digest: m.ConfigDigest(), Size: -1}
			body, _, err := src.GetBlob(t.Context(), info, none.NoCache)
			if assert.NoError(t, err) {
				_, err = io.Copy(io.Discard, body)
				assert.NoError(t, err)
				assert.NoError(t, body.Close())
			}
		},
		func(int) {
			_, err := src.GetSignatures(t.Context(), nil)
			assert.NoError(t, err)
			_, err = src.LayerInfosForCopy(t.Context(), nil)
			assert.NoError(t, err)
			_, _ = src.Reference(), src.HasThreadSafeGetBlob()
		},
	)
	together(func(int) { assert.NoError(t, src.Close()) })
}

// Images are written to one Writer at the same time; Abort and Close come last, and may
// come at once.
func TestWriterConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.tar")
	w, err := dockerarchive.NewWriterContext(t.Context(), imagetest.Isolated(), path, nil)
	require.NoError(t, err)
	shared := imagetest.Gzip(1, 3000)
	names := []string{"example.com/a:1", "example.com/b:1", "example.com/c:1", "example.com/d:1"}
	together(func(n int) {
		ref, err := w.NewReference(imagetest.Tagged(t, names[n]))
		if assert.NoError(t, err) {
			assert.NoError(t, imagetest.CopyUntil(context.Background(), t, ref, imagetest.NewImage(t, names[n], shared), nil))
		}
	}, func(int) { _ = w.Undoable() })
	closed := make(chan error, 8)
	together(func(int) { closed <- w.Close() }, func(int) { _ = w.Undoable() })
	close(closed)
	succeeded := 0
	for err := range closed {
		if err == nil {
			succeeded++
		}
	}
	assert.Equal(t, 1, succeeded)
	require.NoError(t, w.Abort())
	r, err := dockerarchive.NewReader(imagetest.Isolated(), path)
	require.NoError(t, err)
	defer r.Close() // It is only read.
	list, err := r.List()
	require.NoError(t, err)
	assert.Len(t, list, 4)
	together(func(int) { assert.NoError(t, r.Close()) })
}
