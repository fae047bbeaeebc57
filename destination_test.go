package dockerarchive

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// trusting returns a policy that accepts every image.
func trusting(t testing.TB) *signature.PolicyContext {
	t.Helper()
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, policy.Destroy()) })
	return policy
}

// testImage returns one of the images in testdata.
func testImage(t testing.TB, name string) types.ImageReference {
	t.Helper()
	ref, err := ocilayout.NewReference("testdata/oci", name)
	require.NoError(t, err)
	return ref
}

func tagged(t testing.TB, name string) reference.NamedTagged {
	t.Helper()
	if name == "" {
		return nil
	}
	named, err := reference.ParseNormalizedNamed(name)
	require.NoError(t, err)
	return reference.TagNameOnly(named).(reference.NamedTagged)
}

func copyImage(t testing.TB, dst, src types.ImageReference, options *copy.Options) error {
	t.Helper()
	return copyImageUntil(context.Background(), t, dst, src, options)
}

func copyImageUntil(ctx context.Context, t testing.TB, dst, src types.ImageReference, options *copy.Options) error {
	t.Helper()
	if options == nil {
		options = &copy.Options{}
	}
	o := *options
	if o.DestinationCtx == nil {
		o.DestinationCtx = isolated()
	}
	_, err := copy.Image(ctx, trusting(t), dst, src, &o)
	return err
}

// saved is an image and how it is saved.
type saved struct {
	source     types.ImageReference
	name       string
	additional []string
}

func (s saved) options(t testing.TB) *copy.Options {
	sys := isolated()
	for _, name := range s.additional {
		sys.DockerArchiveAdditionalTags = append(sys.DockerArchiveAdditionalTags, tagged(t, name))
	}
	return &copy.Options{DestinationCtx: sys}
}

// theirs returns the archive that containers/image writes of the images.
func theirs(t testing.TB, images ...saved) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "theirs.tar")
	w, err := archive.NewWriter(nil, path)
	require.NoError(t, err)
	for _, image := range images {
		ref, err := w.NewReference(tagged(t, image.name))
		require.NoError(t, err)
		require.NoError(t, copyImage(t, ref, image.source, image.options(t)))
	}
	require.NoError(t, w.Close())
	return readFile(t, path)
}

func ours(t testing.TB, images ...saved) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ours.tar")
	w, err := NewWriter(nil, path)
	require.NoError(t, err)
	for _, image := range images {
		ref, err := w.NewReference(tagged(t, image.name))
		require.NoError(t, err)
		require.NoError(t, copyImage(t, ref, image.source, image.options(t)))
	}
	require.NoFileExists(t, path)
	require.NoError(t, w.Close())
	return readFile(t, path)
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// uncompressed returns a copy of an image with its layers uncompressed.
func uncompressed(t *testing.T, src types.ImageReference) types.ImageReference {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ours.tar")
	plain, err := archive.NewReference(path, nil)
	require.NoError(t, err)
	require.NoError(t, copyImage(t, plain, src, nil))
	dir, err := directory.NewReference(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, copyImage(t, dir, plain, &copy.Options{DestinationCtx: &types.SystemContext{DirForceDecompress: true, BlobInfoCacheDir: isolated().BlobInfoCacheDir}}))
	return dir
}

func TestSameBytesAsContainersImage(t *testing.T) {
	one, two := testImage(t, "one"), testImage(t, "two")
	for name, images := range map[string][]saved{
		"named":            {{source: one, name: "example.com/one:1"}},
		"unnamed":          {{source: one}},
		"short name":       {{source: two, name: "two"}},
		"additional names": {{source: two, name: "two:1", additional: []string{"two:2", "example.com/two:3", "two:1"}}},
		"several":          {{source: one, name: "one:1"}, {source: two, name: "two:2"}},
		"other order":      {{source: two, name: "two:2"}, {source: one}},
		"uncompressed":     {{source: uncompressed(t, one), name: "one"}},
		"mixed":            {{source: uncompressed(t, one), name: "one"}, {source: two}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.True(t, bytes.Equal(theirs(t, images...), ours(t, images...)))
		})
	}
}

// containers/image cannot write zstd images; ours is the archive of the same
// image with gzip layers.
func TestZstd(t *testing.T) {
	got := ours(t, saved{source: testImage(t, "zstd"), name: "two:2"})
	assert.True(t, bytes.Equal(theirs(t, saved{source: testImage(t, "two"), name: "two:2"}), got))
}
