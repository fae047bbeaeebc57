package fronttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// ErrSource is the error of a source that fails.
var ErrSource = errors.New("the source failed")

// Failing returns an image whose first layer fails after n bytes.
func Failing(t testing.TB, n int64) *imagetest.Image {
	t.Helper()
	m := imagetest.NewImage(t, "failing", imagetest.Gzip(7, 3000), imagetest.Gzip(8, 3000))
	m.Disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
		if d != m.Layers[0].Digest {
			return r
		}
		return io.MultiReader(io.LimitReader(r, n), iotest.ErrReader(ErrSource))
	}
	return m
}

// PutBlob puts a layer of known digest and size.
func PutBlob(t testing.TB, d types.ImageDestination, l imagetest.Layer) {
	t.Helper()
	info, err := d.PutBlob(context.Background(), bytes.NewReader(l.Blob), types.BlobInfo{Digest: l.Digest, Size: int64(len(l.Blob))}, none.NoCache, false)
	require.NoError(t, err)
	assert.Equal(t, l.Digest, info.Digest)
	assert.EqualValues(t, len(l.Blob), info.Size)
}

// PutConfig puts the config of an image.
func PutConfig(t testing.TB, d types.ImageDestination, m *imagetest.Image) {
	t.Helper()
	_, err := d.PutBlob(context.Background(), bytes.NewReader(m.Config), types.BlobInfo{Digest: m.ConfigDigest(), Size: int64(len(m.Config))}, none.NoCache, true)
	require.NoError(t, err)
}

// PutImage does all that comes before Commit.
func PutImage(t testing.TB, d types.ImageDestination, m *imagetest.Image) {
	t.Helper()
	for _, l := range m.Layers {
		PutBlob(t, d, l)
	}
	PutConfig(t, d, m)
	require.NoError(t, d.PutManifest(context.Background(), m.Raw, nil))
}
