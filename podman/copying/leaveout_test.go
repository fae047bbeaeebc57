package copying_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// refused saves an image that cannot be saved, and returns the error.
func refused(t testing.TB, options *copying.SaveOptions, images ...copying.SaveImage) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, images, options)
	require.Error(t, err)
	require.NoFileExists(t, path)
	return err
}

// problemsOf returns the problems that Verify finds in an archive.
func problemsOf(t testing.TB, archive []byte) (problems, notes []string) {
	t.Helper()
	r, err := dockerarchive.NewReader(nil, imagetest.WriteFile(t, archive))
	require.NoError(t, err)
	defer r.Close()
	report, err := r.Verify(t.Context(), nil)
	require.NoError(t, err)
	for _, p := range report.Problems {
		problems = append(problems, p.Error())
	}
	return problems, report.Notes
}

// The index from which a platform is chosen may keep its digest.
func TestSaveKeepIndex(t *testing.T) {
	multi := named(t, imagetest.Saved(t, "multi"), "app:multi")
	options := saving(t)
	options.AllPlatforms = true
	_, whole := save(t, options, multi)

	for _, platforms := range [][]imgspecv1.Platform{nil, {{OS: "linux", Architecture: "amd64"}}} {
		options = saving(t)
		options.KeepIndex, options.Platforms = true, platforms
		archive, results := save(t, options, multi)
		assert.Equal(t, whole[0].Digest, results[0].Digest)
		problems, notes := problemsOf(t, archive)
		assert.Empty(t, problems)
		assert.Contains(t, notes[0], "arm64")
		contents, _ := imagetest.Files(t, archive)
		var index imgspecv1.Index
		require.NoError(t, json.Unmarshal(contents["blobs/sha256/"+whole[0].Digest.Encoded()], &index))
		there := 0
		for _, m := range index.Manifests {
			if contents["blobs/sha256/"+m.Digest.Encoded()] != nil {
				there++
			}
		}
		require.Len(t, index.Manifests, 3)
		assert.Equal(t, 2, there, "amd64 and what attests it")
		piped, err := saveToPipe(t, options, multi)
		require.NoError(t, err)
		assert.Equal(t, imagetest.Sum(archive), imagetest.Sum(piped))
	}
	options.AllPlatforms, options.Platforms = true, nil
	require.ErrorContains(t, refused(t, options, multi), "is kept anyway")
}

// Without manifest.json an archive differs in nothing else.
func TestSaveSkipDockerManifest(t *testing.T) {
	images := []copying.SaveImage{named(t, imagetest.Saved(t, "one"), "example.com/one:1"), named(t, imagetest.Saved(t, "multi"), "example.com/multi:1")}
	options := saving(t)
	options.AllPlatforms = true
	with, results := save(t, options, images...)
	options.SkipDockerManifest = true
	pure, same := save(t, options, images...)
	assert.Equal(t, results, same)
	want, _ := imagetest.Files(t, with)
	got, _ := imagetest.Files(t, pure)
	assert.NotNil(t, want["manifest.json"])
	delete(want, "manifest.json")
	delete(want, "repositories")
	assert.Equal(t, want, got)
	problems, notes := problemsOf(t, pure)
	assert.Empty(t, problems)
	assert.Empty(t, notes)

	// So does a Writer.
	path := filepath.Join(t.TempDir(), "x.tar")
	w, err := dockerarchive.NewWriterContext(t.Context(), nil, path, &dockerarchive.WriterOptions{Transport: dockerarchive.ImageTransport, SkipDockerManifest: true})
	require.NoError(t, err)
	ref, err := w.NewReference(imagetest.Tagged(t, "example.com/one:1"))
	require.NoError(t, err)
	require.NoError(t, imagetest.Copy(t, ref, imagetest.Saved(t, "one"), nil))
	require.NoError(t, w.Close())
	files, _ := imagetest.Files(t, imagetest.ReadFile(t, path))
	assert.Contains(t, files, "index.json")
	assert.NotContains(t, files, "manifest.json")
}

// Save leaves out the chosen layers, and nothing else; the rest is as it would be.
func TestSaveLeaveOut(t *testing.T) {
	nonDistributable := imagetest.Gzip(3, 300)
	nonDistributable.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	layers := []imagetest.Layer{imagetest.Gzip(1, 100), nonDistributable, imagetest.Gzip(2, 200)}
	img := imagetest.NewImage(t, "three", layers...)
	whole, results := save(t, saving(t), named(t, img, "example.com/app:1"))
	all, _ := imagetest.Files(t, whole)
	require.Equal(t, 1, img.Gets[layers[1].Digest], "it is there, and taken")

	for name, o := range map[string]struct {
		change func(*copying.SaveOptions)
		out    imagetest.Layer
	}{
		"non-distributable": {func(o *copying.SaveOptions) { o.SkipNonDistributable = true }, layers[1]},
		"chosen": {func(o *copying.SaveOptions) {
			o.LeaveOut = func(l imgspecv1.Descriptor) bool { return l.Digest == layers[0].Digest }
		}, layers[0]},
	} {
		img.Forget()
		options := saving(t)
		o.change(options)
		archive, again := save(t, options, named(t, img, "example.com/app:1"))
		assert.Equal(t, results[0].Digest, again[0].Digest)
		assert.Zero(t, img.Gets[o.out.Digest], name)
		got, _ := imagetest.Files(t, archive)
		want := map[string][]byte{}
		for entry, data := range all {
			if entry != "blobs/sha256/"+o.out.Digest.Encoded() {
				want[entry] = data
			}
		}
		assert.Equal(t, want, got, name)
		piped, err := saveToPipe(t, options, named(t, img, "example.com/app:1"))
		require.NoError(t, err)
		assert.Equal(t, imagetest.Sum(archive), imagetest.Sum(piped))
		problems, notes := problemsOf(t, archive)
		if name == "chosen" {
			assert.NotEmpty(t, problems, "nobody says where the layer is")
			continue
		}
		assert.Empty(t, problems)
		assert.Contains(t, notes[0], "not to be distributed")
	}
}

// The docker layout has none of this.
func TestSaveWholeImagesOnly(t *testing.T) {
	for want, change := range map[string]func(*copying.SaveOptions){
		"has no index":                     func(o *copying.SaveOptions) { o.KeepIndex = true },
		"all layers of an image":           func(o *copying.SaveOptions) { o.SkipNonDistributable = true },
		"or none":                          func(o *copying.SaveOptions) { o.LeaveOut = func(imgspecv1.Descriptor) bool { return false } },
		"is nothing without manifest.json": func(o *copying.SaveOptions) { o.SkipDockerManifest = true },
	} {
		options := saving(t)
		options.Transport = types.ImageTransport(dockerarchive.Transport)
		change(options)
		require.ErrorContains(t, refused(t, options, named(t, imagetest.Saved(t, "one"), "")), want)
	}
	_, err := dockerarchive.NewWriterContext(t.Context(), nil, filepath.Join(t.TempDir(), "x"), &dockerarchive.WriterOptions{SkipDockerManifest: true})
	require.ErrorContains(t, err, "is nothing without manifest.json")
}
