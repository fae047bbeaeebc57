package fetching_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// endSource tells how blobs end.
type endSource struct{ err error }

func (s endSource) Open(context.Context, v1.Descriptor, int64) (io.ReadCloser, error) {
	return nil, s.err
}

func (s endSource) ReadEnd(_ context.Context, _ v1.Descriptor, n int) ([]byte, error) {
	return make([]byte, n), s.err
}

func TestReadEnd(t *testing.T) {
	failed := errors.New("failed")
	f := fetching.New(fetching.Options{})
	add := func(source fetching.Source, name string, size int64) digest.Digest {
		d := digest.FromString(name)
		f.Need(f.AddImage(source, "", nil), image.Blob{Descriptor: v1.Descriptor{Digest: d, Size: size}})
		return d
	}
	there, short := add(endSource{}, "there", 100), add(endSource{}, "short", 3)
	fails, cannot := add(endSource{failed}, "fails", 100), add(newSource(), "cannot", 100)

	end, err := f.ReadEnd(t.Context(), there, 4)
	require.NoError(t, err)
	assert.Len(t, end, 4)
	_, err = f.ReadEnd(t.Context(), fails, 4)
	require.ErrorIs(t, err, failed)
	for _, d := range []digest.Digest{short, cannot, digest.FromString("unknown")} {
		_, err = f.ReadEnd(t.Context(), d, 4)
		require.Error(t, err)
	}
}
