package copying_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// images returns all images of references.
func images(t testing.TB, refs ...types.ImageReference) []copying.SaveImage {
	t.Helper()
	var all []copying.SaveImage
	for _, ref := range refs {
		list, release, err := copying.AllImages(t.Context(), imagetest.RegistryContext(t), ref)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, release()) })
		all = append(all, list...)
	}
	return all
}

// archived returns a reference to an archive, or to an image in one.
func archived(t testing.TB, ref string) types.ImageReference {
	t.Helper()
	parsed, err := dockerarchive.ImageTransport.ParseReference(ref)
	require.NoError(t, err)
	return parsed
}

// inOCIArchive is archived for the transport of containers/image.
func inOCIArchive(t testing.TB, ref string) types.ImageReference {
	t.Helper()
	parsed, err := alltransports.ParseImageName("oci-archive:" + ref)
	require.NoError(t, err)
	return parsed
}

// Merging archives is saving the images at once, whichever platforms they are for.
func TestSaveMergesArchives(t *testing.T) {
	one, two := named(t, imagetest.Saved(t, "one"), "app:1"), copying.SaveImage{Source: imagetest.Saved(t, "two"), FreeName: "V2_RC"}
	multi, unnamed := named(t, imagetest.Saved(t, "multi"), "app:multi"), copying.SaveImage{Source: imagetest.NewImage(t, "unnamed", imagetest.Zstd(7, 100))}
	options := saving(t)
	options.AllPlatforms = true
	first, _ := save(t, options, multi, one, unnamed)
	second, _ := save(t, options, two, one, multi)
	want, _ := save(t, options, multi, one, unnamed, two)
	firstPath, secondPath := imagetest.WriteFile(t, first), imagetest.WriteFile(t, second)
	for name, refs := range map[string][]types.ImageReference{
		"image-archive": {archived(t, firstPath), archived(t, secondPath)},
		"oci-archive":   {inOCIArchive(t, firstPath), inOCIArchive(t, secondPath)},
	} {
		got, results := save(t, saving(t), images(t, refs...)...)
		assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got), name)
		assert.Len(t, results, 6, name)
		piped, err := saveToPipe(t, saving(t), images(t, refs...)...)
		require.NoError(t, err)
		assert.Equal(t, imagetest.Sum(want), imagetest.Sum(piped), name)
	}
}

// An archive that comes from a pipe is read once.
func TestSaveAllOfAPipe(t *testing.T) {
	options := saving(t)
	options.AllPlatforms = true
	want, _ := save(t, options, named(t, imagetest.Saved(t, "multi"), "app:multi"), named(t, imagetest.Saved(t, "one"), "app:1"))
	out, in, err := os.Pipe()
	require.NoError(t, err)
	written := make(chan error, 1)
	go func() {
		_, err := in.Write(want)
		written <- err
		in.Close()
	}()
	sys := imagetest.RegistryContext(t)
	sys.BigFilesTemporaryDir = t.TempDir()
	all, release, err := copying.AllImages(t.Context(), sys, archived(t, fmt.Sprintf("/dev/fd/%d", out.Fd())))
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.NoError(t, out.Close())
	got, _ := save(t, saving(t), all...)
	assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got))
	require.NoError(t, release())
}

// Archives that call different images the same are not merged.
func TestSaveMergesNoDifferentImages(t *testing.T) {
	first, _ := save(t, saving(t), named(t, imagetest.Saved(t, "one"), "app:1"))
	second, _ := save(t, saving(t), named(t, imagetest.Saved(t, "two"), "app:1"))
	firstPath, secondPath := imagetest.WriteFile(t, first), imagetest.WriteFile(t, second)
	path := filepath.Join(t.TempDir(), "x")
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, images(t, archived(t, firstPath), archived(t, secondPath)), saving(t))
	require.ErrorContains(t, err, "two images want the name docker.io/library/app:1")
	require.ErrorContains(t, err, firstPath)
	require.ErrorContains(t, err, secondPath)
	require.NoFileExists(t, path)
	// Two images of one archive with one name for two platforms are not merged either.
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), path, images(t, archived(t, imagetest.Testdata(t, "cases", "same-name-per-arch.tar"))), saving(t))
	require.ErrorContains(t, err, "two images want the name docker.io/library/multiarch:latest")
}

// A part of an index is merged as a part, with a warning. Asking for all platforms, or
// for one that is not there, is an error.
func TestSaveAllOfAPartialArchive(t *testing.T) {
	all := images(t, archived(t, imagetest.Testdata(t, "cases", "partial-arm64.tar")))
	archive, results := save(t, saving(t), all...)
	require.Len(t, results[0].Warnings, 1)
	assert.Contains(t, results[0].Warnings[0], "has not got all that its index lists")
	files, _ := imagetest.Files(t, archive)
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(files["blobs/sha256/"+results[0].Digest.Encoded()], &index))
	assert.Len(t, index.Manifests, 3)

	path := filepath.Join(t.TempDir(), "x")
	options := saving(t)
	options.AllPlatforms = true
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, all, options)
	var missing *errdef.MissingError
	require.ErrorAs(t, err, &missing)
	options = saving(t)
	options.Platforms = []imgspecv1.Platform{{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "amd64"}}
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), path, all, options)
	require.ErrorAs(t, err, &missing)
	options.Platforms = options.Platforms[:1]
	_, results = save(t, options, all...)
	assert.Equal(t, index.Manifests[1].Digest, results[0].Digest)
}

// A layout that holds one platform of an image gets the one that is asked for.
func TestSaveAllInTheDockerLayout(t *testing.T) {
	options := saving(t)
	options.AllPlatforms = true
	archive, _ := save(t, options, named(t, imagetest.Saved(t, "multi"), "app:multi"))
	options = saving(t)
	options.Transport = dockerarchive.Transport
	want, _ := save(t, options, named(t, imagetest.Saved(t, "multi"), "app:multi"))
	got, _ := save(t, options, images(t, archived(t, imagetest.WriteFile(t, archive)))...)
	assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got))
}

// An OCI image layout is as an archive of one.
func TestSaveAllOfALayout(t *testing.T) {
	options := saving(t)
	options.AllPlatforms = true
	one, multi := named(t, imagetest.Saved(t, "one"), "app:1"), named(t, imagetest.Saved(t, "multi"), "other:1")
	want, _ := save(t, options, one, multi, copying.SaveImage{Source: imagetest.Saved(t, "two")})
	dir := t.TempDir()
	files, _ := imagetest.Files(t, want)
	for name, data := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, data, 0o600))
	}
	layout := func(suffix string) types.ImageReference {
		ref, err := alltransports.ParseImageName("oci:" + dir + suffix)
		require.NoError(t, err)
		return ref
	}
	got, _ := save(t, saving(t), images(t, layout(""))...)
	assert.Equal(t, imagetest.Sum(want), imagetest.Sum(got), "two images have the tag 1")

	all := images(t, layout(":@0"), imagetest.Saved(t, "one"), imagetest.Saved(t, "none"), layout(":1"))
	for i, want := range []struct{ name, free string }{{}, {free: "one"}, {free: "none"}, {free: "1"}} {
		assert.Equal(t, want.free, all[i].FreeName)
		assert.Nil(t, all[i].Name)
		assert.False(t, all[i].Whole)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), index(t, files["index.json"], 1), 0o600))
	all = images(t, layout(":1"), layout(""))
	assert.Equal(t, []string{"docker.io/library/app:1"}, all[0].AllNames(), "its full name")
	assert.Equal(t, []string{"docker.io/library/app:1"}, all[1].AllNames(), "the only one")
	require.NoError(t, os.Remove(filepath.Join(dir, "index.json")))
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), images(t, layout("")), saving(t))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// index returns the first manifests of an index.
func index(t testing.TB, raw []byte, n int) []byte {
	t.Helper()
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(raw, &index))
	index.Manifests = index.Manifests[:n]
	raw, err := json.Marshal(index)
	require.NoError(t, err)
	return raw
}

func TestAllImagesOfOne(t *testing.T) {
	archive, _ := save(t, saving(t), named(t, imagetest.Saved(t, "one"), "app:1"), copying.SaveImage{Source: imagetest.Saved(t, "two"), FreeName: "V2_RC"})
	path := imagetest.WriteFile(t, archive)
	for ref, want := range map[string][]string{
		":app:1": {"docker.io/library/app:1"},
		":@0":    {"docker.io/library/app:1"},
		":V2_RC": {"V2_RC"},
	} {
		all := images(t, archived(t, path+ref))
		require.Len(t, all, 1, ref)
		assert.Equal(t, want, all[0].AllNames(), ref)
		assert.False(t, all[0].Whole)
		save(t, saving(t), all...)
	}
	all := images(t, inOCIArchive(t, path+":V2_RC"), archived(t, path+":none"), imagetest.NewRegistry(t).Ref(t, "app:1"))
	assert.Equal(t, []string{"V2_RC"}, all[0].AllNames())
	assert.Equal(t, archived(t, path+":none").StringWithinTransport(), all[1].Source.StringWithinTransport())
	assert.Len(t, all[2].AllNames(), 1)
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "x"), all[1:2], saving(t))
	require.ErrorContains(t, err, "docker.io/library/none")

	none := archived(t, filepath.Join(t.TempDir(), "none"))
	_, release, err := copying.AllImages(t.Context(), nil, none)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, release())
}

// The policy is that for the reference that the user has given.
func TestAllImagesUnderPolicy(t *testing.T) {
	archive, _ := save(t, saving(t), named(t, imagetest.Saved(t, "one"), "app:1"))
	path := imagetest.WriteFile(t, archive)
	accepting := signature.PolicyTransportScopes{path: {signature.NewPRInsecureAcceptAnything()}}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default:    signature.PolicyRequirements{signature.NewPRReject()},
		Transports: map[string]signature.PolicyTransportScopes{"oci-archive": accepting},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, policy.Destroy()) }()
	_, err = copying.Save(t.Context(), policy, filepath.Join(t.TempDir(), "x"), images(t, inOCIArchive(t, path)), saving(t))
	require.NoError(t, err)
	for _, rejected := range []types.ImageReference{archived(t, path), inOCIArchive(t, imagetest.WriteFile(t, archive))} {
		_, err = copying.Save(t.Context(), policy, filepath.Join(t.TempDir(), "x"), images(t, rejected), saving(t))
		require.ErrorContains(t, err, "rejected by the signature policy")
	}
}

// An archive is not asked twice for a layer that is kept elsewhere: it looks nowhere
// else.
func TestSaveAllWithoutForeignLayers(t *testing.T) {
	layer := imagetest.Gzip(1, 100)
	layer.URLs = []string{"http://127.0.0.1:1/layer"}
	m := imagetest.NewImage(t, "foreign", layer)
	m.Layers = nil // Layers with URLs need not be there.
	archive, _ := save(t, saving(t), named(t, m, "app:1"))
	path := imagetest.WriteFile(t, archive)
	docker, err := dockerarchive.ParseReference(path)
	require.NoError(t, err)
	for _, ref := range []types.ImageReference{archived(t, path), inOCIArchive(t, path), docker} {
		again, results := save(t, saving(t), images(t, ref)...)
		assert.Equal(t, imagetest.Sum(archive), imagetest.Sum(again))
		require.Len(t, results[0].Warnings, 1)
		assert.Equal(t, 1, strings.Count(results[0].Warnings[0], "kept at"), results[0].Warnings[0])
	}
}
