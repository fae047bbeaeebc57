package saving

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// The context ends spooling, even if the source hangs.
func TestSpoolingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	source, sender := io.Pipe()
	defer sender.Close()
	go func() {
		_, _ = sender.Write([]byte("part"))
		cancel(errInterrupted)
	}()
	s := &spooled{dir: t.TempDir()}
	defer s.close()
	d := digest.FromString("a layer")
	err := s.store(ctx, &fetching.Blob{Blob: image.Blob{Descriptor: imgspecv1.Descriptor{Digest: d}}}, source)
	require.ErrorIs(t, err, errInterrupted)
	require.ErrorContains(t, err, d.String())
	require.Nil(t, s.open(d, -1))
}

var errInterrupted = errors.New("interrupted")
