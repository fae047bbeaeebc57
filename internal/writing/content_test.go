package writing

import (
	"bytes"
	"compress/gzip"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// noise is a layer of bytes that do not get smaller, so that nothing tries to make them so.
func noise(n int) testLayer {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // It never fails.
	beginAsTar(data)
	return testLayer{gzippedAt(gzip.NoCompression, data), data, zipped(1, 1).mediaType}
}

// A compressed layer that cannot be unpacked, or becomes something else than its config says,
// is refused, whether its size is known or not. Only a large one is left to verify.
func TestCompressedLayersAreExamined(t *testing.T) {
	small, medium, large := zipped(1, 5000), noise(5<<20), noise(maxExamined+1)
	damaged := func(l testLayer, fromEnd int) testLayer {
		l.blob = bytes.Clone(l.blob)
		l.blob[len(l.blob)-fromEnd] ^= 1
		return l
	}
	cut := func(l testLayer) testLayer { l.blob = l.blob[:len(l.blob)-9]; return l }
	other := func(l testLayer) testLayer { l.diff = []byte("other"); return l }
	bytesBehind := func(l testLayer) testLayer { l.blob = append(bytes.Clone(l.blob), "behind"...); return l }
	noTar := medium
	noTar.diff = bytes.Repeat([]byte("text"), 1<<19)
	noTar.blob = gzipped(noTar.diff)
	for name, c := range map[string]struct {
		layer testLayer
		want  string
	}{
		"small":                   {small, ""},
		"small, checksum":         {damaged(small, 5), "cannot be unpacked"},
		"medium":                  {medium, ""},
		"medium, checksum":        {damaged(medium, 5), "cannot be unpacked"},
		"medium, length":          {damaged(medium, 1), "cannot be unpacked"},
		"medium, content":         {damaged(medium, 3<<20), ""}, // Either error may come first.
		"medium, cut":             {cut(medium), "cannot be unpacked"},
		"medium, other diff ID":   {other(medium), "has the diff ID"},
		"medium, something else":  {noTar, "is no tar archive"},
		"medium, bytes behind it": {bytesBehind(medium), "cannot be unpacked"},
		"large":                   {large, ""},
		"large, checksum":         {damaged(large, 5), ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := newImage(t, "m", c.layer)
			for _, known := range []bool{true, false} {
				a := newTestArchive(t, layouts["oci"], nil)
				size := int64(-1)
				if known {
					size = int64(len(c.layer.blob))
				}
				_, _, err := a.Put(t.Context(), "test", bytes.NewReader(c.layer.blob), c.layer.digest(), size)
				require.NoError(t, err)
				require.NoError(t, putAll(a.Archive, m, false))
				err = a.Check(m.Image)
				if c.want == "" && name != "medium, content" {
					require.NoError(t, err)
					continue
				}
				require.ErrorContains(t, err, c.want)
				require.ErrorIs(t, err, errdef.ErrDamaged)
			}
		})
	}
}

// Only the smallest layers of a planned image are unpacked, as many as are not too large together.
// A layer that two images share is, if it is in either of them.
func TestSmallestLayersAreExamined(t *testing.T) {
	layer := func(name string, size int64) image.Blob {
		return image.Blob{Kind: image.KindLayer, Descriptor: v1.Descriptor{Digest: digest.FromString(name), Size: size}}
	}
	config := image.Blob{Kind: image.KindConfig, Descriptor: v1.Descriptor{Digest: digest.FromString("config"), Size: maxExamined}}
	large, half, rest, small := layer("large", maxExamined), layer("half", maxExamined/2), layer("rest", maxExamined/2-1), layer("small", 1)
	a := &Archive{examined: toExamine([][]image.Blob{
		{large, half, small, half, rest, config},
		{large, layer("huge", math.MaxInt64), layer("unknown", -1)},
		{half, layer("one more", maxExamined/2), layer("larger", maxExamined/2+1)},
	})}
	for name, want := range map[string]bool{
		"half": true, "rest": true, "small": true, // all of them fit exactly
		"large": true, // in the second image
		"huge":  false, "larger": false, "one more": true,
	} {
		assert.Equal(t, want, a.examines(digest.FromString(name), 1), name)
	}
	assert.True(t, a.examines(digest.FromString("unknown"), -1), "its size is seen as it comes")
	assert.True(t, a.examines(digest.FromString("not planned"), maxExamined))
	assert.False(t, a.examines(digest.FromString("not planned"), maxExamined+1))
}

// A planned layer that is not among the smallest is left to verify, in whatever order they come.
func TestLargerLayersAreLeftToVerify(t *testing.T) {
	damaged := func(l testLayer) testLayer {
		l.blob = bytes.Clone(l.blob)
		l.blob[len(l.blob)-5] ^= 1
		return l
	}
	larger, smaller := noise(9<<20), noise(8<<20)
	for name, c := range map[string]struct {
		layers []testLayer
		want   string
	}{
		"larger damaged":  {[]testLayer{damaged(larger), smaller}, ""},
		"smaller damaged": {[]testLayer{larger, damaged(smaller)}, "cannot be unpacked"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newImage(t, "m", c.layers...)
			a := newTestArchive(t, layouts["oci"], plan(m))
			require.NoError(t, putAll(a.Archive, m, false))
			err := a.Check(m.Image)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.ErrorIs(t, err, errdef.ErrDamaged)
		})
	}
}

// A diff ID is compared if it is a SHA-256 digest, or one by the algorithm of the layer's
// digest.
func TestOtherDiffIDs(t *testing.T) {
	l := zipped(1, 5000)
	c := content{diffIDs: []digest.Digest{digest.FromBytes(l.diff), digest.SHA512.FromBytes(l.diff)}}
	require.NoError(t, c.check(l.digest(), c.diffIDs[0]))
	in512 := digest.SHA512.FromBytes(l.blob)
	require.NoError(t, c.check(in512, c.diffIDs[1]))
	require.ErrorContains(t, c.check(in512, digest.SHA512.FromString("other")), "but the config says")
	require.ErrorContains(t, c.check(l.digest(), c.diffIDs[1]), "nobody compares those")
	plain := digest.SHA512.FromBytes(l.diff)
	assert.NoError(t, content{}.check(plain, plain), "it is the digest of the blob, which is verified")
}
