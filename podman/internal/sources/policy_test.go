package sources

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// On a system without a policy, as where no other program of this kind is installed, no
// policy is asked. A policy that is named has to be there.
func TestNoPolicy(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	sys := &types.SystemContext{RootForImplicitAbsolutePaths: t.TempDir()}
	_, err := signature.DefaultPolicy(sys)
	require.Error(t, err)
	policy, err := SystemPolicy(sys)
	require.NoError(t, err)
	defer func() { require.NoError(t, policy.Destroy()) }()
	src, err := imagetest.Saved(t, "one").NewImageSource(t.Context(), nil)
	require.NoError(t, err)
	defer src.Close() // It is only read.
	allowed, err := policy.IsRunningImageAllowed(t.Context(), image.UnparsedInstance(src, nil))
	require.NoError(t, err)
	assert.True(t, allowed)

	sys.SignaturePolicyPath = filepath.Join(t.TempDir(), "policy.json")
	_, err = SystemPolicy(sys)
	require.ErrorContains(t, err, "reading the signature policy")
}
