package dockerarchive_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// These tests hold the contract of types.ImageDestination about blobs, sentence
// by sentence. contract_image_test.go has the rest.

// target is a destination and where its archive will be.
type target struct {
	types.ImageDestination
	dir, path string
}

// newTarget returns a destination for a new archive, which is closed at the end
// of the test, if it was not before, without leaving anything behind.
func newTarget(t testing.TB, name string) target {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "archive.tar")
	ref, err := dockerarchive.NewReference(path, imagetest.Tagged(t, name))
	require.NoError(t, err)
	d, err := ref.NewImageDestination(context.Background(), imagetest.Isolated())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return target{d, dir, path}
}

// "inputInfo.Digest can be optionally provided if known", "inputInfo.Size is the
// expected length of stream, if known", and the result describes the blob as it
// was received, however it is stored.
func TestPutBlobReturnsWhatWasReceived(t *testing.T) {
	for name, l := range map[string]imagetest.Layer{
		"plain": imagetest.Plain(1, 3000),
		"gzip":  imagetest.Gzip(1, 3000),
		"zstd":  imagetest.Zstd(1, 3000),
		"empty": imagetest.NewLayer(nil, nil, ""),
	} {
		for _, digestKnown := range []bool{true, false} {
			for _, sizeKnown := range []bool{true, false} {
				d := newTarget(t, "")
				in := types.BlobInfo{Size: -1}
				if digestKnown {
					in.Digest = l.Digest
				}
				if sizeKnown {
					in.Size = int64(len(l.Blob))
				}
				info, err := d.PutBlob(context.Background(), iotest.HalfReader(bytes.NewReader(l.Blob)), in, none.NoCache, false)
				require.NoError(t, err, name)
				assert.Equal(t, l.Digest, info.Digest, name)
				assert.EqualValues(t, len(l.Blob), info.Size, name)

				m := imagetest.NewImage(t, name, l)
				fronttest.PutConfig(t, d, m)
				require.NoError(t, d.PutManifest(context.Background(), m.Raw, nil))
				require.NoError(t, d.Commit(context.Background(), nil))
				contents, _ := imagetest.Files(t, imagetest.ReadFile(t, d.path))
				assert.True(t, bytes.Equal(l.Diff, contents[l.DiffID().Encoded()+".tar"]), name)
			}
		}
	}
}

// The same for configs.
func TestPutConfigReturnsWhatWasReceived(t *testing.T) {
	m := imagetest.NewImage(t, "config")
	for _, in := range []types.BlobInfo{{Size: -1}, {Digest: m.ConfigDigest(), Size: -1}, {Size: int64(len(m.Config))}} {
		d := newTarget(t, "")
		info, err := d.PutBlob(context.Background(), bytes.NewReader(m.Config), in, none.NoCache, true)
		require.NoError(t, err)
		assert.Equal(t, types.BlobInfo{Digest: m.ConfigDigest(), Size: int64(len(m.Config))}, info)
		require.NoError(t, d.PutManifest(context.Background(), m.Raw, nil))
	}
}

// "If stream.Read() at any time, ESPECIALLY at end of input, returns an error,
// PutBlob MUST 1) fail, and 2) delete any data stored so far."
func TestPutBlobFailsWithItsStream(t *testing.T) {
	for name, l := range map[string]imagetest.Layer{"plain": imagetest.Plain(1, 3000), "gzip": imagetest.Gzip(1, 3000), "zstd": imagetest.Zstd(1, 3000)} {
		for _, known := range []bool{true, false} {
			for _, at := range []int{0, 1, len(l.Blob) / 2, len(l.Blob)} {
				d := newTarget(t, "")
				in := types.BlobInfo{Size: -1}
				if known {
					in = types.BlobInfo{Digest: l.Digest, Size: int64(len(l.Blob))}
				}
				failing := io.MultiReader(bytes.NewReader(l.Blob[:at]), iotest.ErrReader(fronttest.ErrSource))
				_, err := d.PutBlob(context.Background(), failing, in, none.NoCache, false)
				require.ErrorIs(t, err, fronttest.ErrSource, "%s at %d", name, at)
				require.ErrorContains(t, err, d.path)
				if known {
					require.ErrorContains(t, err, l.Digest.String())
				}
				reused, _, err := d.TryReusingBlob(context.Background(), types.BlobInfo{Digest: l.Digest}, none.NoCache, false)
				require.NoError(t, err)
				assert.False(t, reused, "%s at %d", name, at)

				// The next attempt is not in the way of anything.
				m := imagetest.NewImage(t, name, l)
				fronttest.PutImage(t, d, m)
				require.NoError(t, d.Commit(context.Background(), nil))
				want := imagetest.Theirs(t, imagetest.Named{Source: imagetest.NewImage(t, name, imagetest.Gzip(1, 3000))})
				assert.Equal(t, imagetest.Sum(want), imagetest.Sum(imagetest.ReadFile(t, d.path)), "%s at %d", name, at)
			}
		}
	}
	d := newTarget(t, "")
	_, err := d.PutBlob(context.Background(), iotest.ErrReader(fronttest.ErrSource), types.BlobInfo{Size: -1}, none.NoCache, true)
	require.ErrorIs(t, err, fronttest.ErrSource)
}

// A blob that differs from its announcement, or is not what it seems, is refused
// by an error that names it.
func TestPutBlobRefuses(t *testing.T) {
	plain, zipped := imagetest.Plain(1, 3000), imagetest.Gzip(1, 3000)
	size := func(l imagetest.Layer) int64 { return int64(len(l.Blob)) }
	cut := zipped.Blob[:len(zipped.Blob)-9]
	flipped := bytes.Clone(zipped.Blob)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	for name, c := range map[string]struct {
		data     []byte
		info     types.BlobInfo
		isConfig bool
		want     []string
	}{
		"plain, too long":       {plain.Blob, types.BlobInfo{Digest: plain.Digest, Size: size(plain) - 1}, false, []string{"announced"}},
		"plain, too short":      {plain.Blob, types.BlobInfo{Digest: plain.Digest, Size: size(plain) + 1}, false, []string{"announced"}},
		"gzip, too long":        {zipped.Blob, types.BlobInfo{Digest: zipped.Digest, Size: size(zipped) - 1}, false, []string{"announced"}},
		"gzip, too short":       {zipped.Blob, types.BlobInfo{Digest: zipped.Digest, Size: size(zipped) + 1}, false, []string{"announced"}},
		"unknown digest":        {plain.Blob, types.BlobInfo{Size: size(plain) + 1}, false, []string{"of unknown digest"}},
		"truncated":             {cut, types.BlobInfo{Digest: digest.FromBytes(cut), Size: int64(len(cut))}, false, []string{"gzip", "unexpected EOF"}},
		"damaged":               {flipped, types.BlobInfo{Digest: digest.FromBytes(flipped), Size: int64(len(flipped))}, false, []string{"gzip", "checksum"}},
		"more than its header":  {[]byte{0x1f, 0x8b, 8}, types.BlobInfo{Digest: plain.Digest, Size: 3}, false, []string{"gzip"}},
		"algorithm":             {plain.Blob, types.BlobInfo{Digest: "md5:" + "0123456789abcdef0123456789abcdef", Size: -1}, false, []string{"algorithm"}},
		"malformed digest":      {plain.Blob, types.BlobInfo{Digest: "sha256:../../etc/passwd", Size: -1}, false, []string{"invalid"}},
		"config, algorithm":     {[]byte("{}"), types.BlobInfo{Digest: "md5:" + "0123456789abcdef0123456789abcdef", Size: -1}, true, []string{"algorithm"}},
		"config, wrong size":    {[]byte("{}"), types.BlobInfo{Digest: digest.FromString("{}"), Size: 3}, true, []string{"2 bytes", "3 announced"}},
		"config, much too long": {make([]byte, image.MaxDocument+1), types.BlobInfo{Digest: plain.Digest, Size: -1}, true, []string{"larger than"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTarget(t, "")
			_, err := d.PutBlob(context.Background(), bytes.NewReader(c.data), c.info, none.NoCache, c.isConfig)
			for _, want := range append(c.want, c.info.Digest.String(), d.path) {
				require.ErrorContains(t, err, want)
			}
			require.NoError(t, d.Close())
			assert.Empty(t, imagetest.Leftovers(t, d.dir))
		})
	}
}

// A layer that the archive has is not read, however it is offered.
func TestPutBlobDoesNotReadWhatIsThere(t *testing.T) {
	zipped := imagetest.Gzip(1, 3000)
	plain := imagetest.Plain(1, 3000) // the same, uncompressed
	d := newTarget(t, "")
	fronttest.PutBlob(t, d, zipped)
	for _, l := range []imagetest.Layer{zipped, plain} {
		info, err := d.PutBlob(context.Background(), iotest.ErrReader(fronttest.ErrSource), types.BlobInfo{Digest: l.Digest, Size: -1}, none.NoCache, false)
		require.NoError(t, err)
		assert.Equal(t, types.BlobInfo{Digest: l.Digest, Size: int64(len(l.Blob))}, info)
		reused, info, err := d.TryReusingBlob(context.Background(), types.BlobInfo{Digest: l.Digest, Size: -1}, none.NoCache, false)
		require.NoError(t, err)
		assert.True(t, reused)
		assert.Equal(t, types.BlobInfo{Digest: l.Digest, Size: int64(len(l.Blob))}, info)
	}
	// A config is no layer, though it were the same bytes.
	info, err := d.PutBlob(context.Background(), bytes.NewReader(plain.Blob), types.BlobInfo{Digest: plain.Digest, Size: -1}, none.NoCache, true)
	require.NoError(t, err)
	assert.EqualValues(t, len(plain.Blob), info.Size)
}

// "info.Digest must not be empty." "If the transport can not reuse the requested
// blob, TryReusingBlob returns (false, {}, nil)".
func TestTryReusingBlob(t *testing.T) {
	d := newTarget(t, "")
	_, _, err := d.TryReusingBlob(context.Background(), types.BlobInfo{}, none.NoCache, true)
	require.ErrorContains(t, err, "digest is unknown")
	reused, info, err := d.TryReusingBlob(context.Background(), types.BlobInfo{Digest: someDigest, Size: 7}, none.NoCache, true)
	require.NoError(t, err)
	assert.False(t, reused)
	assert.Equal(t, types.BlobInfo{}, info)
}

// The caller's context ends PutBlob and TryReusingBlob before they have begun.
func TestCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l := imagetest.Gzip(1, 3000)
	d := newTarget(t, "")
	for _, isConfig := range []bool{true, false} {
		_, err := d.PutBlob(ctx, bytes.NewReader(l.Blob), types.BlobInfo{Digest: l.Digest, Size: -1}, none.NoCache, isConfig)
		require.ErrorIs(t, err, context.Canceled)
	}
}

// A destination has the same properties as containers/image's, but where it must
// differ.
func TestProperties(t *testing.T) {
	ctx := context.Background()
	d := newTarget(t, "busybox")
	ref, err := archive.NewReference(filepath.Join(t.TempDir(), "theirs.tar"), imagetest.Tagged(t, "busybox"))
	require.NoError(t, err)
	their, err := ref.NewImageDestination(ctx, imagetest.Isolated())
	require.NoError(t, err)
	defer their.Close()
	assert.Equal(t, their.AcceptsForeignLayerURLs(), d.AcceptsForeignLayerURLs())
	assert.Equal(t, their.MustMatchRuntimeOS(), d.MustMatchRuntimeOS())
	assert.Equal(t, their.Reference().DockerReference().String(), d.Reference().DockerReference().String())
	assert.Equal(t, d.path+":docker.io/library/busybox:latest", d.Reference().StringWithinTransport())
	require.Error(t, their.SupportsSignatures(ctx))
	require.ErrorContains(t, d.SupportsSignatures(ctx), "signatures")
	assert.Equal(t, types.PreserveOriginal, d.DesiredLayerCompression())
	assert.True(t, d.IgnoresEmbeddedDockerReference())
	assert.True(t, d.HasThreadSafePutBlob(), "into a file")
	assert.Subset(t, d.SupportedManifestMIMETypes(), their.SupportedManifestMIMETypes())

	null, err := dockerarchive.NewReference(os.DevNull, nil)
	require.NoError(t, err)
	stream, err := null.NewImageDestination(ctx, imagetest.Isolated())
	require.NoError(t, err)
	defer stream.Close()
	assert.False(t, stream.HasThreadSafePutBlob(), "blobs of a stream would come in any order")
}
