package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// A system without a policy, as one is that no other program of this kind has been
// installed on, has none that is asked.
func TestNoPolicy(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	sys := &types.SystemContext{RootForImplicitAbsolutePaths: t.TempDir()}
	_, err := signature.DefaultPolicy(sys)
	require.Error(t, err)
	require.True(t, isNoPolicy(err), err)
	policy, err := (&globalOptions{}).readPolicy(sys)
	require.NoError(t, err)
	assert.Equal(t, signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}, policy.Default)
}
