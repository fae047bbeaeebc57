package dockerarchive

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/output"
)

// Reading a blob goes on where it failed, on a pipe too.
func TestSaveResumes(t *testing.T) {
	big := gzipLayer(1, 200_000)
	for _, transport := range []types.ImageTransport{ImageTransport, Transport} {
		options := saving(t)
		options.Transport, options.RetryTimes = transport, 3
		options.DestinationCtx.BigFilesTemporaryDir = t.TempDir()
		want, _ := save(t, options, named(t, newImage(t, "x", big), "app:1"))
		for _, after := range []int64{0, 1, 100_000, int64(len(big.blob))} {
			m := newImage(t, "x", big)
			m.disturb = brokenAt(big.digest, after, 3, io.ErrUnexpectedEOF)
			got, _ := save(t, options, named(t, m, "app:1"))
			assert.Equal(t, sum(want), sum(got))
			assert.Equal(t, 4, m.gets[big.digest])
			m.disturb = brokenAt(big.digest, after, 3, io.EOF) // Cut short.
			if after == int64(len(big.blob)) {
				continue
			}
			got, err := saveToPipe(t, options, named(t, m, "app:1"))
			require.NoError(t, err)
			assert.Equal(t, sum(want), sum(got))
		}
	}
}

func TestSaveGivesUp(t *testing.T) {
	big := gzipLayer(1, 200_000)
	for name, c := range map[string]struct {
		err  error
		gets int
	}{
		"after too many attempts": {io.ErrUnexpectedEOF, 3},
		"at once":                 {errTest, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newImage(t, "x", big)
			m.disturb = brokenAt(big.digest, 1000, 100, c.err)
			options := saving(t)
			options.RetryTimes = 2
			path := filepath.Join(t.TempDir(), "saved.tar")
			results, err := Save(t.Context(), trusting(t), path, []SaveImage{named(t, newImage(t, "y"), "app:2"), named(t, m, "app:1")}, options)
			require.ErrorIs(t, err, c.err)
			var failed *ImageError
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, types.ImageReference(m), failed.Source)
			assert.Equal(t, error(failed), results[1].Err)
			assert.Equal(t, c.gets, m.gets[big.digest])
			assert.Empty(t, leftovers(t, filepath.Dir(path)))
		})
	}
}

// A blob that one image's source cannot give comes from another's.
func TestSaveTriesOtherSources(t *testing.T) {
	big := gzipLayer(1, 200_000)
	options := saving(t)
	want, _ := save(t, options, named(t, newImage(t, "a", big), "a:1"), named(t, newImage(t, "b", big), "b:1"))
	wrong := func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
		if d != big.digest {
			return r
		}
		return io.MultiReader(strings.NewReader("x"), io.LimitReader(r, int64(len(big.blob))-1))
	}
	for name, disturb := range map[string]func(context.Context, digest.Digest, io.Reader) io.Reader{
		"fails": brokenAt(big.digest, 100_000, 100, errTest),
		"wrong": wrong,
	} {
		a := newImage(t, "a", big)
		a.disturb = disturb
		got, _ := save(t, options, named(t, a, "a:1"), named(t, newImage(t, "b", big), "b:1"))
		assert.Equal(t, sum(want), sum(got), name)
	}
	b := newImage(t, "b", big)
	b.disturb = wrong
	_, err := Save(t.Context(), trusting(t), filepath.Join(t.TempDir(), "x"), []SaveImage{named(t, b, "")}, options)
	require.ErrorIs(t, err, errMismatch)
	require.ErrorContains(t, err, big.digest.String())
}

func TestSaveKeepsGoing(t *testing.T) {
	shared, lost, alone := gzipLayer(1, 50_000), gzipLayer(2, 20_000), gzipLayer(3, 30_000)
	bad := func() *memoryImage {
		m := newImage(t, "bad", shared, alone, lost)
		m.disturb = brokenAt(lost.digest, 0, 100, errTest)
		return m
	}
	good, other := newImage(t, "good", shared), newImage(t, "other", gzipLayer(4, 100))
	for _, transport := range []types.ImageTransport{ImageTransport, Transport} {
		for _, jobs := range []int{1, 8} {
			options := saving(t)
			options.Transport, options.KeepGoing, options.Jobs = transport, true, jobs
			options.DestinationCtx.BigFilesTemporaryDir = t.TempDir()
			want, _ := save(t, options, named(t, other, ""), named(t, good, "good:1"))
			images := []SaveImage{named(t, other, ""), named(t, bad(), "bad:1"), named(t, testImage(t, "none"), ""), named(t, good, "good:1")}
			path := filepath.Join(t.TempDir(), "saved.tar")
			results, err := Save(t.Context(), trusting(t), path, images, options)
			require.ErrorIs(t, err, ErrImagesLeftOut)
			assert.Equal(t, sum(want), sum(readFile(t, path)), "nothing of what is left out")
			require.ErrorIs(t, results[1].Err, errTest)
			require.Error(t, results[2].Err)
			require.NoError(t, results[3].Err)

			images[1] = named(t, bad(), "bad:1")
			_, err = saveToPipe(t, options, images...)
			require.ErrorIs(t, err, ErrImagesLeftOut)
		}
	}
	options := saving(t)
	options.KeepGoing = true
	path := filepath.Join(t.TempDir(), "saved.tar")
	_, err := Save(t.Context(), trusting(t), path, []SaveImage{named(t, bad(), "")}, options)
	require.ErrorIs(t, err, ErrImagesLeftOut)
	require.NoFileExists(t, path)
}

func TestSaveAsksThePolicy(t *testing.T) {
	reject, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRReject()}})
	require.NoError(t, err)
	m := newImage(t, "x", gzipLayer(1, 100))
	for _, all := range []bool{false, true} {
		options := saving(t)
		options.AllPlatforms = all
		for _, src := range []types.ImageReference{m, testImage(t, "multi")} {
			_, err = Save(t.Context(), reject, filepath.Join(t.TempDir(), "x"), []SaveImage{named(t, src, "")}, options)
			require.ErrorContains(t, err, "rejected by the signature policy")
		}
	}
	assert.Empty(t, m.gets)
}

func TestSaveErrors(t *testing.T) {
	reg := newTestRegistry(t)
	_, err := Save(t.Context(), trusting(t), filepath.Join(t.TempDir(), "x"), []SaveImage{named(t, reg.ref(t, "none:1"), "")}, saving(t))
	require.ErrorContains(t, err, "saving docker://"+reg.address+"/none:1: ")
	reg.intercept = func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`, http.StatusUnauthorized)
		return true
	}
	_, err = Save(t.Context(), trusting(t), filepath.Join(t.TempDir(), "x"), []SaveImage{named(t, reg.ref(t, "none:1"), "")}, saving(t))
	require.Error(t, err)

	taken := writeFile(t, []byte("taken"))
	m := newImage(t, "x")
	_, err = Save(t.Context(), trusting(t), taken, []SaveImage{named(t, m, "")}, saving(t))
	require.ErrorIs(t, err, ErrNotEmpty)
	assert.Equal(t, "taken", string(readFile(t, taken)))

	old := newImage(t, "x")
	old.mimeType = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	_, err = Save(t.Context(), trusting(t), filepath.Join(t.TempDir(), "x"), []SaveImage{named(t, old, "")}, saving(t))
	require.ErrorContains(t, err, "docker-archive copy")

	huge := newImage(t, "x", gzipLayer(1, 100))
	huge.manifest.Layers[0].Size = 1 << 60
	huge.encode(t)
	_, err = Save(t.Context(), trusting(t), filepath.Join(t.TempDir(), "x"), []SaveImage{named(t, huge, "")}, saving(t))
	require.ErrorContains(t, err, "the disk of")
	assert.Empty(t, huge.gets)

	_, err = Save(t.Context(), trusting(t), filepath.Join(t.TempDir(), "x"), nil, &SaveOptions{Transport: testImage(t, "one").Transport()})
	require.ErrorContains(t, err, "does not write archives")
}

// A cancelled Save returns, at whatever moment, and leaves nothing.
func TestSaveIsCancelled(t *testing.T) {
	for _, after := range []int64{0, 1000, 100_000} {
		big := gzipLayer(1, 200_000)
		m := newImage(t, "x", big, gzipLayer(2, 100_000))
		ctx, cancel := context.WithCancel(t.Context())
		m.disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
			if d != big.digest {
				return r
			}
			return io.MultiReader(io.LimitReader(r, after), readerFunc(func([]byte) (int, error) {
				cancel()
				return 0, ctx.Err()
			}))
		}
		path := filepath.Join(t.TempDir(), "saved.tar")
		_, err := Save(ctx, trusting(t), path, []SaveImage{named(t, m, "")}, saving(t))
		require.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, leftovers(t, filepath.Dir(path)))
	}
}

// A disk that becomes full is the end, also if it may go on without some images,
// and the error says how much is needed.
func TestSaveOnFullDisk(t *testing.T) {
	m := newImage(t, "x", gzipLayer(1, 200_000))
	options := saving(t)
	options.KeepGoing = true
	s, err := newSaver(trusting(t), []SaveImage{named(t, m, "app:1")}, options)
	require.NoError(t, err)
	defer s.close()
	require.NoError(t, s.read(t.Context()))
	path := filepath.Join(t.TempDir(), "saved.tar")
	out, err := output.Create(t.Context(), path)
	require.NoError(t, err)
	w, err := newWriter(out, path, &writerOptions{transport: s.transport}, nil)
	require.NoError(t, err)
	writeThrough(w, &fullDisk{File: w.out.File(), left: 10_000, err: syscall.ENOSPC}, noSpool(t))
	require.NoError(t, w.start(s.plan()))
	err = s.explain(s.write(t.Context(), w), out)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "the archive needs at least")
	require.NoError(t, w.Abort())
	assert.Empty(t, leftovers(t, filepath.Dir(path)))
}

// storedImage is an image whose source does not have the layers that its manifest
// lists, and gives one blob at a time, as containers-storage: does.
type storedImage struct {
	*memoryImage
	stored []types.BlobInfo
	busy   atomic.Int32
}

func (m *storedImage) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return &storedSource{memorySource{m.memoryImage}, m}, nil
}

type storedSource struct {
	memorySource
	image *storedImage
}

func (s *storedSource) HasThreadSafeGetBlob() bool { return false }

// Reference is not one to an OCI layout, which is known to be safe.
func (s *storedSource) Reference() types.ImageReference {
	return archiveReference{transport: Transport, index: -1}
}

func (s *storedSource) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return s.image.stored, nil
}

func (s *storedSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	body, size, err := s.memorySource.GetBlob(ctx, info, cache)
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
	layers := []layer{gzipLayer(1, 50_000), gzipLayer(2, 50_000), gzipLayer(3, 50_000)}
	m := &storedImage{memoryImage: newImage(t, "x", layers...)}
	for i, l := range layers {
		plain := newLayer(l.diff, l.diff, imgspecv1.MediaTypeImageLayer)
		m.layers[i] = plain
		m.stored = append(m.stored, types.BlobInfo{Digest: plain.digest, Size: int64(len(plain.blob)), MediaType: plain.mediaType})
	}
	options := saving(t)
	options.Transport, options.Jobs = Transport, 8
	expected, _ := save(t, options, named(t, newImage(t, "x", m.layers...), "app:1"))
	got, _ := save(t, options, named(t, m, "app:1"))
	assert.Equal(t, sum(expected), sum(got))

	options.Transport = ImageTransport
	got, results := save(t, options, named(t, m, "app:1"))
	contents, _ := files(t, got)
	var rewritten imgspecv1.Manifest
	require.NoError(t, json.Unmarshal(contents["blobs/sha256/"+results[0].Digest.Encoded()], &rewritten))
	assert.Equal(t, m.configDigest(), rewritten.Config.Digest)
	for i, l := range m.layers {
		assert.Equal(t, imgspecv1.Descriptor{MediaType: l.mediaType, Digest: l.digest, Size: int64(len(l.blob))}, rewritten.Layers[i])
		assert.Equal(t, l.blob, contents["blobs/sha256/"+l.digest.Encoded()])
	}

	m.stored[1].Size = -1
	_, err := Save(t.Context(), trusting(t), filepath.Join(t.TempDir(), "x"), []SaveImage{named(t, m, "")}, options)
	require.ErrorContains(t, err, "does not say how large layer "+m.stored[1].Digest.String())
}

// Nor does a source that hangs keep a cancelled Save from returning.
func TestSaveFromAHangingSource(t *testing.T) {
	for _, pick := range []func(*memoryImage) digest.Digest{
		func(m *memoryImage) digest.Digest { return m.configDigest() },
		func(m *memoryImage) digest.Digest { return m.layers[0].digest },
	} {
		m := newImage(t, "x", gzipLayer(1, 200_000))
		ctx, cancel := context.WithCancel(t.Context())
		hang := make(chan struct{})
		m.disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
			if d != pick(m) {
				return r
			}
			return readerFunc(func([]byte) (int, error) {
				cancel()
				<-hang
				return 0, io.EOF
			})
		}
		path := filepath.Join(t.TempDir(), "saved.tar")
		_, err := Save(ctx, trusting(t), path, []SaveImage{named(t, m, "")}, saving(t))
		close(hang)
		require.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, leftovers(t, filepath.Dir(path)))
	}
}
