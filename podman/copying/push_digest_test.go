package copying_test

import (
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// No name has a digest that is not the image's.
func TestPushUnderWrongDigest(t *testing.T) {
	p, img := newPushed(t), imagetest.NewImage(t, "app", imagetest.Gzip(1, 100))
	wrong, err := reference.WithDigest(reference.TrimNamed(p.target(t, imagetest.Tagged(t, "app:1"))), digest.FromString("another"))
	require.NoError(t, err)
	for _, dry := range []bool{true, false} {
		o := pushing(t)
		o.DryRun = dry
		results, err := copying.Push(t.Context(), imagetest.Trusting(t), []copying.PushImage{{SaveImage: copying.SaveImage{Source: img}, Targets: []reference.Named{wrong}}}, o)
		require.NoError(t, err)
		require.Len(t, results[0].Targets, 1)
		assert.Equal(t, reference.TrimNamed(wrong).String()+"@"+img.Digest().String(), results[0].Targets[0].String())
		require.Len(t, results[0].Warnings, 1)
		assert.Contains(t, results[0].Warnings[0], "under its own digest")
	}

	docker := inArchive(t, "../../testdata/archives/skopeo.tar")
	for _, more := range [][]reference.Named{nil, {p.target(t, imagetest.Tagged(t, "app:2"))}} {
		for _, dry := range []bool{true, false} {
			o := pushing(t)
			o.DryRun = dry
			results, err := copying.Push(t.Context(), imagetest.Trusting(t), []copying.PushImage{{SaveImage: docker[0], Targets: append([]reference.Named{wrong}, more...)}}, o)
			require.NoError(t, err)
			require.Len(t, results[0].Warnings, 1)
			assert.Contains(t, results[0].Warnings[0], "it is not pushed as "+wrong.String())
			if more != nil {
				assert.Equal(t, more, results[0].Targets)
				continue
			}
			require.Len(t, results[0].Targets, 1)
			assert.NotEqual(t, digest.FromString("another"), results[0].Digest)
			assert.Equal(t, reference.TrimNamed(wrong).String()+"@"+results[0].Digest.String(), results[0].Targets[0].String())
		}
	}
}
