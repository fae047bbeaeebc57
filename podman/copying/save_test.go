package copying_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// saving returns options for saving in tests: retries do not wait.
func saving(t testing.TB) *copying.SaveOptions {
	t.Helper()
	sys := imagetest.RegistryContext(t)
	sys.OSChoice, sys.ArchitectureChoice = "linux", "amd64"
	o := &copying.SaveOptions{Reading: copying.Reading{SourceCtx: sys}, DestinationCtx: sys}
	o.RetryAtOnce()
	return o
}

func named(t testing.TB, src types.ImageReference, name string) copying.SaveImage {
	t.Helper()
	image := copying.SaveImage{Source: src}
	if name != "" {
		image.Name = imagetest.Tagged(t, name)
	}
	return image
}

// save saves to a file, which it returns.
func save(t testing.TB, options *copying.SaveOptions, images ...copying.SaveImage) ([]byte, []copying.SaveResult) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saved.tar")
	results, err := copying.Save(t.Context(), imagetest.Trusting(t), path, images, options)
	require.NoError(t, err)
	assert.Equal(t, []string{"saved.tar"}, imagetest.Leftovers(t, filepath.Dir(path)))
	return imagetest.ReadFile(t, path), results
}

// saveToPipe saves to a pipe, and returns the bytes that come out of it.
func saveToPipe(t testing.TB, options *copying.SaveOptions, images ...copying.SaveImage) ([]byte, error) {
	t.Helper()
	return toPipe(t, func(path string) error {
		_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, images, options)
		return err
	})
}

// toPipe returns the bytes that are written to a pipe.
func toPipe(t testing.TB, write func(path string) error) ([]byte, error) {
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
	err = write(fmt.Sprintf("/dev/fd/%d", in.Fd()))
	require.NoError(t, in.Close())
	return <-read, err
}

// SaveTo writes the same bytes to a writer as Save to a file.
func TestSaveTo(t *testing.T) {
	images := []copying.SaveImage{named(t, imagetest.Saved(t, "one"), "one:1"), named(t, imagetest.Saved(t, "two"), "")}
	want, wantResults := save(t, saving(t), images...)
	var b bytes.Buffer
	results, err := copying.SaveTo(t.Context(), imagetest.Trusting(t), &b, images, saving(t))
	require.NoError(t, err)
	assert.Equal(t, wantResults, results)
	assert.Equal(t, imagetest.Sum(want), imagetest.Sum(b.Bytes()))

	failing := imagetest.WriterFunc(func([]byte) (int, error) { return 0, errTest })
	_, err = copying.SaveTo(t.Context(), imagetest.Trusting(t), failing, images, saving(t))
	require.ErrorIs(t, err, errTest)
}

// Law 1 for Save: for any source, target and number of jobs. Law 2 for pipes: there is
// no place where the OCI layout could be spooled.
func TestSaveSameInSameOut(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	local, remote := []copying.SaveImage{}, []copying.SaveImage{}
	for _, tag := range []string{"one", "two", "zstd", "multi"} {
		src := imagetest.Saved(t, tag)
		local = append(local, named(t, src, "example.com/app:"+tag))
		remote = append(remote, named(t, reg.Push(t, "app:"+tag, src), "example.com/app:"+tag))
	}
	for _, transport := range []types.ImageTransport{dockerarchive.ImageTransport, dockerarchive.Transport} {
		for _, all := range []bool{false, true} {
			if all && transport == dockerarchive.Transport {
				continue
			}
			options := saving(t)
			options.Transport, options.AllPlatforms = transport, all
			if transport == dockerarchive.Transport {
				options.DestinationCtx.BigFilesTemporaryDir = t.TempDir()
			}
			want, results := save(t, options, local...)
			for _, jobs := range []int{1, 8} {
				options.Jobs = jobs
				for name, images := range map[string][]copying.SaveImage{"oci": local, "registry": remote} {
					got, again := save(t, options, images...)
					assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got), "%s, %d jobs", name, jobs)
					piped, err := saveToPipe(t, options, images...)
					require.NoError(t, err)
					assert.Equal(t, imagetest.Sum(want), imagetest.Sum(piped), "%s, %d jobs, through a pipe", name, jobs)
					for i := range results {
						assert.Equal(t, results[i].Digest, again[i].Digest)
					}
				}
			}
		}
	}
}

// In the docker layout, Save writes the same archive as copies of the images.
func TestSaveDockerLayoutIsTheSameAsCopying(t *testing.T) {
	options := saving(t)
	options.Transport = dockerarchive.Transport
	got, _ := save(t, options, named(t, imagetest.Saved(t, "one"), "one:1"), named(t, imagetest.Saved(t, "two"), ""))
	want := imagetest.Theirs(t, imagetest.Named{Source: imagetest.Saved(t, "one"), Name: "one:1"}, imagetest.Named{Source: imagetest.Saved(t, "two")})
	assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got))
}

// Law 3 for Save: blobs that 20 images share are fetched once.
func TestSaveEachBlobOnce(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	shared := []imagetest.Layer{imagetest.Gzip(1, 3000), imagetest.Gzip(2, 5000), imagetest.Zstd(3, 4000), imagetest.Gzip(4, 10), imagetest.Gzip(5, 10)}
	var images []copying.SaveImage
	for i := range 20 {
		name := fmt.Sprintf("app:%d", i)
		m := imagetest.NewImage(t, name, append(slices.Clone(shared), imagetest.Gzip(uint64(100+i), 1000))...)
		images = append(images, named(t, reg.Push(t, name, m), name))
	}
	for _, transport := range []types.ImageTransport{dockerarchive.ImageTransport, dockerarchive.Transport} {
		reg.Gets() // From now on.
		options := saving(t)
		options.Transport, options.Jobs = transport, 8
		archive, _ := save(t, options, images...)
		gets := reg.Gets()
		assert.Len(t, gets, len(shared)+2*len(images))
		for d, n := range gets {
			assert.Equal(t, 1, n, d)
		}
		assert.Len(t, imagetest.Items(t, archive), len(images))
	}
}

func TestSaveKeepsIndexes(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	src := reg.Push(t, "app:multi", imagetest.Saved(t, "multi"))
	options := saving(t)
	options.AllPlatforms = true
	archive, results := save(t, options, named(t, src, "app:multi"))
	contents, _ := imagetest.Files(t, archive)
	raw := contents["blobs/sha256/"+results[0].Digest.Encoded()]
	original := imagetest.SavedBlob(t, results[0].Digest)
	assert.Equal(t, original, raw)
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(raw, &index))
	require.Len(t, index.Manifests, 3, "two platforms and an attestation")
	for _, d := range index.Manifests {
		assert.Equal(t, imagetest.SavedBlob(t, d.Digest), contents["blobs/sha256/"+d.Digest.Encoded()])
	}
	// And back.
	path := imagetest.WriteFile(t, archive)
	ref, err := dockerarchive.ImageTransport.ParseReference(path + ":app:multi")
	require.NoError(t, err)
	second := imagetest.NewRegistry(t)
	src = second.Push(t, "app:multi", ref)
	again, resultsAgain := save(t, options, named(t, src, "app:multi"))
	assert.Equal(t, results[0].Digest, resultsAgain[0].Digest)
	assert.Equal(t, imagetest.Sum(archive), imagetest.Sum(again))
}

func TestSavePlatforms(t *testing.T) {
	const amd64, arm64 = "sha256:291aaf079eabf94ccf906994a72b695dc8292a50fe717ea75d07a67c0e534c81", "sha256:6806ab9992a461cf7d8fb63dc4fc304c4aa749337f0c07f1b8a05260fc679503"
	platforms := func(architectures ...string) (list []imgspecv1.Platform) {
		for _, a := range architectures {
			list = append(list, imgspecv1.Platform{OS: "linux", Architecture: a})
		}
		return list
	}
	multi := named(t, imagetest.Saved(t, "multi"), "app:multi")
	for _, transport := range []types.ImageTransport{dockerarchive.ImageTransport, dockerarchive.Transport} {
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
	contents, _ := imagetest.Files(t, archive)
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(contents["blobs/sha256/"+results[0].Digest.Encoded()], &index))
	require.Len(t, index.Manifests, 3, "the attestation is of a platform that was chosen")
	options.Platforms = platforms("arm64", "arm64")
	archive, results = save(t, options, multi)
	contents, _ = imagetest.Files(t, archive)
	index = imgspecv1.Index{}
	require.NoError(t, json.Unmarshal(contents["blobs/sha256/"+results[0].Digest.Encoded()], &index))
	require.Len(t, index.Manifests, 1)
	assert.EqualValues(t, arm64, index.Manifests[0].Digest)

	options.Platforms = platforms("s390x")
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{multi}, options)
	require.ErrorContains(t, err, "there is no image for linux/s390x, only for linux/amd64, linux/arm64/v8")
	var missing *errdef.NoPlatformError
	require.ErrorAs(t, err, &missing)
	options.Platforms, options.Transport = platforms("arm64", "amd64"), dockerarchive.Transport
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{multi}, options)
	require.ErrorContains(t, err, "one platform")
}

// If an image that is not an index is for one of several platforms, a warning says so.
func TestSavePlatformsOfOneImage(t *testing.T) {
	linux := func(architectures ...string) (list []imgspecv1.Platform) {
		for _, a := range architectures {
			list = append(list, imgspecv1.Platform{OS: "linux", Architecture: a})
		}
		return list
	}
	options, one := saving(t), named(t, imagetest.Saved(t, "one"), "app:1")
	for _, all := range [][]imgspecv1.Platform{linux("amd64"), linux("amd64", "amd64")} {
		options.Platforms = all
		_, results := save(t, options, one)
		assert.Empty(t, results[0].Warnings)
	}
	options.Platforms = linux("arm64", "amd64", "s390x")
	_, results := save(t, options, one)
	assert.Equal(t, []string{"it is for linux/amd64 only, and not for linux/arm64, linux/s390x"}, results[0].Warnings)
	options.Platforms = linux("arm64", "s390x")
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{one}, options)
	var missing *errdef.NoPlatformError
	require.ErrorAs(t, err, &missing)
	assert.Equal(t, "linux/arm64, linux/s390x", missing.Wanted)

	// Images of one name do not become an index, for any platforms.
	options.Platforms = linux("arm64")
	archive, _ := save(t, options, named(t, imagetest.Saved(t, "multi"), "app:1"))
	options.Platforms = linux("arm64", "amd64")
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{one, named(t, archived(t, imagetest.WriteFile(t, archive)), "app:1")}, options)
	require.ErrorContains(t, err, "two images want the name docker.io/library/app:1, and clients keep only one of them: oci:")
	require.ErrorContains(t, err, "; name or save them separately, or save an index that lists them")
}

func TestSaveNames(t *testing.T) {
	one, two := imagetest.NewImage(t, "one", imagetest.Gzip(1, 100)), imagetest.NewImage(t, "two", imagetest.Gzip(1, 100))
	path := filepath.Join(t.TempDir(), "saved.tar")
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{named(t, one, "app:1"), named(t, two, "app:1")}, saving(t))
	require.ErrorContains(t, err, "two images want the name docker.io/library/app:1")
	assert.Empty(t, one.Gets, "before anything is fetched")
	require.NoFileExists(t, path)

	once, _ := save(t, saving(t), named(t, one, "app:1"))
	twice, _ := save(t, saving(t), named(t, one, "app:1"), named(t, one, "app:1"))
	assert.Equal(t, imagetest.Sum(once), imagetest.Sum(twice), "the same image under the same name")
	save(t, saving(t), named(t, one, "app:1"), named(t, one, "app:2"), named(t, one, ""), named(t, two, ""))
}

// An image with the digest of its index as its name keeps it, and is found by it again,
// also if only one of its platforms is there.
func TestSaveDigestInName(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	d := manifestDigest(t, reg.Push(t, "app:multi", imagetest.Saved(t, "multi")))
	byDigest := reg.Ref(t, "app@"+d.String())
	for _, platforms := range []string{"all", "linux/amd64", "linux/arm64"} {
		options := saving(t)
		if options.AllPlatforms = platforms == "all"; !options.AllPlatforms {
			os, arch, _ := strings.Cut(platforms, "/")
			options.Platforms = []imgspecv1.Platform{{OS: os, Architecture: arch}}
		}
		saved, results := save(t, options, copying.SaveImage{Source: byDigest, Name: byDigest.DockerReference()})
		assert.Equal(t, d, results[0].Digest, platforms)
		contents, _ := imagetest.Files(t, saved)
		assert.Contains(t, string(contents["index.json"]), "/app@"+d.String())
		assert.NotContains(t, string(contents["manifest.json"]), "app@")

		path := imagetest.WriteFile(t, saved)
		ref, err := dockerarchive.ParseReference(path + ":" + byDigest.DockerReference().String())
		require.NoError(t, err)
		opened, err := ref.NewImage(t.Context(), imagetest.Isolated())
		require.NoError(t, err, platforms)
		assert.NoError(t, opened.Close())
		report := verified(t, path)
		assert.Empty(t, report.Problems, platforms)
	}
	path := filepath.Join(t.TempDir(), "x")
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{{Source: imagetest.Saved(t, "one"), Name: byDigest.DockerReference()}}, saving(t))
	require.ErrorContains(t, err, "does not fit")
	options := saving(t)
	options.Transport = dockerarchive.Transport
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{{Source: byDigest, Name: byDigest.DockerReference()}}, options)
	require.NoError(t, err)
	assert.Equal(t, [][]string{{}}, imagetest.RepoTags(t, imagetest.ReadFile(t, path)), "without a name, as docker save has it")
}

// verified verifies an archive.
func verified(t testing.TB, path string) *archive.Report {
	t.Helper()
	r, err := dockerarchive.NewReader(nil, path)
	require.NoError(t, err)
	defer func() { assert.NoError(t, r.Close()) }()
	report, err := r.Verify(t.Context(), nil)
	require.NoError(t, err)
	return report
}

// A name with the digest of something else is wrong, and is not written.
func TestFalseDigestInName(t *testing.T) {
	m := madeOf(t, "OCI", 1)
	m.oci[0].names = []string{"example.com/x@" + digest.FromString("x").String()}
	m.write(t)
	path := imagetest.WriteFile(t, m.pack(t))
	problems := verified(t, path).Problems
	require.Len(t, problems, 1)
	assert.ErrorContains(t, problems[0], "the image has the digest sha256:")
	ref, err := dockerarchive.ParseReference(path + ":@0")
	require.NoError(t, err)
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), []copying.SaveImage{{Source: ref, FreeName: m.oci[0].names[0]}}, saving(t))
	require.ErrorContains(t, err, "cannot be called "+m.oci[0].names[0])
}

// An index with no manifest there is nothing to save.
func TestSaveNothingOfAnIndex(t *testing.T) {
	m := madeOf(t, "containerd", 1)
	m.write(t)
	for name, data := range m.files { // The manifests, and not the index.
		if strings.Contains(string(data), "\"layers\"") && strings.Contains(string(data), "\"config\"") && strings.HasPrefix(name, "blobs/") {
			delete(m.files, name)
			m.names = slices.DeleteFunc(m.names, func(n string) bool { return n == name })
		}
	}
	delete(m.files, "manifest.json")
	m.names = slices.DeleteFunc(m.names, func(n string) bool { return n == "manifest.json" })
	ref, err := dockerarchive.ParseReference(imagetest.WriteFile(t, m.pack(t)) + ":" + m.authors[0].name)
	require.NoError(t, err)
	options := saving(t)
	options.AllPlatforms, options.SkipMissing = true, true
	dir := t.TempDir()
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(dir, "x.tar"), []copying.SaveImage{{Source: ref}}, options)
	var missing *errdef.MissingError
	require.ErrorAs(t, err, &missing)
	assert.Len(t, missing.Missing, 2)
	assert.Empty(t, imagetest.Leftovers(t, dir))
}

// manifestDigest returns the digest of the manifest or index of an image.
func manifestDigest(t testing.TB, ref types.ImageReference) digest.Digest {
	t.Helper()
	src, err := ref.NewImageSource(t.Context(), imagetest.RegistryContext(t))
	require.NoError(t, err)
	defer src.Close()
	m, _, err := src.GetManifest(t.Context(), nil)
	require.NoError(t, err)
	return digest.FromBytes(m)
}

// A plan says exactly what is then written.
func TestPlanSave(t *testing.T) {
	images := []copying.SaveImage{named(t, imagetest.Saved(t, "multi"), "app:multi"), named(t, imagetest.Saved(t, "one"), "app:one"), named(t, imagetest.Saved(t, "two"), "app:two")}
	for _, transport := range []types.ImageTransport{dockerarchive.ImageTransport, dockerarchive.Transport} {
		options := saving(t)
		options.Transport, options.AllPlatforms = transport, transport == dockerarchive.ImageTransport
		plan, err := copying.PlanSave(t.Context(), imagetest.Trusting(t), images, options)
		require.NoError(t, err)
		archive, results := save(t, options, images...)
		_, names := imagetest.Files(t, archive)
		planned := []string{}
		for _, e := range plan.Entries {
			planned = append(planned, e.Name)
			if e.Offset >= 0 {
				assert.Equal(t, e.Name, string(archive[e.Offset:][:len(e.Name)]))
			}
		}
		assert.Equal(t, names, planned)
		assert.Equal(t, results, plan.Images)
		if transport == dockerarchive.ImageTransport {
			assert.EqualValues(t, len(archive), plan.Size)
		} else {
			assert.EqualValues(t, -1, plan.Size)
		}
	}
}

var errTest = errors.New("this fails")
