package copying_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/daemon"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// A Docker daemon that exports an image does not say on which other image it was built, but
// does when it is inspected.
func TestSaveAsksADaemonForParents(t *testing.T) {
	layers := []imagetest.Layer{imagetest.Gzip(1, 100), imagetest.Gzip(2, 100)}
	base, child := built(t, layers[:1], "FROM scratch"), built(t, layers, "FROM scratch", "RUN true")
	options := saving(t)
	options.Transport = dockerarchive.Transport
	archives := map[string][]byte{}
	for name, img := range map[string]*imagetest.Image{"base:1": base, "child:1": child} {
		archives[name], _ = save(t, options, named(t, img, name))
	}
	options.SourceCtx.BigFilesTemporaryDir = t.TempDir()
	image := func(name string) copying.SaveImage {
		ref, err := daemon.Transport.ParseReference(name)
		require.NoError(t, err)
		return named(t, ref, name)
	}
	about := func(id, parent any) string { return fmt.Sprintf(`{"Id":"%s","Parent":"%s"}`, id, parent) }
	known := about(child.ConfigDigest(), base.ConfigDigest())
	telling := func(ofChild string) func(string) string {
		return func(name string) string {
			if name == "child:1" {
				return ofChild
			}
			return "{}"
		}
	}
	for _, c := range []struct{ name, told, parent, warning string }{
		{name: "parent", told: known, parent: base.ConfigDigest().String()},
		{name: "no parent", told: about(child.ConfigDigest(), "")},
		{name: "parent that is not there", told: about(child.ConfigDigest(), child.Digest())},
		{name: "image of another", told: about(base.ConfigDigest(), base.ConfigDigest())},
		{name: "no answer", told: "[]", warning: "whether it was built on another of the images is not known: asking the docker daemon about the image child:1: parsing its answer"},
	} {
		options.SourceCtx.DockerDaemonHost = imagetest.DaemonTelling(t, archives, telling(c.told))
		got, results := save(t, options, image("child:1"), image("base:1"))
		items := dockerItems(t, got)
		assert.Equal(t, c.parent, items[0].Parent.String(), c.name)
		assert.Empty(t, items[1].Parent, c.name)
		if c.warning == "" {
			assert.Empty(t, results[0].Warnings, c.name)
		} else if assert.Len(t, results[0].Warnings, 1, c.name) {
			assert.Contains(t, results[0].Warnings[0], c.warning)
		}
		assert.Empty(t, results[1].Warnings, c.name)
	}
	options.SourceCtx.DockerDaemonHost = imagetest.DaemonTelling(t, archives, telling(known))
	alone, _ := save(t, options, image("child:1"))
	assert.Empty(t, dockerItems(t, alone)[0].Parent, "docker load refuses a parent that is not there")

	ctx, cancel := context.WithCancel(t.Context())
	options.SourceCtx.DockerDaemonHost = imagetest.DaemonTelling(t, archives, func(string) string {
		cancel()
		return known
	})
	_, err := copying.Save(ctx, imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{image("child:1"), image("base:1")}, options)
	require.ErrorIs(t, err, context.Canceled)
}
