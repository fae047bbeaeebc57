package register_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/transports/alltransports"
	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	_ "github.com/dockerarchive/dockerarchive/register"
)

// The import above is all that a program needs: alltransports, which imports the
// built-in transport too, knows ours by its name.
func TestReplacesTheBuiltInTransport(t *testing.T) {
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		assert.Equal(t, transport, transports.Get(transport.Name()))
		assert.Contains(t, transports.ListNames(), transport.Name())
		ref, err := alltransports.ParseImageName(transport.Name() + ":archive.tar:busybox")
		require.NoError(t, err)
		assert.Equal(t, transport, ref.Transport())
		assert.Equal(t, transport.Name()+":archive.tar:docker.io/library/busybox:latest", transports.ImageName(ref))
	}
}

// A copy goes through us: the built-in transport cannot write this image, whose
// layers are compressed with zstd. It and the archive are then read by us too.
func TestCopiesThroughUs(t *testing.T) {
	ctx := context.Background()
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	require.NoError(t, err)
	defer policy.Destroy()
	source, err := layout.NewReference(filepath.Join("..", "testdata", "oci"), "zstd")
	require.NoError(t, err)
	// containers/image keeps its cache of blobs in memory if it cannot make this.
	sys := &types.SystemContext{BlobInfoCacheDir: filepath.Join(os.DevNull, "none")}
	options := &copy.Options{SourceCtx: sys, DestinationCtx: sys}
	dir := t.TempDir()
	for _, name := range []string{dockerarchive.Transport.Name(), dockerarchive.ImageTransport.Name()} {
		ref, err := alltransports.ParseImageName(name + ":" + filepath.Join(dir, name) + ":zstd:1")
		require.NoError(t, err)
		_, err = copy.Image(ctx, policy, ref, source, options)
		require.NoError(t, err)
		back, err := alltransports.ParseImageName("oci:" + filepath.Join(dir, name+"-back"))
		require.NoError(t, err)
		_, err = copy.Image(ctx, policy, back, ref, options)
		require.NoError(t, err)
	}
}
