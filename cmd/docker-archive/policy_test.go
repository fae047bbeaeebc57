package main

import (
	"testing"

	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
