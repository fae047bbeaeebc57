package copying_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

const (
	spdx  = "application/spdx+json"
	proof = "application/vnd.example.proof"
)

// signed is a registry with an image for two platforms and its referrers.
type signed struct {
	*imagetest.Registry
	index    imgspecv1.Descriptor
	platform imgspecv1.Descriptor

	sbom, sbomProof, indexProof, signature *imagetest.Image
}

// newSigned fills a registry. Without the API, it answers as if it knew of none, and
// has the tags that clients write then.
func newSigned(t *testing.T, api bool) signed {
	t.Helper()
	s := signed{Registry: imagetest.NewRegistry(t)}
	s.Push(t, "app:1", imagetest.Saved(t, "multi"))
	src, err := s.Ref(t, "app:1").NewImageSource(t.Context(), imagetest.RegistryContext(t))
	require.NoError(t, err)
	defer src.Close()
	raw, mediaType, err := src.GetManifest(t.Context(), nil)
	require.NoError(t, err)
	s.index = imgspecv1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(raw, &index))
	s.platform = imgspecv1.Descriptor{MediaType: index.Manifests[0].MediaType, Digest: index.Manifests[0].Digest, Size: index.Manifests[0].Size}

	s.sbom = imagetest.NewArtifact(t, spdx, `{"spdx":"of linux/amd64"}`, &s.platform)
	ofSBOM := s.sbom.Descriptor()
	s.sbomProof = imagetest.NewArtifact(t, proof, "of the SBOM", &ofSBOM)
	s.indexProof = imagetest.NewArtifact(t, proof, "of the index", &s.index)
	key, _ := imagetest.NewKey(t)
	s.signature = imagetest.NewSignature(t, key, s.Address+"/app", s.index.Digest)
	for _, artifact := range []*imagetest.Image{s.indexProof, s.sbomProof, s.sbom} {
		s.Push(t, "app@"+artifact.Digest().String(), artifact)
	}
	s.Push(t, "app:"+tagOf(s.index.Digest)+".sig", s.signature)
	if !api {
		s.list(t, s.index.Digest, s.indexProof)
		s.list(t, s.platform.Digest, s.sbom)
		s.list(t, s.sbom.Digest(), s.sbomProof)
		s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/referrers/") {
				http.Error(w, "404 page not found", http.StatusNotFound)
				return true
			}
			return false
		})
	}
	return s
}

// list writes the tag for the referrers of a manifest.
func (s signed) list(t *testing.T, subject digest.Digest, referrers ...*imagetest.Image) {
	t.Helper()
	index := imgspecv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex}
	for _, r := range referrers {
		d := r.Descriptor()
		d.ArtifactType = r.Manifest.ArtifactType
		index.Manifests = append(index.Manifests, d)
	}
	raw, err := json.Marshal(index)
	require.NoError(t, err)
	s.PutManifest(t, "app", tagOf(subject), index.MediaType, raw)
}

func tagOf(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }

// savingReferrers returns options for all platforms with their referrers.
func savingReferrers(t *testing.T, types ...string) *copying.SaveOptions {
	t.Helper()
	options := saving(t)
	options.AllPlatforms = true
	options.Referrers = &copying.ReferrerOptions{ArtifactTypes: types}
	return options
}

func (s signed) image(t *testing.T) copying.SaveImage {
	t.Helper()
	return named(t, s.Ref(t, "app:1"), s.Address+"/app:1")
}

// namesAbout returns the referrers to a digest in an archive: names, or digests.
func namesAbout(t *testing.T, data []byte, subject digest.Digest) []string {
	t.Helper()
	a, err := archive.New(t.Context(), bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	defer a.Close()
	found := []string{}
	for _, img := range a.Referrers(subject) {
		d, err := img.Describe(t.Context())
		require.NoError(t, err)
		if len(img.Names) == 0 {
			assert.Equal(t, subject, d.Subject)
			found = append(found, d.Digest.String())
		}
		found = append(found, img.Names...)
	}
	return found
}

// Save finds the referrers of the image and its platforms, and their referrers, where
// the registry lists them and where it has tags for them; the bytes depend on nothing
// else.
func TestSaveReferrers(t *testing.T) {
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprintf("api %t", api), func(t *testing.T) {
			s := newSigned(t, api)
			data, results := save(t, savingReferrers(t), s.image(t))
			repo := s.Address + "/app:"
			ofIndex := []string{s.indexProof.Digest().String()}
			ofPlatform := []string{s.sbom.Digest().String()}
			ofSBOM := []string{s.sbomProof.Digest().String()}
			if !api {
				ofIndex = append(ofIndex, repo+tagOf(s.index.Digest))
				ofPlatform = append(ofPlatform, repo+tagOf(s.platform.Digest))
				ofSBOM = append(ofSBOM, repo+tagOf(s.sbom.Digest()))
			}
			ofIndex = append(ofIndex, repo+tagOf(s.index.Digest)+".sig")
			assert.Equal(t, ofIndex, namesAbout(t, data, s.index.Digest))
			assert.Equal(t, ofPlatform, namesAbout(t, data, s.platform.Digest))
			assert.Equal(t, ofSBOM, namesAbout(t, data, s.sbom.Digest()))
			require.Len(t, results, 1+len(ofIndex)+len(ofPlatform)+len(ofSBOM))
			assert.Empty(t, results[0].Subject)
			assert.NotEmpty(t, results[1].Subject)
			for _, r := range results {
				assert.Empty(t, r.Warnings)
			}

			for _, jobs := range []int{1, 8} {
				options := savingReferrers(t)
				options.Jobs = jobs
				again, _ := save(t, options, s.image(t))
				assert.Equal(t, imagetest.Sum(data), imagetest.Sum(again), "%d jobs", jobs)
				piped, err := saveToPipe(t, options, s.image(t))
				require.NoError(t, err)
				assert.Equal(t, imagetest.Sum(data), imagetest.Sum(piped), "%d jobs, through a pipe", jobs)
			}
			assertLoadable(t, data)
			assertFoundByORAS(t, data, s)
		})
	}
}

// assertLoadable checks that no client takes a referrer for an image: none of them
// is in manifest.json, or has a name that containerd looks at.
func assertLoadable(t *testing.T, data []byte) {
	t.Helper()
	assert.Len(t, imagetest.Items(t, data), 1)
	files, _ := imagetest.Files(t, data)
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(files["index.json"], &index))
	for _, d := range index.Manifests[1:] {
		assert.NotContains(t, d.Annotations, imgspecv1.AnnotationRefName)
		assert.NotContains(t, d.Annotations, "io.containerd.image.name")
		assert.NotEmpty(t, d.Annotations["io.containerd.manifest.subject"])
	}
}

// assertFoundByORAS finds the referrers as oras discover --oci-layout does.
func assertFoundByORAS(t *testing.T, data []byte, s signed) {
	t.Helper()
	store, err := oci.NewFromTar(t.Context(), imagetest.WriteFile(t, data))
	require.NoError(t, err)
	for _, c := range []struct {
		subject imgspecv1.Descriptor
		want    *imagetest.Image
	}{{s.index, s.indexProof}, {s.platform, s.sbom}, {s.sbom.Descriptor(), s.sbomProof}} {
		want := c.want
		for artifactType, number := range map[string]int{"": 1, want.Manifest.ArtifactType: 1, "application/other": 0} {
			found, err := registry.Referrers(t.Context(), store, c.subject, artifactType)
			require.NoError(t, err)
			require.Len(t, found, number)
			if number == 1 {
				assert.Equal(t, want.Digest(), found[0].Digest)
			}
		}
	}
}

// With a choice of types, only referrers of these are saved, and an index of referrers
// lists those.
func TestSaveReferrersOfTypes(t *testing.T) {
	s := newSigned(t, false)
	more := imagetest.NewArtifact(t, spdx, "of the index", &s.index)
	s.Push(t, "app@"+more.Digest().String(), more)
	s.list(t, s.index.Digest, s.indexProof, more)
	data, _ := save(t, savingReferrers(t, spdx), s.image(t))
	tag := s.Address + "/app:" + tagOf(s.index.Digest)
	assert.Equal(t, []string{more.Digest().String(), tag}, namesAbout(t, data, s.index.Digest))
	assert.Empty(t, namesAbout(t, data, s.sbom.Digest()))
	a, err := archive.New(t.Context(), bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	defer a.Close()
	img, err := a.Find(tag)
	require.NoError(t, err)
	m, err := img.Manifest(t.Context())
	require.NoError(t, err)
	require.Len(t, m.Manifests(), 1)
	assert.Equal(t, more.Digest(), m.Manifests()[0].Digest)

	data, _ = save(t, savingReferrers(t, "application/vnd.dev.cosign.simplesigning.v1+json"), s.image(t))
	assert.Equal(t, []string{tag + ".sig"}, namesAbout(t, data, s.index.Digest))
	assert.Empty(t, namesAbout(t, data, s.platform.Digest))
}

// All that the archive has can be copied to another registry, as it was.
func TestReferrersRoundTrip(t *testing.T) {
	for _, api := range []bool{true, false} {
		s, b := newSigned(t, api), imagetest.NewRegistry(t)
		data, results := save(t, savingReferrers(t), s.image(t))
		r, err := dockerarchive.NewReader(nil, imagetest.WriteFile(t, data))
		require.NoError(t, err)
		defer r.Close()
		list, err := r.List()
		require.NoError(t, err)
		require.Len(t, list, len(results))
		for n, refs := range list {
			target := "app@" + results[n].Digest.String()
			if name := refs[0].DockerReference(); name != nil {
				target = strings.TrimPrefix(name.String(), s.Address+"/")
			}
			options := &copy.Options{PreserveDigests: true, DestinationCtx: imagetest.RegistryContext(t), ImageListSelection: copy.CopyAllImages}
			_, err := copying.Copy(t.Context(), imagetest.Trusting(t), b.Ref(t, target), refs[0], &copying.CopyOptions{Options: *options})
			require.NoError(t, err)
			got, err := docker.GetDigest(t.Context(), imagetest.RegistryContext(t), b.Ref(t, target))
			require.NoError(t, err)
			assert.Equal(t, results[n].Digest, got)
		}
		for _, subject := range []digest.Digest{s.index.Digest, s.platform.Digest, s.sbom.Digest()} {
			assert.Equal(t, referrersAt(t, s.Registry, subject, !api), referrersAt(t, b, subject, false))
		}
	}
}

// referrersAt returns the referrers that a registry lists, in any order; remember turns
// its API on again.
func referrersAt(t *testing.T, reg *imagetest.Registry, subject digest.Digest, remember bool) []string {
	t.Helper()
	if remember {
		reg.Intercept(nil)
	}
	resp, err := http.Get("http://" + reg.Address + "/v2/app/referrers/" + subject.String())
	require.NoError(t, err)
	defer resp.Body.Close()
	var index imgspecv1.Index
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&index))
	found := []string{}
	for _, d := range index.Manifests {
		found = append(found, d.Digest.String())
	}
	slices.Sort(found)
	return found
}

// An archive that is saved again keeps all that it has, byte for byte, for any platform
// that is asked for.
func TestReferrersAreSavedAgain(t *testing.T) {
	s := newSigned(t, false)
	file := imagetest.NewArtifact(t, proof, "in an index", nil)
	s.Push(t, "app@"+file.Digest().String(), file)
	set := imgspecv1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageIndex, ArtifactType: proof,
		Manifests: []imgspecv1.Descriptor{file.Descriptor()}, Subject: &s.platform,
	}
	raw, err := json.Marshal(set)
	require.NoError(t, err)
	s.PutManifest(t, "app", digest.FromBytes(raw).String(), set.MediaType, raw)
	s.list(t, s.platform.Digest, s.sbom, &imagetest.Image{Raw: raw, MIMEType: set.MediaType})
	options := savingReferrers(t)
	options.AllPlatforms = false
	data, _ := save(t, options, s.image(t))
	assert.Contains(t, namesAbout(t, data, s.platform.Digest), digest.FromBytes(raw).String())
	path := imagetest.WriteFile(t, data)
	r, err := dockerarchive.NewReader(nil, path)
	require.NoError(t, err)
	defer r.Close()
	list, err := r.List()
	require.NoError(t, err)
	var images []copying.SaveImage
	for position, refs := range list {
		source, err := dockerarchive.NewIndexReference(path, position)
		require.NoError(t, err)
		images = append(images, copying.SaveImage{Source: source, Name: refs[0].DockerReference()})
	}
	again, results := save(t, saving(t), images...)
	for _, r := range results {
		assert.Empty(t, r.Warnings)
	}
	assert.Equal(t, imagetest.Sum(data), imagetest.Sum(again))
}

// The only image of an archive is found among its referrers.
func TestReferrersAreNoImages(t *testing.T) {
	s := newSigned(t, true)
	data, _ := save(t, savingReferrers(t), s.image(t))
	ref, err := dockerarchive.ParseReference(imagetest.WriteFile(t, data))
	require.NoError(t, err)
	src, err := ref.NewImageSource(t.Context(), nil)
	require.NoError(t, err)
	defer src.Close()
	raw, _, err := src.GetManifest(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, s.index.Digest, digest.FromBytes(raw))
}

// An answer other than a list is an error, and not silence.
func TestSaveReferrersFails(t *testing.T) {
	s := newSigned(t, true)
	other := imagetest.NewArtifact(t, spdx, "of something else", &imgspecv1.Descriptor{
		MediaType: imgspecv1.MediaTypeImageManifest, Digest: digest.FromString("elsewhere"), Size: 9,
	})
	s.Push(t, "app@"+other.Digest().String(), other)
	answer := func(status int, contentType, body string, where string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, where) {
				return false
			}
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	index := func(d imgspecv1.Descriptor, n int) string {
		list := imgspecv1.Index{Manifests: slices.Repeat([]imgspecv1.Descriptor{d}, n)}
		raw, err := json.Marshal(list)
		require.NoError(t, err)
		return string(raw)
	}
	const list = imgspecv1.MediaTypeImageIndex
	missing := imgspecv1.Descriptor{Digest: digest.FromString("missing")}
	for name, c := range map[string]struct {
		intercept func(http.ResponseWriter, *http.Request) bool
		want      string
	}{
		"broken":            {answer(500, "text/plain", "out of order", "/referrers/"), "listing the referrers of " + s.Address + "/app@sha256:"},
		"forbidden":         {answer(403, "text/plain", "", "/referrers/"), "403"},
		"no list":           {answer(200, list, "<html>", "/referrers/"), "decode"},
		"no digest":         {answer(200, list, index(imgspecv1.Descriptor{Digest: "sha256:../x"}, 1), "/referrers/"), "digest"},
		"no such referrer":  {answer(200, list, index(missing, 1), "/referrers/"), missing.Digest.String()},
		"too many":          {answer(200, list, index(missing, 1001), "/referrers/"), "more than 1000"},
		"broken tag":        {answer(500, "text/plain", "", ".sig"), ".sig"},
		"signature no JSON": {answer(200, imgspecv1.MediaTypeImageManifest, "{", ".sig"), ".sig"},
	} {
		t.Run(name, func(t *testing.T) {
			s.Intercept(c.intercept)
			_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "a.tar"), []copying.SaveImage{s.image(t)}, savingReferrers(t))
			require.ErrorContains(t, err, c.want)
			options := savingReferrers(t)
			options.KeepGoing = true
			images := []copying.SaveImage{s.image(t), named(t, imagetest.Saved(t, "one"), "one:1")}
			results, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "a.tar"), images, options)
			require.ErrorIs(t, err, copying.ErrImagesLeftOut)
			require.ErrorContains(t, results[0].Err, c.want)
			assert.NoError(t, results[1].Err)
			assert.Len(t, results, 2)
		})
	}
	t.Run("about something else", func(t *testing.T) {
		s.Intercept(answer(200, list, index(other.Descriptor(), 1), "/referrers/"))
		data, results := save(t, savingReferrers(t), s.image(t))
		assert.Len(t, namesAbout(t, data, s.index.Digest), 1) // The signature.
		assert.Contains(t, fmt.Sprint(results[0].Warnings), "is not about that")
	})
	t.Run("docker layout", func(t *testing.T) {
		options := savingReferrers(t)
		options.Transport, options.AllPlatforms = dockerarchive.Transport, false
		_, err := copying.PlanSave(t.Context(), imagetest.Trusting(t), []copying.SaveImage{s.image(t)}, options)
		require.ErrorContains(t, err, "write an image-archive")
	})
	t.Run("no registry", func(t *testing.T) {
		_, results := save(t, savingReferrers(t), named(t, imagetest.Saved(t, "one"), "one:1"))
		assert.Contains(t, fmt.Sprint(results[0].Warnings), "the source is not a registry")
	})
}

// Referrers of referrers are followed to a bound, and no further.
func TestReferrersAreBounded(t *testing.T) {
	s := newSigned(t, true)
	subject := s.index
	for n := range 10 {
		next := imagetest.NewArtifact(t, proof, fmt.Sprint("link ", n), &subject)
		s.Push(t, "app@"+next.Digest().String(), next)
		subject = next.Descriptor()
	}
	_, err := copying.PlanSave(t.Context(), imagetest.Trusting(t), []copying.SaveImage{s.image(t)}, savingReferrers(t))
	require.ErrorIs(t, err, errdef.ErrLimit)
}

// A mirror is asked first, with no credentials but its own; if it has nothing, the
// registry itself is asked.
func TestReferrersFromMirror(t *testing.T) {
	s, mirror := newSigned(t, true), imagetest.NewRegistry(t)
	mirror.Push(t, "app:1", imagetest.Saved(t, "multi"))
	asked := map[string]*atomic.Int32{"registry": {}, "mirror": {}}
	watch := func(name string) func(http.ResponseWriter, *http.Request) bool {
		return func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/referrers/") {
				asked[name].Add(1)
				assert.Equal(t, "tester", r.UserAgent())
			}
			return false
		}
	}
	s.Intercept(watch("registry"))
	mirror.Intercept(watch("mirror"))
	options := savingReferrers(t)
	options.SourceCtx.DockerRegistryUserAgent = "tester"
	conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", s.Address, mirror.Address)
	require.NoError(t, os.WriteFile(options.SourceCtx.SystemRegistriesConfPath, []byte(conf), 0o600))
	options.SourceCtx.DockerInsecureSkipTLSVerify = types.OptionalBoolUndefined
	data, _ := save(t, options, s.image(t))
	assert.Len(t, namesAbout(t, data, s.index.Digest), 2)
	assert.Len(t, namesAbout(t, data, s.platform.Digest), 1)
	assert.NotZero(t, asked["registry"].Load())
	assert.NotZero(t, asked["mirror"].Load())
}

// A referrer to several images is saved once, also if one of them cannot be saved.
func TestReferrersOfSeveralImages(t *testing.T) {
	s := newSigned(t, true)
	s.PutManifest(t, "app", "again", s.index.MediaType, rawOf(t, s, "app:1"))
	again := named(t, s.Ref(t, "app:again"), s.Address+"/app:again")
	_, alone := save(t, savingReferrers(t), s.image(t))
	data, results := save(t, savingReferrers(t), s.image(t), again)
	assert.Len(t, results, len(alone)+1)
	assert.Len(t, namesAbout(t, data, s.index.Digest), 2)

	options := savingReferrers(t)
	options.KeepGoing = true
	missing := named(t, s.Ref(t, "app:missing"), "")
	path := filepath.Join(t.TempDir(), "a.tar")
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{missing, s.image(t), again}, options)
	require.ErrorIs(t, err, copying.ErrImagesLeftOut)
	assert.Equal(t, namesAbout(t, data, s.index.Digest), namesAbout(t, imagetest.ReadFile(t, path), s.index.Digest))
}

func rawOf(t *testing.T, s signed, name string) []byte {
	t.Helper()
	src, err := s.Ref(t, name).NewImageSource(t.Context(), imagetest.RegistryContext(t))
	require.NoError(t, err)
	defer src.Close()
	raw, _, err := src.GetManifest(t.Context(), nil)
	require.NoError(t, err)
	return raw
}

// A tag that holds its own subject leads nowhere.
func TestReferrersInACircle(t *testing.T) {
	s := newSigned(t, true)
	s.PutManifest(t, "app", tagOf(s.index.Digest)+".att", s.index.MediaType, rawOf(t, s, "app:1"))
	s.PutManifest(t, "app", tagOf(s.signature.Digest())+".sig", s.signature.MIMEType, s.signature.Raw)
	data, _ := save(t, savingReferrers(t), s.image(t))
	assert.Contains(t, namesAbout(t, data, s.signature.Digest()), s.Address+"/app:"+tagOf(s.signature.Digest())+".sig")
}

// A signature of an index is not saved with one platform of it, and a warning says so.
func TestReferrersOfAnIndexThatIsNotSaved(t *testing.T) {
	for _, api := range []bool{true, false} {
		s := newSigned(t, api)
		options := savingReferrers(t)
		options.AllPlatforms = false
		_, results := save(t, options, s.image(t))
		warnings := strings.Join(results[0].Warnings, "\n")
		assert.Contains(t, warnings, "2 signatures or other referrers are not saved: they are about its index "+s.index.Digest.String())
		assert.Contains(t, warnings, "--keep-index or --all-platforms")

		options.Referrers = &copying.ReferrerOptions{ArtifactTypes: []string{spdx}}
		_, results = save(t, options, s.image(t))
		assert.NotContains(t, strings.Join(results[0].Warnings, "\n"), "are not saved")

		options = savingReferrers(t)
		options.AllPlatforms, options.KeepIndex, options.SkipMissing = false, true, true
		_, results = save(t, options, s.image(t))
		assert.NotContains(t, strings.Join(results[0].Warnings, "\n"), "are not saved")
	}
}
