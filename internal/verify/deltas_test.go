package verify

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/delta"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// A delta that makes a layer of another size than the manifest says is told from one that makes
// another layer.
func TestDeltaOfAnotherSize(t *testing.T) {
	text := bytes.Repeat([]byte("x"), 10_000)
	reader := func(data []byte) *io.SectionReader {
		return io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
	}
	var data bytes.Buffer
	_, err := delta.Make(t.Context(), &data, reader(text), nil, nil)
	require.NoError(t, err)
	m := catalog.Made{Layer: v1.Descriptor{Digest: digest.FromBytes(text), Size: 10_000}, Content: reader(data.Bytes())}
	assert.Empty(t, Deltas([]catalog.Made{m}))
	m.Layer.Size++
	problems := Deltas([]catalog.Made{m})
	require.Len(t, problems, 1)
	require.ErrorIs(t, problems[0], errdef.ErrDamaged)
	require.ErrorContains(t, problems[0], "10000 bytes, but the manifest says 10001")
	m.Layer.Digest = image.SHA256(sha256.Sum256(nil))
	require.ErrorContains(t, Deltas([]catalog.Made{m})[0], "another one")
}
