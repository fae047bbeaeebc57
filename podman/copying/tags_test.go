package copying_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/daemon"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

func repository(t testing.TB, name string) reference.Named {
	t.Helper()
	named, err := reference.ParseNormalizedNamed(name)
	require.NoError(t, err)
	return named
}

func TestAllTagsOfARegistry(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	for _, tag := range []string{"two", "one", "Two"} {
		reg.Push(t, "app:"+tag, imagetest.Saved(t, strings.ToLower(tag)))
	}
	app := repository(t, reg.Address+"/app")
	all, err := copying.AllTags(t.Context(), imagetest.RegistryContext(t), docker.Transport, app)
	require.NoError(t, err)
	var got []string
	for _, img := range all {
		got = append(got, img.AllNames()...)
		assert.Equal(t, img.Name, img.Source.DockerReference())
	}
	assert.Equal(t, []string{app.Name() + ":Two", app.Name() + ":one", app.Name() + ":two"}, got)
	archive, _ := save(t, saving(t), all...)
	assert.Len(t, imagetest.Items(t, archive), 2)

	_, err = copying.AllTags(t.Context(), imagetest.RegistryContext(t), docker.Transport, reference.TagNameOnly(app))
	require.ErrorContains(t, err, "has a tag or a digest")
	_, err = copying.AllTags(t.Context(), imagetest.RegistryContext(t), docker.Transport, repository(t, reg.Address+"/none"))
	require.ErrorContains(t, err, "listing the tags of "+reg.Address+"/none: ")
	_, err = copying.AllTags(t.Context(), imagetest.RegistryContext(t), dockerarchive.Transport, app)
	require.ErrorContains(t, err, "docker-archive: has no repositories")
}

// A registry may list tags in any order, twice or too many.
func TestAllTagsAsListed(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	var tags []string
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		assert.NoError(t, json.NewEncoder(w).Encode(map[string]any{"name": "app", "tags": tags}))
		return true
	})
	list := func() ([]copying.SaveImage, error) {
		return copying.AllTags(t.Context(), imagetest.RegistryContext(t), docker.Transport, repository(t, reg.Address+"/app"))
	}
	_, err := list()
	require.ErrorContains(t, err, reg.Address+"/app has no tags")
	tags = []string{"b", "a", "b"}
	all, err := list()
	require.NoError(t, err)
	assert.Len(t, all, 2)
	tags = nil
	for i := range 10_000 {
		tags = append(tags, fmt.Sprint(i))
	}
	all, err = list()
	require.NoError(t, err)
	assert.Len(t, all, 10_000)
	tags = append(tags, "more")
	_, err = list()
	require.ErrorIs(t, err, errdef.ErrLimit)
	require.ErrorContains(t, err, "there are more than 10000 tags")
}

func TestAllTagsOfADaemon(t *testing.T) {
	options := saving(t)
	options.Transport = dockerarchive.Transport
	one, _ := save(t, options, named(t, imagetest.Saved(t, "one"), "app:1"))
	two, _ := save(t, options, named(t, imagetest.Saved(t, "two"), "app:2"))
	options.SourceCtx.DockerDaemonHost = imagetest.Daemon(t, map[string][]byte{"app:2": two, "app:1": one, "app2:1": two})
	options.SourceCtx.BigFilesTemporaryDir = t.TempDir()
	all, err := copying.AllTags(t.Context(), options.SourceCtx, daemon.Transport, repository(t, "app"))
	require.NoError(t, err)
	got, _ := save(t, options, all...)
	want, _ := save(t, options, named(t, imagetest.Saved(t, "one"), "app:1"), named(t, imagetest.Saved(t, "two"), "app:2"))
	assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got))

	_, err = copying.AllTags(t.Context(), options.SourceCtx, daemon.Transport, repository(t, "none"))
	require.ErrorContains(t, err, "docker.io/library/none has no tags")
	options.SourceCtx.DockerDaemonHost = "unix://" + imagetest.NoDir(t)
	_, err = copying.AllTags(t.Context(), options.SourceCtx, daemon.Transport, repository(t, "app"))
	require.ErrorContains(t, err, "listing the tags of docker.io/library/app: asking the docker daemon")
}
