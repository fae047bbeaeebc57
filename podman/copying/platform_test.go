package copying_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

func TestChoosePlatform(t *testing.T) {
	for name, isIndex := range map[string]bool{"one": false, "multi": true} {
		src, err := imagetest.Saved(t, name).NewImageSource(t.Context(), nil)
		require.NoError(t, err)
		defer src.Close()
		d, err := copying.ChoosePlatform(t.Context(), &types.SystemContext{OSChoice: "linux", ArchitectureChoice: "arm64"}, src)
		require.NoError(t, err)
		assert.Equal(t, isIndex, d != nil)
	}
}

// For every destination, the error for a platform that is not there lists those that
// are.
func TestCopyOfNoPlatformAnywhere(t *testing.T) {
	dest, err := alltransports.ParseImageName("dir:" + filepath.Join(t.TempDir(), "dir"))
	require.NoError(t, err)
	_, err = copying.Copy(t.Context(), imagetest.Trusting(t), dest, imagetest.Saved(t, "multi"),
		&copying.CopyOptions{Options: copy.Options{SourceCtx: &types.SystemContext{OSChoice: "linux", ArchitectureChoice: "s390x"}}})
	var missing *errdef.NoPlatformError
	require.ErrorAs(t, err, &missing)
	assert.Equal(t, []string{"linux/amd64", "linux/arm64/v8"}, missing.Available)
}
