package copying_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// within writes an archive with an image in depth nested indexes, each of which lists the next
// one width times.
func within(t *testing.T, depth, width int) string {
	write, written := newTar(t)
	put := func(data []byte, mediaType string) v1.Descriptor {
		d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		write("blobs/sha256/"+d.Digest.Encoded(), data)
		return d
	}
	m := imagetest.Small(t)
	for _, blob := range append(blobsOf(m), m.Config) {
		put(blob, "")
	}
	top := put(m.Raw, v1.MediaTypeImageManifest)
	for range depth {
		index := v1.Index{MediaType: v1.MediaTypeImageIndex}
		for n := range width {
			listed := top
			listed.Annotations = map[string]string{"n": fmt.Sprint(n)}
			index.Manifests = append(index.Manifests, listed)
		}
		data, err := json.Marshal(index)
		require.NoError(t, err)
		top = put(data, v1.MediaTypeImageIndex)
	}
	top.Annotations = map[string]string{v1.AnnotationRefName: "example.com/app:1"}
	index, err := json.Marshal(v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{top}})
	require.NoError(t, err)
	write("index.json", index)
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return written()
}

// saveAll saves an archive with all platforms.
func saveAll(t *testing.T, file string) error {
	ref, err := dockerarchive.ImageTransport.ParseReference(file)
	require.NoError(t, err)
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "saved.tar"), []copying.SaveImage{{Source: ref}}, &copying.SaveOptions{
		Reading: copying.Reading{SourceCtx: imagetest.Isolated()}, Selection: copying.Selection{AllPlatforms: true}, NoSync: true,
	})
	return err
}

// Each index is decoded a few times only, even if another lists it a thousand times. Work
// is counted as bytes that are allocated.
func TestWideIndexes(t *testing.T) {
	file := within(t, 5, 1000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.NoError(t, saveAll(t, file))
	runtime.ReadMemStats(&after)
	bytes := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d bytes", bytes)
	assert.Less(t, bytes, uint64(500<<20))
}

// Save accepts the indexes that verify accepts, and no others: there is one bound for
// their depth.
func TestDepthOfIndexes(t *testing.T) {
	for depth, deep := range map[int]bool{1: false, image.MaxIndexDepth: false, image.MaxIndexDepth + 1: true} {
		file := within(t, depth, 1)
		r, err := dockerarchive.NewReaderContext(t.Context(), imagetest.Isolated(), file)
		require.NoError(t, err)
		report, err := r.Verify(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		err = saveAll(t, file)
		if deep {
			require.Len(t, report.Problems, 1)
			require.ErrorIs(t, report.Problems[0], errdef.ErrLimit)
			require.ErrorIs(t, err, errdef.ErrLimit)
			continue
		}
		assert.Empty(t, report.Problems, depth)
		require.NoError(t, err, depth)
	}
}
