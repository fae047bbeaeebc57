package imagetest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/require"
)

// Isolated returns a SystemContext under which nothing outside of the test is read
// or written: containers/image keeps its cache of blobs in memory if the directory
// for it cannot be made.
func Isolated() *types.SystemContext {
	return &types.SystemContext{BlobInfoCacheDir: filepath.Join(os.DevNull, "none")}
}

// Sequentially returns options that copy one blob at a time.
func Sequentially() *copy.Options { return &copy.Options{MaxParallelDownloads: 1} }

// Trusting returns a policy that accepts every image.
func Trusting(t testing.TB) *signature.PolicyContext {
	t.Helper()
	return policy(t, signature.NewPRInsecureAcceptAnything())
}

// Rejecting returns a policy that accepts no image.
func Rejecting(t testing.TB) *signature.PolicyContext {
	t.Helper()
	return policy(t, signature.NewPRReject())
}

func policy(t testing.TB, requirement signature.PolicyRequirement) *signature.PolicyContext {
	t.Helper()
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{requirement}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, policy.Destroy()) })
	return policy
}

// Copy copies an image with copy.Image of containers/image.
func Copy(t testing.TB, dst, src types.ImageReference, options *copy.Options) error {
	t.Helper()
	return CopyUntil(context.Background(), t, dst, src, options)
}

// CopyUntil is Copy with a context.
func CopyUntil(ctx context.Context, t testing.TB, dst, src types.ImageReference, options *copy.Options) error {
	t.Helper()
	if options == nil {
		options = &copy.Options{}
	}
	o := *options
	if o.DestinationCtx == nil {
		o.DestinationCtx = Isolated()
	}
	_, err := copy.Image(ctx, Trusting(t), dst, src, &o)
	return err
}

// Named is an image and the names under which it is saved.
type Named struct {
	Source     types.ImageReference
	Name       string // "" for none
	Additional []string
}

// Options returns options for copying the image.
func (n Named) Options(t testing.TB) *copy.Options {
	t.Helper()
	sys := Isolated()
	for _, name := range n.Additional {
		sys.DockerArchiveAdditionalTags = append(sys.DockerArchiveAdditionalTags, Tagged(t, name))
	}
	return &copy.Options{DestinationCtx: sys}
}

// Theirs returns the archive that containers/image writes of the images.
func Theirs(t testing.TB, images ...Named) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "theirs.tar")
	w, err := archive.NewWriter(nil, path)
	require.NoError(t, err)
	for _, image := range images {
		ref, err := w.NewReference(Tagged(t, image.Name))
		require.NoError(t, err)
		require.NoError(t, Copy(t, ref, image.Source, image.Options(t)))
	}
	require.NoError(t, w.Close())
	return ReadFile(t, path)
}
