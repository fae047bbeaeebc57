package copying_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/fetching"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Reading a blob goes on where it failed, on a pipe too. If all of it is there, the way in which reading ends does not
// matter.
func TestSaveResumes(t *testing.T) {
	big := imagetest.Gzip(1, 200_000)
	for _, transport := range []types.ImageTransport{dockerarchive.ImageTransport, dockerarchive.Transport} {
		options := saving(t)
		options.Transport, options.RetryTimes = transport, 3
		options.DestinationCtx.BigFilesTemporaryDir = t.TempDir()
		want, _ := save(t, options, named(t, imagetest.NewImage(t, "x", big), "app:1"))
		for _, after := range []int64{0, 1, 100_000, int64(len(big.Blob))} {
			m := imagetest.NewImage(t, "x", big)
			m.Disturb = imagetest.BrokenAt(big.Digest, after, 3, io.ErrUnexpectedEOF)
			got, _ := save(t, options, named(t, m, "app:1"))
			assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got))
			gets := 4
			if after == int64(len(big.Blob)) {
				gets = 1
			}
			if transport == dockerarchive.Transport {
				gets++ // For its end.
			}
			assert.Equal(t, gets, m.Gets[big.Digest])
			m.Disturb = imagetest.BrokenAt(big.Digest, after, 3, io.EOF) // Cut short.
			if after == int64(len(big.Blob)) {
				continue
			}
			got, err := saveToPipe(t, options, named(t, m, "app:1"))
			require.NoError(t, err)
			assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got))
		}
	}
}

func TestSaveGivesUp(t *testing.T) {
	big := imagetest.Gzip(1, 200_000)
	for name, c := range map[string]struct {
		err  error
		gets int
	}{
		"after too many attempts": {io.ErrUnexpectedEOF, 3},
		"at once":                 {errTest, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := imagetest.NewImage(t, "x", big)
			m.Disturb = imagetest.BrokenAt(big.Digest, 1000, 100, c.err)
			options := saving(t)
			options.RetryTimes = 2
			path := filepath.Join(t.TempDir(), "saved.tar")
			results, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, imagetest.NewImage(t, "y"), "app:2"), named(t, m, "app:1")}, options)
			require.ErrorIs(t, err, c.err)
			var failed *errdef.ImageError
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, transports.ImageName(m), failed.Image)
			assert.Equal(t, error(failed), results[1].Err)
			assert.Equal(t, c.gets, m.Gets[big.Digest])
			assert.Empty(t, imagetest.Leftovers(t, filepath.Dir(path)))
		})
	}
}

// A blob that one image's source cannot give comes from another's.
func TestSaveTriesOtherSources(t *testing.T) {
	big := imagetest.Gzip(1, 200_000)
	options := saving(t)
	want, _ := save(t, options, named(t, imagetest.NewImage(t, "a", big), "a:1"), named(t, imagetest.NewImage(t, "b", big), "b:1"))
	wrong := func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
		if d != big.Digest {
			return r
		}
		return io.MultiReader(strings.NewReader("x"), io.LimitReader(r, int64(len(big.Blob))-1))
	}
	for name, disturb := range map[string]func(context.Context, digest.Digest, io.Reader) io.Reader{
		"fails": imagetest.BrokenAt(big.Digest, 100_000, 100, errTest),
		"wrong": wrong,
	} {
		a := imagetest.NewImage(t, "a", big)
		a.Disturb = disturb
		got, _ := save(t, options, named(t, a, "a:1"), named(t, imagetest.NewImage(t, "b", big), "b:1"))
		assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got), name)
	}
	b := imagetest.NewImage(t, "b", big)
	b.Disturb = wrong
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{named(t, b, "")}, options)
	require.ErrorIs(t, err, fetching.ErrMismatch)
	require.ErrorContains(t, err, big.Digest.String())
}

func TestSaveKeepsGoing(t *testing.T) {
	shared, lost, alone := imagetest.Gzip(1, 50_000), imagetest.Gzip(2, 20_000), imagetest.Gzip(3, 30_000)
	bad := func() *imagetest.Image {
		m := imagetest.NewImage(t, "bad", shared, alone, lost)
		m.Disturb = imagetest.BrokenAt(lost.Digest, 0, 100, errTest)
		return m
	}
	good, other := imagetest.NewImage(t, "good", shared), imagetest.NewImage(t, "other", imagetest.Gzip(4, 100))
	for _, transport := range []types.ImageTransport{dockerarchive.ImageTransport, dockerarchive.Transport} {
		for _, jobs := range []int{1, 8} {
			options := saving(t)
			options.Transport, options.KeepGoing, options.Jobs = transport, true, jobs
			options.DestinationCtx.BigFilesTemporaryDir = t.TempDir()
			want, _ := save(t, options, named(t, other, ""), named(t, good, "good:1"))
			images := []copying.SaveImage{named(t, other, ""), named(t, bad(), "bad:1"), named(t, imagetest.Saved(t, "none"), ""), named(t, good, "good:1")}
			path := filepath.Join(t.TempDir(), "saved.tar")
			results, err := copying.Save(t.Context(), imagetest.Trusting(t), path, images, options)
			require.ErrorIs(t, err, copying.ErrImagesLeftOut)
			assert.Equal(t, imagetest.Sum(want), imagetest.Sum(imagetest.ReadFile(t, path)), "nothing of what is left out")
			require.ErrorIs(t, results[1].Err, errTest)
			require.Error(t, results[2].Err)
			require.NoError(t, results[3].Err)

			images[1] = named(t, bad(), "bad:1")
			_, err = saveToPipe(t, options, images...)
			require.ErrorIs(t, err, copying.ErrImagesLeftOut)
		}
	}
	options := saving(t)
	options.KeepGoing = true
	path := filepath.Join(t.TempDir(), "saved.tar")
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, bad(), "")}, options)
	require.ErrorIs(t, err, copying.ErrImagesLeftOut)
	require.NoFileExists(t, path)
}

// An image that is left out of a stream gives up the places of its blobs. Those behind
// it could not wait: there is no room for that.
func TestLeftOutOfAStream(t *testing.T) {
	lost, alone := imagetest.Gzip(2, 20_000), imagetest.Gzip(3, 30_000)
	bad := imagetest.NewImage(t, "bad", lost, alone)
	bad.Disturb = imagetest.BrokenAt(lost.Digest, 0, 100, errTest)
	good := imagetest.NewImage(t, "good", imagetest.Gzip(1, 50_000), imagetest.Gzip(4, 10))
	want, _ := save(t, saving(t), named(t, good, "good:1"))
	options := saving(t)
	options.KeepGoing = true
	got, err := saveToPipe(t, options, named(t, bad, "bad:1"), named(t, good, "good:1"))
	require.ErrorIs(t, err, copying.ErrImagesLeftOut)
	assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got))
	assert.Zero(t, bad.Gets[alone.Digest])
}

func TestSaveAsksThePolicy(t *testing.T) {
	reject := imagetest.Rejecting(t)
	m := imagetest.NewImage(t, "x", imagetest.Gzip(1, 100))
	for _, all := range []bool{false, true} {
		options := saving(t)
		options.AllPlatforms = all
		for _, src := range []types.ImageReference{m, imagetest.Saved(t, "multi")} {
			_, err := copying.Save(t.Context(), reject, filepath.Join(t.TempDir(), "x"), []copying.SaveImage{named(t, src, "")}, options)
			require.ErrorContains(t, err, "rejected by the signature policy")
		}
	}
	assert.Empty(t, m.Gets)
}

func TestSaveErrors(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{named(t, reg.Ref(t, "none:1"), "")}, saving(t))
	require.ErrorContains(t, err, "saving docker://"+reg.Address+"/none:1: ")
	reg.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`, http.StatusUnauthorized)
		return true
	})
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{named(t, reg.Ref(t, "none:1"), "")}, saving(t))
	require.Error(t, err)

	taken := imagetest.WriteFile(t, []byte("taken"))
	m := imagetest.NewImage(t, "x")
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), taken, []copying.SaveImage{named(t, m, "")}, saving(t))
	require.ErrorIs(t, err, errdef.ErrNotEmpty)
	assert.Equal(t, "taken", string(imagetest.ReadFile(t, taken)))

	old := imagetest.NewImage(t, "x")
	old.MIMEType = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{named(t, old, "")}, saving(t))
	require.ErrorContains(t, err, "docker-archive copy")

	_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), nil, &copying.SaveOptions{Transport: imagetest.Saved(t, "one").Transport()})
	require.ErrorContains(t, err, "does not write archives")
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), nil, saving(t))
	require.ErrorContains(t, err, "none is given")
	_, err = copying.PlanSave(t.Context(), imagetest.Trusting(t), nil, saving(t))
	require.ErrorContains(t, err, "none is given")
}

// A Save that is cancelled at any moment returns, and leaves nothing.
func TestSaveIsCancelled(t *testing.T) {
	for _, after := range []int64{0, 1000, 100_000} {
		big := imagetest.Gzip(1, 200_000)
		m := imagetest.NewImage(t, "x", big, imagetest.Gzip(2, 100_000))
		ctx, cancel := context.WithCancel(t.Context())
		m.Disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
			if d != big.Digest {
				return r
			}
			return io.MultiReader(io.LimitReader(r, after), imagetest.ReaderFunc(func([]byte) (int, error) {
				cancel()
				return 0, ctx.Err()
			}))
		}
		path := filepath.Join(t.TempDir(), "saved.tar")
		_, err := copying.Save(ctx, imagetest.Trusting(t), path, []copying.SaveImage{named(t, m, "")}, saving(t))
		require.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, imagetest.Leftovers(t, filepath.Dir(path)))
	}
}

// storedImage is an image as in containers-storage: its source does not have the layers
// that its manifest lists, and gives one blob at a time.
type storedImage struct {
	*imagetest.Image
	stored []types.BlobInfo
	busy   atomic.Int32
}

func (m *storedImage) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return &storedSource{imagetest.Source{Image: m.Image}, m}, nil
}

type storedSource struct {
	imagetest.Source
	image *storedImage
}

func (s *storedSource) HasThreadSafeGetBlob() bool { return false }

// Reference must not be one to an OCI layout, which is known to be safe.
func (s *storedSource) Reference() types.ImageReference {
	ref, err := dockerarchive.NewReference("stored", nil)
	if err != nil {
		panic(err)
	}
	return ref
}

func (s *storedSource) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return s.image.stored, nil
}

func (s *storedSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	body, size, err := s.Source.GetBlob(ctx, info, cache)
	if err != nil {
		return nil, 0, err
	}
	if s.image.busy.Add(1) > 1 {
		return nil, 0, errTest
	}
	return &storedBody{body, s.image}, size, nil
}

type storedBody struct {
	io.ReadCloser
	image *storedImage
}

func (b *storedBody) Close() error {
	b.image.busy.Add(-1)
	return b.ReadCloser.Close()
}

func TestSaveOfStoredImages(t *testing.T) {
	layers := []imagetest.Layer{imagetest.Gzip(1, 50_000), imagetest.Gzip(2, 50_000), imagetest.Gzip(3, 50_000)}
	m := &storedImage{Image: imagetest.NewImage(t, "x", layers...)}
	for i, l := range layers {
		plain := imagetest.NewLayer(l.Diff, l.Diff, imgspecv1.MediaTypeImageLayer)
		m.Layers[i] = plain
		m.stored = append(m.stored, types.BlobInfo{Digest: plain.Digest, Size: int64(len(plain.Blob)), MediaType: plain.MediaType})
	}
	options := saving(t)
	options.Transport, options.Jobs = dockerarchive.Transport, 8
	expected, _ := save(t, options, named(t, imagetest.NewImage(t, "x", m.Layers...), "app:1"))
	got, _ := save(t, options, named(t, m, "app:1"))
	assert.Equal(t, imagetest.Sum(expected), imagetest.Sum(got))

	options.Transport = dockerarchive.ImageTransport
	got, results := save(t, options, named(t, m, "app:1"))
	contents, _ := imagetest.Files(t, got)
	var rewritten imgspecv1.Manifest
	require.NoError(t, json.Unmarshal(contents["blobs/sha256/"+results[0].Digest.Encoded()], &rewritten))
	assert.Equal(t, m.ConfigDigest(), rewritten.Config.Digest)
	for i, l := range m.Layers {
		assert.Equal(t, imgspecv1.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: int64(len(l.Blob))}, rewritten.Layers[i])
		assert.Equal(t, l.Blob, contents["blobs/sha256/"+l.Digest.Encoded()])
	}

	m.stored[1].Size = -1
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{named(t, m, "")}, options)
	require.ErrorContains(t, err, "does not say how large layer "+m.stored[1].Digest.String())
}

// A cancelled Save returns also if a source hangs.
func TestSaveFromAHangingSource(t *testing.T) {
	for _, pick := range []func(*imagetest.Image) digest.Digest{
		func(m *imagetest.Image) digest.Digest { return m.ConfigDigest() },
		func(m *imagetest.Image) digest.Digest { return m.Layers[0].Digest },
	} {
		m := imagetest.NewImage(t, "x", imagetest.Gzip(1, 200_000))
		ctx, cancel := context.WithCancel(t.Context())
		hang := make(chan struct{})
		m.Disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
			if d != pick(m) {
				return r
			}
			return imagetest.ReaderFunc(func([]byte) (int, error) {
				cancel()
				<-hang
				return 0, io.EOF
			})
		}
		path := filepath.Join(t.TempDir(), "saved.tar")
		_, err := copying.Save(ctx, imagetest.Trusting(t), path, []copying.SaveImage{named(t, m, "")}, saving(t))
		close(hang)
		require.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, imagetest.Leftovers(t, filepath.Dir(path)))
	}
}
