package dockerarchive_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// These tests hold the contract of types.ImageDestination about manifests, the
// end, and two images that share a blob.

// Manifests that the archive cannot hold are refused with a reason and, where
// there is one, a way out.
func TestPutManifestRefuses(t *testing.T) {
	l, other := imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000)
	instance := digest.Digest(someDigest)
	for name, c := range map[string]struct {
		change   func(m *imagetest.Image)
		raw      func(raw []byte) []byte
		instance *digest.Digest
		want     []string
		rejected bool // as a type, so that the caller tries another one
	}{
		"manifest list": {
			raw: func([]byte) []byte {
				return []byte(`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}`)
			},
			want: []string{"choose a platform"},
		},
		"index": {
			raw: func([]byte) []byte {
				return []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
			},
			want: []string{"choose a platform"},
		},
		"instance of a list": {instance: &instance, want: []string{"choose a platform"}},
		"schema 1": {
			raw: func([]byte) []byte {
				return []byte(`{"schemaVersion":1,"name":"x","tag":"y","architecture":"amd64","fsLayers":[],"history":[]}`)
			},
			want: []string{"v1+json"}, rejected: true,
		},
		"no manifest": {raw: func([]byte) []byte { return []byte("hello") }, want: []string{"decoding manifest"}},
		"of no type":  {raw: func([]byte) []byte { return []byte(`{"config":null}`) }, want: []string{`type ""`}, rejected: true},
		"damaged": {raw: func(raw []byte) []byte {
			return bytes.Replace(raw, []byte(`"layers":[`), []byte(`"layers":7,"x":[`), 1)
		}},
		"artifact": {change: func(m *imagetest.Image) {
			m.SetConfig([]byte("{}"))
			m.Manifest.Config.MediaType = "application/vnd.example+json"
		}, want: []string{"application/vnd.example+json", "artifact"}},
		"unwritten config":  {change: func(m *imagetest.Image) { m.Manifest.Config.Digest = someDigest }, want: []string{someDigest, "has not been written"}},
		"unwritten layer":   {change: func(m *imagetest.Image) { m.Manifest.Layers[0].Digest = someDigest }, want: []string{someDigest, "has not been written"}},
		"more layers":       {change: func(m *imagetest.Image) { m.Manifest.Layers = append(m.Manifest.Layers, m.Manifest.Layers[0]) }, want: []string{"lists 1 layers, the manifest 2"}},
		"fewer layers":      {change: func(m *imagetest.Image) { m.Manifest.Layers = nil }, want: []string{"lists 1 layers, the manifest 0"}},
		"another layer":     {change: func(m *imagetest.Image) { m.Manifest.Layers[0].Digest = other.Digest }, want: []string{other.Digest.String(), l.DiffID().String(), other.DiffID().String()}},
		"encrypted":         {change: func(m *imagetest.Image) { m.Manifest.Layers[0].MediaType += "+encrypted" }, want: []string{"encrypted", "decrypt"}},
		"config of no JSON": {change: func(m *imagetest.Image) { m.SetConfig([]byte("hello")) }, want: []string{"decoding config"}},
		"config of no map":  {change: func(m *imagetest.Image) { m.SetConfig([]byte("[]")) }, want: []string{"decoding config"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := imagetest.NewImage(t, "refused", l)
			if c.change != nil {
				c.change(m)
			}
			if c.raw == nil {
				m.Encode(t)
			} else {
				m.Raw = c.raw(m.Raw)
			}
			d := newTarget(t, "")
			fronttest.PutBlob(t, d, l)
			fronttest.PutBlob(t, d, other)
			_, err := d.PutBlob(context.Background(), bytes.NewReader(m.Config), types.BlobInfo{Digest: digest.FromBytes(m.Config), Size: -1}, none.NoCache, true)
			require.NoError(t, err)
			err = d.PutManifest(context.Background(), m.Raw, c.instance)
			for _, want := range append(c.want, d.path) {
				require.ErrorContains(t, err, want)
			}
			var rejected types.ManifestTypeRejectedError
			assert.Equal(t, c.rejected, errors.As(err, &rejected), "%v", err)
			require.Error(t, d.Commit(context.Background(), nil))
			require.NoError(t, d.Close())
			assert.Empty(t, imagetest.Leftovers(t, d.dir))
		})
	}
}

// Schema 2 and OCI manifests are taken, and make the same archive.
func TestPutManifestTypes(t *testing.T) {
	m := imagetest.NewImage(t, "types", imagetest.Gzip(1, 3000))
	var sums []string
	for _, schema2 := range []bool{false, true} {
		if schema2 {
			m.Raw = bytes.ReplaceAll(m.Raw, []byte(imgspecv1.MediaTypeImageManifest), []byte("application/vnd.docker.distribution.manifest.v2+json"))
			m.Raw = bytes.ReplaceAll(m.Raw, []byte(imgspecv1.MediaTypeImageConfig), []byte("application/vnd.docker.container.image.v1+json"))
			m.Raw = bytes.ReplaceAll(m.Raw, []byte(imgspecv1.MediaTypeImageLayerGzip), []byte("application/vnd.docker.image.rootfs.Diff.tar.gzip"))
		}
		d := newTarget(t, "busybox")
		fronttest.PutImage(t, d, m)
		require.NoError(t, d.Commit(context.Background(), nil))
		sums = append(sums, imagetest.Sum(imagetest.ReadFile(t, d.path)))
	}
	assert.Equal(t, sums[0], sums[1])
}

// Blobs may come in any order, the config included, which is nowhere in the
// contract: the pipeline has changed it before.
func TestConfigBeforeOrAfterLayers(t *testing.T) {
	m := imagetest.NewImage(t, "order", imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000))
	want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: m}))
	for _, config := range []int{0, 1, 2} {
		d := newTarget(t, "")
		for i := range 3 {
			if i == config {
				fronttest.PutConfig(t, d, m)
			}
			if i < 2 {
				fronttest.PutBlob(t, d, m.Layers[1-i])
			}
		}
		require.NoError(t, d.PutManifest(context.Background(), m.Raw, nil))
		require.NoError(t, d.Commit(context.Background(), nil))
		assert.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, d.path)))
	}
}

// Signatures cannot be stored; storing none succeeds.
func TestPutSignatures(t *testing.T) {
	d := newTarget(t, "")
	require.NoError(t, d.PutSignatures(context.Background(), nil, nil))
	require.NoError(t, d.PutSignatures(context.Background(), [][]byte{}, nil))
	require.ErrorContains(t, d.PutSignatures(context.Background(), [][]byte{[]byte("s")}, nil), "signatures")
}

// An archive is complete with Commit, and Commit with the manifest.
func TestCommit(t *testing.T) {
	ctx := context.Background()
	m := imagetest.NewImage(t, "commit", imagetest.Gzip(1, 3000))
	d := newTarget(t, "")
	fronttest.PutBlob(t, d, m.Layers[0])
	fronttest.PutConfig(t, d, m)
	require.ErrorContains(t, d.Commit(ctx, nil), "manifest has not been written")
	require.NoError(t, d.PutManifest(ctx, m.Raw, nil))
	require.NoFileExists(t, d.path)
	require.NoError(t, d.Commit(ctx, nil))
	want := imagetest.ReadFile(t, d.path)
	require.ErrorIs(t, d.Commit(ctx, nil), fs.ErrClosed)
	_, err := d.PutBlob(ctx, bytes.NewReader([]byte("more")), types.BlobInfo{Size: -1}, none.NoCache, false)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.NoError(t, d.Close())
	require.NoError(t, d.Close(), "closing twice does no harm")
	assert.Equal(t, want, imagetest.ReadFile(t, d.path))
	assert.Equal(t, []string{"archive.tar"}, imagetest.Leftovers(t, d.dir))
}

// "Close removes resources": without Commit nothing is left, wherever it stops.
func TestCloseWithoutCommit(t *testing.T) {
	m := imagetest.NewImage(t, "close", imagetest.Gzip(1, 3000), imagetest.Plain(2, 3000))
	for _, steps := range []int{0, 1, 2, 3, 4} {
		d := newTarget(t, "")
		for i := range steps {
			switch i {
			case 0, 1:
				fronttest.PutBlob(t, d, m.Layers[i])
			case 2:
				fronttest.PutConfig(t, d, m)
			case 3:
				require.NoError(t, d.PutManifest(context.Background(), m.Raw, nil))
			}
		}
		require.NoError(t, d.Close())
		require.NoError(t, d.Close())
		assert.Empty(t, imagetest.Leftovers(t, d.dir))
		require.Error(t, d.Commit(context.Background(), nil))
		assert.Empty(t, imagetest.Leftovers(t, d.dir))
	}
}

// A file that is already at the path stays.
func TestNotEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.tar")
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	ref, err := dockerarchive.NewReference(path, nil)
	require.NoError(t, err)
	_, err = ref.NewImageDestination(context.Background(), imagetest.Isolated())
	require.ErrorIs(t, err, errdef.ErrNotEmpty)
	require.ErrorContains(t, err, path)
	assert.Equal(t, "mine", string(imagetest.ReadFile(t, path)))
}

// twoTargets returns destinations of two images of one Writer.
func twoTargets(t testing.TB) (w *dockerarchive.Writer, one, two types.ImageDestination) {
	t.Helper()
	w, err := dockerarchive.NewWriter(imagetest.Isolated(), filepath.Join(t.TempDir(), "archive.tar"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Abort()) })
	var ds []types.ImageDestination
	for range 2 {
		ref, err := w.NewReference(nil)
		require.NoError(t, err)
		d, err := ref.NewImageDestination(context.Background(), imagetest.Isolated())
		require.NoError(t, err)
		ds = append(ds, d)
	}
	return w, ds[0], ds[1]
}

type reuse struct {
	reused bool
	info   types.BlobInfo
	err    error
}

func tryReusing(ctx context.Context, d types.ImageDestination, l imagetest.Layer) <-chan reuse {
	c := make(chan reuse, 1)
	go func() {
		reused, info, err := d.TryReusingBlob(ctx, types.BlobInfo{Digest: l.Digest, Size: -1}, none.NoCache, false)
		c <- reuse{reused, info, err}
	}()
	return c
}

// A blob that is on its way to one image is waited for by another, from when it
// was asked for in vain until it is there.
func TestTryReusingBlobWaits(t *testing.T) {
	ctx := context.Background()
	l := imagetest.Gzip(1, 300_000)
	_, one, two := twoTargets(t)
	reused, _, err := one.TryReusingBlob(ctx, types.BlobInfo{Digest: l.Digest}, none.NoCache, false)
	require.NoError(t, err)
	require.False(t, reused)
	early := tryReusing(ctx, two, l)

	r, w := io.Pipe()
	put := make(chan error, 1)
	go func() {
		_, err := one.PutBlob(ctx, r, types.BlobInfo{Digest: l.Digest, Size: int64(len(l.Blob))}, none.NoCache, false)
		put <- err
	}()
	_, err = w.Write(l.Blob[:len(l.Blob)-1])
	require.NoError(t, err)
	late := tryReusing(ctx, two, l)
	cancelled, cancel := context.WithCancel(ctx)
	never := tryReusing(cancelled, two, l)
	cancel()
	assert.ErrorIs(t, (<-never).err, context.Canceled)
	select {
	case r := <-early:
		t.Fatalf("returned before the blob was there: %v", r)
	case r := <-late:
		t.Fatalf("returned before the blob was there: %v", r)
	default:
	}
	_, err = w.Write(l.Blob[len(l.Blob)-1:])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, <-put)
	want := reuse{true, types.BlobInfo{Digest: l.Digest, Size: int64(len(l.Blob))}, nil}
	assert.Equal(t, want, <-early)
	assert.Equal(t, want, <-late)
}

// A blob that one image has failed to deliver is the next one's to deliver: at
// once if it had begun, else when the destination is closed. The fake clock
// shows that nobody loses patience meanwhile.
func TestClaimsAreReleased(t *testing.T) { synctest.Test(t, testClaimsAreReleased) }

func testClaimsAreReleased(t *testing.T) {
	start := time.Now()
	ctx := context.Background()
	l := imagetest.Gzip(1, 3000)
	for _, begun := range []bool{true, false} {
		_, one, two := twoTargets(t)
		reused, _, err := one.TryReusingBlob(ctx, types.BlobInfo{Digest: l.Digest}, none.NoCache, false)
		require.NoError(t, err)
		require.False(t, reused)
		other := tryReusing(ctx, two, l)
		synctest.Wait()
		if begun {
			_, err = one.PutBlob(ctx, bytes.NewReader(l.Blob[:100]), types.BlobInfo{Digest: l.Digest, Size: -1}, none.NoCache, false)
			require.Error(t, err)
		} else {
			require.NoError(t, one.Close())
		}
		assert.Equal(t, reuse{}, <-other)
		assert.Zero(t, time.Since(start))
		fronttest.PutBlob(t, two, l)
	}
}

// Two images deliver the same blob without asking: one of them is not read.
func TestPutBlobTwiceAtOnce(t *testing.T) {
	ctx := context.Background()
	l := imagetest.Gzip(1, 3000)
	_, one, two := twoTargets(t)
	r, w := io.Pipe()
	put := make(chan error, 2)
	go func() {
		_, err := one.PutBlob(ctx, r, types.BlobInfo{Digest: l.Digest, Size: -1}, none.NoCache, false)
		put <- err
	}()
	_, err := w.Write(l.Blob[:1])
	require.NoError(t, err)
	go func() {
		_, err := two.PutBlob(ctx, unread{t}, types.BlobInfo{Digest: l.Digest, Size: -1}, none.NoCache, false)
		put <- err
	}()
	_, err = w.Write(l.Blob[1:])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, <-put)
	require.NoError(t, <-put)
}

// unread is a stream that must not be read.
type unread struct{ t testing.TB }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("a blob was read though it is there")
	return 0, io.EOF
}

// ofImageArchive returns a destination for a new archive in the OCI layout.
func ofImageArchive(t testing.TB) target {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "archive.tar")
	ref, err := dockerarchive.ImageTransport.ParseReference(path)
	require.NoError(t, err)
	return target{fronttest.Open(t, ref), dir, path}
}

// A manifest that differs from the index's entry for it is refused, with both
// digests.
func TestPutManifestOfAnotherDigest(t *testing.T) {
	m := imagetest.NewImage(t, "instance", imagetest.Gzip(1, 3000))
	d := ofImageArchive(t)
	fronttest.PutBlob(t, d, m.Layers[0])
	fronttest.PutConfig(t, d, m)
	other := digest.Digest(someDigest)
	err := d.PutManifest(t.Context(), m.Raw, &other)
	var mismatch *errdef.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.ErrorContains(t, err, someDigest)
	require.ErrorContains(t, err, m.Digest().String())
	require.ErrorContains(t, err, d.path)
	own := m.Digest()
	require.NoError(t, d.PutManifest(t.Context(), m.Raw, &own))
	require.Error(t, d.Commit(t.Context(), nil), "an instance is not the image itself")
}

// Where the manifest is kept, a size in it that is not that of the blob is refused.
func TestPutManifestOfWrongSizes(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(m *imagetest.Image)
		want  string
	}{
		"layer":  {func(m *imagetest.Image) { m.Manifest.Layers[0].Size++ }, "3073 bytes"},
		"config": {func(m *imagetest.Image) { m.Manifest.Config.Size-- }, "has "},
	} {
		m := imagetest.NewImage(t, "sizes", imagetest.Plain(1, 1500))
		d := ofImageArchive(t)
		fronttest.PutBlob(t, d, m.Layers[0])
		fronttest.PutConfig(t, d, m)
		c.spoil(m)
		m.Encode(t)
		err := d.PutManifest(t.Context(), m.Raw, nil)
		require.ErrorContains(t, err, c.want, name)
		require.ErrorContains(t, err, "the manifest says", name)
		require.Error(t, d.Commit(t.Context(), nil))
		require.NoError(t, d.Close())
		assert.Empty(t, imagetest.Leftovers(t, d.dir))
	}
}
