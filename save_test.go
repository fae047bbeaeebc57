package dockerarchive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/output"
)

// saving returns options for saving in tests: retries do not wait.
func saving(t testing.TB) *SaveOptions {
	t.Helper()
	sys := registryContext(t)
	sys.OSChoice, sys.ArchitectureChoice = "linux", "amd64"
	return &SaveOptions{SourceCtx: sys, DestinationCtx: sys, retryDelay: time.Nanosecond}
}

func named(t testing.TB, src types.ImageReference, name string) SaveImage {
	t.Helper()
	image := SaveImage{Source: src}
	if name != "" {
		image.Name = tagged(t, name)
	}
	return image
}

// save saves to a file, which it returns.
func save(t testing.TB, options *SaveOptions, images ...SaveImage) ([]byte, []SaveResult) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saved.tar")
	results, err := Save(t.Context(), trusting(t), path, images, options)
	require.NoError(t, err)
	assert.Equal(t, []string{"saved.tar"}, leftovers(t, filepath.Dir(path)))
	return readFile(t, path), results
}

// saveToPipe saves to a pipe, and returns what comes out of it.
func saveToPipe(t testing.TB, options *SaveOptions, images ...SaveImage) ([]byte, error) {
	t.Helper()
	out, in, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close()
	read := make(chan []byte, 1)
	go func() {
		data, err := io.ReadAll(out)
		assert.NoError(t, err)
		read <- data
	}()
	_, err = Save(t.Context(), trusting(t), fmt.Sprintf("/dev/fd/%d", in.Fd()), images, options)
	require.NoError(t, in.Close())
	return <-read, err
}

// Law 1 for Save: whatever the source, the target and the number of jobs. Law 2
// for pipes: there is no place where the OCI layout could be spooled.
func TestSaveSameInSameOut(t *testing.T) {
	reg := newTestRegistry(t)
	local, remote := []SaveImage{}, []SaveImage{}
	for _, tag := range []string{"one", "two", "zstd", "multi"} {
		src := testImage(t, tag)
		local = append(local, named(t, src, "example.com/app:"+tag))
		remote = append(remote, named(t, reg.push(t, "app:"+tag, src), "example.com/app:"+tag))
	}
	for _, transport := range []types.ImageTransport{ImageTransport, Transport} {
		for _, all := range []bool{false, true} {
			if all && transport == Transport {
				continue
			}
			options := saving(t)
			options.Transport, options.AllPlatforms = transport, all
			if transport == Transport {
				options.DestinationCtx.BigFilesTemporaryDir = t.TempDir()
			}
			want, results := save(t, options, local...)
			for _, jobs := range []int{1, 8} {
				options.Jobs = jobs
				for name, images := range map[string][]SaveImage{"oci": local, "registry": remote} {
					got, again := save(t, options, images...)
					assert.Equal(t, sum(want), sum(got), "%s, %d jobs", name, jobs)
					piped, err := saveToPipe(t, options, images...)
					require.NoError(t, err)
					assert.Equal(t, sum(want), sum(piped), "%s, %d jobs, through a pipe", name, jobs)
					for i := range results {
						assert.Equal(t, results[i].Digest, again[i].Digest)
					}
				}
			}
		}
	}
}

// The docker layout is what copying the images to it makes.
func TestSaveDockerLayoutIsTheSameAsCopying(t *testing.T) {
	options := saving(t)
	options.Transport = Transport
	got, _ := save(t, options, named(t, testImage(t, "one"), "one:1"), named(t, testImage(t, "two"), ""))
	want := theirs(t, saved{source: testImage(t, "one"), name: "one:1"}, saved{source: testImage(t, "two")})
	assert.Equal(t, sum(want), sum(got))
}

// Law 2 for Save: on a file every byte is written once, and nothing is spooled.
func TestSaveOnceThrough(t *testing.T) {
	one := newImage(t, "one", gzipLayer(1, 300_000), plainLayer(2, 200_000), zstdLayer(3, 3000))
	two := newImage(t, "two", plainLayer(5, 3000), gzipLayer(1, 300_000), gzipLayer(6, 100_000))
	options := saving(t)
	s, err := newSaver(trusting(t), []SaveImage{named(t, one, "one:1"), named(t, two, "two:2")}, options)
	require.NoError(t, err)
	defer s.close()
	require.NoError(t, s.read(t.Context()))
	path := filepath.Join(t.TempDir(), "saved.tar")
	out, err := output.Create(t.Context(), path)
	require.NoError(t, err)
	w, err := newWriter(out, path, &writerOptions{transport: s.transport}, nil)
	require.NoError(t, err)
	file := &countingFile{File: w.out.File()}
	writeThrough(w, file, noSpool(t))
	require.NoError(t, w.start(s.plan()))
	require.NoError(t, s.write(t.Context(), w))
	require.NoError(t, w.Close())
	assert.EqualValues(t, len(readFile(t, path)), file.written)
}

// Law 3 for Save: what 20 images share is fetched once.
func TestSaveEachBlobOnce(t *testing.T) {
	reg := newTestRegistry(t)
	shared := []layer{gzipLayer(1, 3000), gzipLayer(2, 5000), zstdLayer(3, 4000), gzipLayer(4, 10), gzipLayer(5, 10)}
	var images []SaveImage
	for i := range 20 {
		name := fmt.Sprintf("app:%d", i)
		m := newImage(t, name, append(slices.Clone(shared), gzipLayer(uint64(100+i), 1000))...)
		images = append(images, named(t, reg.push(t, name, m), name))
	}
	for _, transport := range []types.ImageTransport{ImageTransport, Transport} {
		clear(reg.gets)
		options := saving(t)
		options.Transport, options.Jobs = transport, 8
		archive, _ := save(t, options, images...)
		assert.Len(t, reg.gets, len(shared)+2*len(images))
		for d, n := range reg.gets {
			assert.Equal(t, 1, n, d)
		}
		contents, _ := files(t, archive)
		var items []manifestItem
		require.NoError(t, json.Unmarshal(contents[manifestFileName], &items))
		assert.Len(t, items, len(images))
	}
}

func TestSaveKeepsIndexes(t *testing.T) {
	reg := newTestRegistry(t)
	src := reg.push(t, "app:multi", testImage(t, "multi"))
	options := saving(t)
	options.AllPlatforms = true
	archive, results := save(t, options, named(t, src, "app:multi"))
	contents, _ := files(t, archive)
	raw := contents["blobs/sha256/"+results[0].Digest.Encoded()]
	original := ociBlob(t, results[0].Digest)
	assert.Equal(t, original, raw)
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(raw, &index))
	require.Len(t, index.Manifests, 3, "two platforms and an attestation")
	for _, d := range index.Manifests {
		assert.Equal(t, ociBlob(t, d.Digest), contents["blobs/sha256/"+d.Digest.Encoded()])
	}
	// And back.
	path := writeFile(t, archive)
	ref, err := ImageTransport.ParseReference(path + ":app:multi")
	require.NoError(t, err)
	second := newTestRegistry(t)
	src = second.push(t, "app:multi", ref)
	again, resultsAgain := save(t, options, named(t, src, "app:multi"))
	assert.Equal(t, results[0].Digest, resultsAgain[0].Digest)
	assert.Equal(t, sum(archive), sum(again))
}

func TestSavePlatforms(t *testing.T) {
	const amd64, arm64 = "sha256:291aaf079eabf94ccf906994a72b695dc8292a50fe717ea75d07a67c0e534c81", "sha256:6806ab9992a461cf7d8fb63dc4fc304c4aa749337f0c07f1b8a05260fc679503"
	platforms := func(architectures ...string) (list []imgspecv1.Platform) {
		for _, a := range architectures {
			list = append(list, imgspecv1.Platform{OS: "linux", Architecture: a})
		}
		return list
	}
	multi := named(t, testImage(t, "multi"), "app:multi")
	for _, transport := range []types.ImageTransport{ImageTransport, Transport} {
		options := saving(t)
		options.Transport = transport
		_, results := save(t, options, multi)
		assert.EqualValues(t, amd64, results[0].Digest)
		options.Platforms = platforms("arm64")
		_, results = save(t, options, multi)
		assert.EqualValues(t, arm64, results[0].Digest)
	}

	options := saving(t)
	options.Platforms = platforms("arm64", "amd64")
	archive, results := save(t, options, multi)
	contents, _ := files(t, archive)
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(contents["blobs/sha256/"+results[0].Digest.Encoded()], &index))
	require.Len(t, index.Manifests, 3, "the attestation is of a platform that was chosen")
	options.Platforms = platforms("arm64", "arm64")
	archive, results = save(t, options, multi)
	contents, _ = files(t, archive)
	index = imgspecv1.Index{}
	require.NoError(t, json.Unmarshal(contents["blobs/sha256/"+results[0].Digest.Encoded()], &index))
	require.Len(t, index.Manifests, 1)
	assert.EqualValues(t, arm64, index.Manifests[0].Digest)

	options.Platforms = platforms("s390x")
	_, err := Save(t.Context(), trusting(t), filepath.Join(t.TempDir(), "x"), []SaveImage{multi}, options)
	require.ErrorContains(t, err, "there is no image for linux/s390x, only for linux/amd64, linux/arm64/v8")
	var missing *NoPlatformError
	require.ErrorAs(t, err, &missing)
	options.Platforms, options.Transport = platforms("arm64", "amd64"), Transport
	_, err = Save(t.Context(), trusting(t), filepath.Join(t.TempDir(), "x"), []SaveImage{multi}, options)
	require.ErrorContains(t, err, "one platform")
}

func TestSaveNames(t *testing.T) {
	one, two := newImage(t, "one", gzipLayer(1, 100)), newImage(t, "two", gzipLayer(1, 100))
	path := filepath.Join(t.TempDir(), "saved.tar")
	_, err := Save(t.Context(), trusting(t), path, []SaveImage{named(t, one, "app:1"), named(t, two, "app:1")}, saving(t))
	require.ErrorContains(t, err, "two images want the name docker.io/library/app:1")
	assert.Empty(t, one.gets, "before anything is fetched")
	require.NoFileExists(t, path)

	once, _ := save(t, saving(t), named(t, one, "app:1"))
	twice, _ := save(t, saving(t), named(t, one, "app:1"), named(t, one, "app:1"))
	assert.Equal(t, sum(once), sum(twice), "the same image under the same name")
	save(t, saving(t), named(t, one, "app:1"), named(t, one, "app:2"), named(t, one, ""), named(t, two, ""))
}

func TestSaveDigestInName(t *testing.T) {
	reg := newTestRegistry(t)
	d := testDigest(t, reg.push(t, "app:multi", testImage(t, "multi")))
	byDigest := reg.ref(t, "app@"+d.String())
	for _, all := range []bool{true, false} {
		options := saving(t)
		options.AllPlatforms = all
		archive, results := save(t, options, SaveImage{Source: byDigest, Name: byDigest.DockerReference()})
		assert.Equal(t, all, results[0].Digest == d)
		contents, _ := files(t, archive)
		assert.Contains(t, string(contents["index.json"]), "/app@"+d.String())
		assert.NotContains(t, string(contents[manifestFileName]), "app@")
	}
	path := filepath.Join(t.TempDir(), "x")
	_, err := Save(t.Context(), trusting(t), path, []SaveImage{{Source: testImage(t, "one"), Name: byDigest.DockerReference()}}, saving(t))
	require.ErrorContains(t, err, "does not fit")
	options := saving(t)
	options.Transport = Transport
	_, err = Save(t.Context(), trusting(t), path, []SaveImage{{Source: byDigest, Name: byDigest.DockerReference()}}, options)
	require.ErrorContains(t, err, "cannot keep")
}

// testDigest returns the digest of the manifest or index of an image.
func testDigest(t testing.TB, ref types.ImageReference) digest.Digest {
	t.Helper()
	src, err := ref.NewImageSource(t.Context(), registryContext(t))
	require.NoError(t, err)
	defer src.Close()
	m, _, err := src.GetManifest(t.Context(), nil)
	require.NoError(t, err)
	return digest.FromBytes(m)
}

// A plan is what is then written.
func TestPlanSave(t *testing.T) {
	images := []SaveImage{named(t, testImage(t, "multi"), "app:multi"), named(t, testImage(t, "one"), "app:one"), named(t, testImage(t, "two"), "app:two")}
	for _, transport := range []types.ImageTransport{ImageTransport, Transport} {
		options := saving(t)
		options.Transport, options.AllPlatforms = transport, transport == ImageTransport
		plan, err := PlanSave(t.Context(), trusting(t), images, options)
		require.NoError(t, err)
		archive, results := save(t, options, images...)
		_, names := files(t, archive)
		planned := []string{}
		for _, e := range plan.Entries {
			planned = append(planned, e.Name)
			if e.Offset >= 0 {
				assert.Equal(t, e.Name, string(archive[e.Offset:][:len(e.Name)]))
			}
		}
		assert.Equal(t, names, planned)
		assert.Equal(t, results, plan.Images)
		if transport == ImageTransport {
			assert.EqualValues(t, len(archive), plan.Size)
		} else {
			assert.EqualValues(t, -1, plan.Size)
		}
	}
}

var errTest = errors.New("this fails")

// brokenAt returns a disturbance that fails the first times a blob is read, after
// so many bytes.
func brokenAt(blob digest.Digest, after int64, times int, err error) func(context.Context, digest.Digest, io.Reader) io.Reader {
	return func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
		if d != blob || times == 0 {
			return r
		}
		times--
		return io.MultiReader(io.LimitReader(r, after), errorReader{err})
	}
}
