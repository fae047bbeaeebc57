package pushing

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
)

// everywhere is a cache that has a blob in more repositories than a cache of containers/image
// names.
type everywhere struct{ types.BlobInfoCache }

// CandidateLocations implements types.BlobInfoCache.
func (everywhere) CandidateLocations(types.ImageTransport, types.BICTransportScope, digest.Digest, bool) (all []types.BICReplacementCandidate) {
	for n := range 100 {
		all = append(all, types.BICReplacementCandidate{Location: types.BICLocationReference{Opaque: fmt.Sprint("example.com/app", n)}})
	}
	return all
}

// However many repositories are remembered, a few are asked, and more for a layer that cannot be
// sent. None is asked twice, and never the one that the blob is for.
func TestCandidatesHaveABound(t *testing.T) {
	src, err := directory.NewReference(t.TempDir())
	require.NoError(t, err)
	img := &pushedImage{Image: &selecting.Image{Wanted: selecting.Wanted{Source: src}}}
	to, err := reference.ParseNamed("example.com/app0")
	require.NoError(t, err)
	first, err := reference.ParseNamed("example.com/app3")
	require.NoError(t, err)
	s, d := &sentBlobs{cache: everywhere{}}, digest.FromString("blob")
	found := s.candidates(img, &sending{first: first}, to, d)
	require.Len(t, found, maxCandidates)
	assert.Equal(t, first, found[0])
	seen := map[string]bool{to.Name(): true}
	for _, named := range found {
		assert.False(t, seen[named.Name()], named)
		seen[named.Name()] = true
	}
	s.leftOut = image.LeftOut{d: {}}
	found = s.candidates(img, &sending{}, to, d)
	require.Len(t, found, maxCandidatesLeftOut+1)
	assert.Nil(t, found[maxCandidatesLeftOut], "the registry may find it itself")
}
