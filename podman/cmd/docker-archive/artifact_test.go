package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// An artifact with a platform, as oras push --artifact-platform makes it, has a config of an
// image's type without a rootfs. It is carried unchanged.
func TestArtifactWithPlatform(t *testing.T) {
	source := imagetest.Testdata(t, "cases/artifact-with-platform.tar")
	reg, dir := imagetest.NewRegistry(t), t.TempDir()
	succeeds(t, "verify", source)
	succeeds(t, "push", "--tls-verify=false", source, reg.Address)
	for name, from := range map[string]string{"archive": "docker-archive:" + source, "registry": reg.Address + "/artifact-with-platform:2"} {
		path := filepath.Join(dir, name)
		succeeds(t, "save", "--tls-verify=false", "-o", path, from)
		succeeds(t, "verify", path)
		out, _ := succeeds(t, "list", path)
		assert.Contains(t, out, "sha256:ae2df5aca366", name)
	}
}
