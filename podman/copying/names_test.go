package copying_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

func names(t testing.TB, all ...string) []reference.Named {
	t.Helper()
	var list []reference.Named
	for _, name := range all {
		named, err := reference.ParseNormalizedNamed(name)
		require.NoError(t, err)
		list = append(list, named)
	}
	return list
}

// One image with several names gives the same as the image from several sources with
// one name each.
func TestSaveSeveralNames(t *testing.T) {
	one := imagetest.NewImage(t, "one", imagetest.Gzip(1, 100))
	again := imagetest.NewImage(t, "one", imagetest.Gzip(1, 100))
	for _, transport := range []types.ImageTransport{dockerarchive.ImageTransport, dockerarchive.Transport} {
		options := saving(t)
		options.Transport = transport
		options.DestinationCtx.BigFilesTemporaryDir = t.TempDir()
		want, _ := save(t, options, named(t, one, "app:1"), named(t, again, "app:latest"), named(t, one, "other:3"))
		assert.Equal(t, [][]string{{"docker.io/library/app:1", "docker.io/library/app:latest", "docker.io/library/other:3"}}, imagetest.RepoTags(t, want), "once, with all names")

		img := named(t, one, "app:1")
		img.Names = names(t, "app", "app:1", "other:3")
		got, results := save(t, options, img)
		assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got))
		assert.Equal(t, []string{"docker.io/library/app:1", "docker.io/library/app:latest", "docker.io/library/other:3"}, results[0].AllNames())
		assert.Equal(t, "docker.io/library/app", img.Names[0].String(), "the caller's")
		piped, err := saveToPipe(t, options, img)
		require.NoError(t, err)
		assert.Equal(t, imagetest.Sum(want), imagetest.Sum(piped))
		plan, err := copying.PlanSave(t.Context(), imagetest.Trusting(t), []copying.SaveImage{img}, options)
		require.NoError(t, err)
		assert.Equal(t, results, plan.Images)
	}
	free := copying.SaveImage{Source: one, FreeName: "V1.0_RC", Names: names(t, "app:1")}
	_, results := save(t, saving(t), free)
	assert.Equal(t, []string{"V1.0_RC", "docker.io/library/app:1"}, results[0].AllNames())
}

func TestSaveSeveralNamesThatDoNotFit(t *testing.T) {
	one, two := imagetest.NewImage(t, "one", imagetest.Gzip(1, 100)), imagetest.NewImage(t, "two", imagetest.Gzip(1, 100))
	img := named(t, one, "app:1")
	img.Names = names(t, "app:2")
	path := filepath.Join(t.TempDir(), "saved.tar")
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{img, named(t, two, "app:2")}, saving(t))
	require.ErrorContains(t, err, "two images want the name docker.io/library/app:2")
	img.Names = names(t, "app@"+two.Digest().String())
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{img}, saving(t))
	require.ErrorContains(t, err, "the name docker.io/library/app@"+two.Digest().String()+" does not fit")
	require.NoFileExists(t, path)
}
