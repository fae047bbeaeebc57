package copying_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

// pushed is a registry that counts the blobs and manifests that it is sent.
type pushed struct {
	*imagetest.Registry
	mu sync.Mutex
	counts
	fault func(n int, w http.ResponseWriter, r *http.Request) bool // see faulty
}

type counts struct {
	uploads   map[string]int // completed, by digest
	manifests int
	requests  int
}

// seen returns the counts. A request that its client has broken off may still be
// answered.
func (p *pushed) seen() counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counts
	c.uploads = maps.Clone(c.uploads)
	return c
}

func newPushed(t testing.TB) *pushed {
	p := &pushed{Registry: imagetest.NewRegistry(t), counts: counts{uploads: map[string]int{}}}
	p.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		p.mu.Lock()
		p.requests++
		n, fault := p.requests, p.fault
		p.mu.Unlock()
		if fault != nil && fault(n, w, r) {
			return true
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"):
			p.manifests++
		case r.Method == http.MethodPut:
			p.uploads[r.URL.Query().Get("digest")]++
		}
		return false
	})
	return p
}

// faulty has fault, if it is not nil, see the nth request, and answer it or return false.
// It may still answer requests that the client has broken off.
func (p *pushed) faulty(fault func(n int, w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// forget resets the counts.
func (p *pushed) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.uploads)
	p.manifests, p.requests = 0, 0
}

func pushing(t testing.TB) *copying.PushOptions {
	t.Helper()
	sys := imagetest.RegistryContext(t)
	sys.BigFilesTemporaryDir = t.TempDir()
	o := &copying.PushOptions{Reading: copying.Reading{SourceCtx: sys}, DestinationCtx: sys}
	o.RetryAtOnce()
	return o
}

// archived returns the images of an archive, which are to be pushed to a registry.
func (p *pushed) archived(t testing.TB, path string) []copying.PushImage {
	t.Helper()
	ref, err := dockerarchive.ImageTransport.ParseReference(path)
	require.NoError(t, err)
	found, release, err := copying.AllImages(t.Context(), imagetest.Isolated(), ref)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, release()) })
	var images []copying.PushImage
	for _, img := range found {
		if n := len(images); n > 0 && images[n-1].Source == img.Source {
			images[n-1].Targets = append(images[n-1].Targets, p.target(t, img.Name))
			continue
		}
		to := copying.PushImage{SaveImage: img}
		if img.Name != nil {
			to.Targets = []reference.Named{p.target(t, img.Name)}
		}
		images = append(images, to)
	}
	return images
}

func (p *pushed) target(t testing.TB, name reference.Named) reference.Named {
	t.Helper()
	target, err := copying.PushTarget(p.Address, name, false)
	require.NoError(t, err)
	return target
}

// get returns what the registry has at a path under /v2/.
func (p *pushed) get(t testing.TB, path string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Address+"/v2/"+path, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	if response.StatusCode != http.StatusOK {
		return nil
	}
	return body
}

// saveSigned saves an index, an image that shares a layer with it, an SBOM of the image
// and a proof of the SBOM.
func saveSigned(t testing.TB) string {
	t.Helper()
	reg := imagetest.NewRegistry(t)
	app := imagetest.NewImage(t, "app", imagetest.Gzip(1, 3000), imagetest.Gzip(2, 3000))
	subject := app.Descriptor()
	sbom := imagetest.NewArtifact(t, "application/spdx+json", "sbom", &subject)
	about := sbom.Descriptor()
	proof := imagetest.NewArtifact(t, "application/vnd.example.proof", "proof", &about)
	src := reg.Push(t, "team/app:1", app)
	reg.Push(t, "team/app@"+sbom.Digest().String(), sbom)
	reg.Push(t, "team/app@"+proof.Digest().String(), proof)
	options := saving(t)
	options.Referrers = &copying.ReferrerOptions{}
	options.AllPlatforms = true
	file := filepath.Join(t.TempDir(), "images.tar")
	multi, err := dockerarchive.ImageTransport.ParseReference("../../testdata/archives/ctr24.tar:@0")
	require.NoError(t, err)
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), file, []copying.SaveImage{
		{Source: src, Name: imagetest.Tagged(t, "registry.example.com/team/app:1"), Names: []reference.Named{imagetest.Tagged(t, "registry.example.com/team/app:2"), imagetest.Tagged(t, "registry.example.com/other:1")}},
		{Source: multi, Name: imagetest.Tagged(t, "registry.example.com/multi:1")},
	}, options)
	require.NoError(t, err)
	return file
}

// Everything arrives as it is in the archive, each distinct blob is sent once, and
// nothing a second time.
func TestPush(t *testing.T) {
	file, to := saveSigned(t), newPushed(t)
	images := to.archived(t, file)
	var planned []copying.PushResult
	options := pushing(t)
	options.Planned = func(results []copying.PushResult) error {
		assert.Zero(t, to.seen().requests)
		planned = results
		return nil
	}
	results, err := copying.Push(t.Context(), imagetest.Trusting(t), images, options)
	require.NoError(t, err)
	require.Len(t, results, 4)
	require.Len(t, planned, 4)
	sent := int64(0)
	for n, r := range results {
		assert.False(t, r.UpToDate)
		assert.Equal(t, planned[n].Targets, r.Targets)
		assert.NotEmpty(t, r.Targets)
		sent += r.Sent
		for _, target := range r.Targets {
			to.checkThere(t, target, r.Digest)
		}
	}
	assert.Len(t, results[2].Targets, 2, "referrers go with their image")
	size := int64(0)
	for d, times := range to.seen().uploads {
		assert.Equal(t, 1, times, d)
		size += int64(len(to.get(t, "team/app/blobs/"+d)))
	}
	assert.Equal(t, size, sent)

	to.forget()
	results, err = copying.Push(t.Context(), imagetest.Trusting(t), images, pushing(t))
	require.NoError(t, err)
	for _, r := range results {
		assert.True(t, r.UpToDate)
		assert.Zero(t, r.Sent)
	}
	assert.Empty(t, to.seen().uploads)
	assert.Zero(t, to.seen().manifests)
}

// manifestPath is where a manifest is under /v2/.
func manifestPath(target reference.Named) string {
	at := ""
	switch target := target.(type) {
	case reference.Tagged:
		at = target.Tag()
	case reference.Digested:
		at = target.Digest().String()
	}
	return reference.Path(target) + "/manifests/" + at
}

// checkThere fails unless a registry has an image and all that it leads to.
func (p *pushed) checkThere(t testing.TB, target reference.Named, d digest.Digest) {
	t.Helper()
	repository := reference.Path(target)
	raw := p.get(t, manifestPath(target))
	require.Equal(t, d, digest.FromBytes(raw), target)
	var m struct {
		Config    *imgspecv1.Descriptor
		Layers    []imgspecv1.Descriptor
		Manifests []imgspecv1.Descriptor
	}
	require.NoError(t, json.Unmarshal(raw, &m))
	for _, child := range m.Manifests {
		named, err := reference.WithDigest(reference.TrimNamed(target), child.Digest)
		require.NoError(t, err)
		p.checkThere(t, named, child.Digest)
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, b := range m.Layers {
		assert.Equal(t, b.Digest, digest.FromBytes(p.get(t, repository+"/blobs/"+b.Digest.String())))
	}
}

// A registry without the referrers API lists referrers under the tag of the subject's
// digest, with those that are listed there already, also if only the entry is missing.
func TestPushListsReferrers(t *testing.T) {
	app := imagetest.NewImage(t, "app", imagetest.Gzip(1, 3000))
	subject := app.Descriptor()
	to := newPushed(t)
	to.faulty(func(_ int, w http.ResponseWriter, r *http.Request) bool { return withoutAPI(w, r) })
	images := []copying.PushImage{{SaveImage: copying.SaveImage{Source: app}, Targets: []reference.Named{imagetest.Tagged(t, to.Address+"/team/app:1")}}}
	var want []digest.Digest
	push := func(images []copying.PushImage) {
		t.Helper()
		_, err := copying.Push(t.Context(), imagetest.Trusting(t), images, pushing(t))
		require.NoError(t, err)
		var index imgspecv1.Index
		require.NoError(t, json.Unmarshal(to.get(t, "team/app/manifests/sha256-"+app.Digest().Encoded()), &index))
		var listed []digest.Digest
		for _, d := range index.Manifests {
			listed = append(listed, d.Digest)
			assert.Equal(t, "application/spdx+json", d.ArtifactType)
		}
		assert.ElementsMatch(t, want, listed)
	}
	for n := range 6 {
		sbom := imagetest.NewArtifact(t, "application/spdx+json", fmt.Sprint(n), &subject)
		want = append(want, sbom.Digest())
		images = append(images, copying.PushImage{SaveImage: copying.SaveImage{Source: sbom}})
	}
	all := want
	want = all[:2]
	push(images[:3])
	want = all
	push(images)
	to.forget()
	push(images)
	assert.Zero(t, to.seen().manifests)

	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+to.Address+"/v2/team/app/manifests/sha256-"+app.Digest().Encoded(), nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	push(images)
}

// A registry that only registries.conf calls insecure is asked in the same way as it is
// pushed to. Its answer to an unknown path is no reason to fail.
func TestPushToRegistryOfConfiguration(t *testing.T) {
	app := imagetest.NewImage(t, "app", imagetest.Gzip(1, 3000))
	subject := app.Descriptor()
	sbom := imagetest.NewArtifact(t, "application/spdx+json", "1", &subject)
	to := newPushed(t)
	to.faulty(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		switch kindOf(r) {
		case "GET referrers":
			w.WriteHeader(http.StatusMethodNotAllowed)
		case "HEAD manifest by tag": // Without a digest, so that the manifest is read.
		default:
			return false
		}
		return true
	})
	options := pushing(t)
	options.DestinationCtx.DockerInsecureSkipTLSVerify = types.OptionalBoolUndefined
	conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", to.Address)
	require.NoError(t, os.WriteFile(options.DestinationCtx.SystemRegistriesConfPath, []byte(conf), 0o600))
	_, err := copying.Push(t.Context(), imagetest.Trusting(t), []copying.PushImage{
		{SaveImage: copying.SaveImage{Source: app}, Targets: []reference.Named{imagetest.Tagged(t, to.Address+"/team/app:1")}},
		{SaveImage: copying.SaveImage{Source: sbom}},
	}, options)
	require.NoError(t, err)
	assert.Contains(t, string(to.get(t, "team/app/manifests/sha256-"+app.Digest().Encoded())), sbom.Digest().String())
}

// An index of referrers is added to the one that is there.
func TestPushAddsToReferrers(t *testing.T) {
	app := imagetest.NewImage(t, "app", imagetest.Gzip(1, 3000))
	subject := app.Descriptor()
	tag := "team/app:sha256-" + app.Digest().Encoded()
	push := func(images ...copying.PushImage) {
		t.Helper()
		_, err := copying.Push(t.Context(), imagetest.Trusting(t), images, pushing(t))
		require.NoError(t, err)
	}
	var want []digest.Digest
	var registries []*pushed
	for n := range 2 {
		to := newPushed(t)
		to.faulty(func(_ int, w http.ResponseWriter, r *http.Request) bool { return withoutAPI(w, r) })
		sbom := imagetest.NewArtifact(t, "application/spdx+json", fmt.Sprint(n), &subject)
		want, registries = append(want, sbom.Digest()), append(registries, to)
		push(copying.PushImage{SaveImage: copying.SaveImage{Source: app}, Targets: []reference.Named{imagetest.Tagged(t, to.Address+"/team/app:1")}},
			copying.PushImage{SaveImage: copying.SaveImage{Source: sbom}})
	}
	add := []copying.PushImage{{
		SaveImage: copying.SaveImage{Source: registries[0].Ref(t, tag)},
		Targets:   []reference.Named{imagetest.Tagged(t, registries[1].Address+"/"+tag)},
	}}
	registries[1].faulty(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if kindOf(r) == "GET manifest by tag" {
			http.Error(w, "", http.StatusForbidden)
			return true
		}
		return withoutAPI(w, r)
	})
	_, err := copying.Push(t.Context(), imagetest.Trusting(t), add, pushing(t))
	require.ErrorContains(t, err, "adding to what", "who may not read it replaces nothing")
	registries[1].faulty(func(_ int, w http.ResponseWriter, r *http.Request) bool { return withoutAPI(w, r) })
	for range 2 {
		results, err := copying.Push(t.Context(), imagetest.Trusting(t), add, pushing(t))
		require.NoError(t, err)
		require.Len(t, results[0].Warnings, 1)
		assert.Contains(t, results[0].Warnings[0], "is a list of referrers that was there")
		var index imgspecv1.Index
		require.NoError(t, json.Unmarshal(registries[1].get(t, strings.ReplaceAll(tag, ":", "/manifests/")), &index))
		require.Len(t, index.Manifests, 2)
		assert.ElementsMatch(t, want, []digest.Digest{index.Manifests[0].Digest, index.Manifests[1].Digest})
	}
}

// A signature goes where the image goes, under any name.
func TestPushDigestTags(t *testing.T) {
	to := newPushed(t)
	img := imagetest.NewImage(t, "it")
	key, _ := imagetest.NewKey(t)
	signature := imagetest.NewSignature(t, key, "old.example.com/name", img.Digest())
	tag := "sha256-" + img.Digest().Encoded() + ".sig"
	results, err := copying.Push(t.Context(), imagetest.Trusting(t), []copying.PushImage{
		{SaveImage: copying.SaveImage{Source: signature}, Targets: []reference.Named{imagetest.Tagged(t, to.Address+"/name:"+tag)}},
		{SaveImage: copying.SaveImage{Source: img}, Targets: []reference.Named{imagetest.Tagged(t, to.Address+"/new:1")}},
	}, pushing(t))
	require.NoError(t, err)
	require.Len(t, results[0].Targets, 2)
	for _, target := range results[0].Targets {
		to.checkThere(t, target, signature.Digest())
	}
}

// An image without a manifest gets the same one every time, of compressed layers.
func TestPushMakesManifests(t *testing.T) {
	for compression, types := range map[copying.LayerCompression][2]string{
		copying.GzipLayers: {"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"},
		copying.ZstdLayers: {imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageLayerZstd},
	} {
		var digests []digest.Digest
		for range 2 {
			to := newPushed(t)
			options := pushing(t)
			options.Compression = compression
			images := to.archived(t, "../../testdata/archives/podman-multi.tar")
			results, err := copying.Push(t.Context(), imagetest.Trusting(t), images, options)
			require.NoError(t, err)
			for _, r := range results {
				digests = append(digests, r.Digest)
				for _, target := range r.Targets {
					to.checkThere(t, target, r.Digest)
				}
			}
			var m imgspecv1.Manifest
			require.NoError(t, json.Unmarshal(to.get(t, "tiny/one/manifests/v1"), &m))
			assert.Equal(t, types[0], m.MediaType)
			assert.Equal(t, types[1], m.Layers[0].MediaType)
			// A client that pulls it verifies it against its config.
			back := filepath.Join(t.TempDir(), "back.tar")
			ref, err := dockerarchive.ParseReference(back)
			require.NoError(t, err)
			require.NoError(t, imagetest.Copy(t, ref, to.Ref(t, "tiny/one:v1"), &copy.Options{SourceCtx: imagetest.RegistryContext(t), DestinationCtx: imagetest.Isolated()}))

			to.forget()
			results, err = copying.Push(t.Context(), imagetest.Trusting(t), images, options)
			require.NoError(t, err)
			assert.True(t, results[0].UpToDate)
			assert.Empty(t, to.seen().uploads)
			assert.Empty(t, imagetest.Leftovers(t, options.SourceCtx.BigFilesTemporaryDir))
		}
		assert.Equal(t, digests[:len(digests)/2], digests[len(digests)/2:])
	}
}

func TestPushDryRun(t *testing.T) {
	to := newPushed(t)
	options := pushing(t)
	options.DryRun = true
	images := to.archived(t, saveSigned(t))
	results, err := copying.Push(t.Context(), imagetest.Trusting(t), images, options)
	require.NoError(t, err)
	assert.Empty(t, to.seen().uploads)
	assert.Zero(t, to.seen().manifests)
	expected := int64(0)
	for _, r := range results {
		expected += r.Sent
	}
	results, err = copying.Push(t.Context(), imagetest.Trusting(t), images, pushing(t))
	require.NoError(t, err)
	for _, r := range results {
		expected -= r.Sent
	}
	assert.Zero(t, expected)
}

// An image that cannot be pushed stops the others, unless KeepGoing is set.
func TestPushKeepsGoing(t *testing.T) {
	file := saveSigned(t)
	for _, keepGoing := range []bool{false, true} {
		to := newPushed(t)
		to.faulty(func(_ int, w http.ResponseWriter, r *http.Request) bool {
			refused := r.Method != http.MethodGet && strings.HasPrefix(r.URL.Path, "/v2/multi/")
			if refused {
				w.WriteHeader(http.StatusForbidden)
			}
			return refused
		})
		options := pushing(t)
		options.KeepGoing, options.Jobs = keepGoing, 1
		results, err := copying.Push(t.Context(), imagetest.Trusting(t), to.archived(t, file), options)
		var failed *errdef.ImageError
		if !keepGoing {
			require.ErrorAs(t, err, &failed)
			continue
		}
		require.ErrorIs(t, err, copying.ErrNotAllPushed)
		require.ErrorAs(t, results[1].Err, &failed)
		for _, n := range []int{0, 2, 3} {
			require.NoError(t, results[n].Err)
			to.checkThere(t, results[n].Targets[0], results[n].Digest)
		}
	}
}

// A damaged blob does not get a name in the registry, and the error says which it is.
func TestPushVerifies(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Gzip(1, 3000))
	img.Disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
		if d == img.Layers[0].Digest {
			return io.MultiReader(strings.NewReader("x"), io.LimitReader(r, int64(len(img.Layers[0].Blob)-1)))
		}
		return r
	}
	to := newPushed(t)
	_, err := copying.Push(t.Context(), imagetest.Trusting(t), []copying.PushImage{
		{SaveImage: copying.SaveImage{Source: img}, Targets: []reference.Named{imagetest.Tagged(t, to.Address+"/app:1")}},
	}, pushing(t))
	var mismatch *errdef.MismatchError
	require.ErrorAs(t, err, &mismatch)
	assert.Equal(t, img.Layers[0].Digest, mismatch.Want)
	assert.Nil(t, to.get(t, "app/blobs/"+img.Layers[0].Digest.String()))
	assert.Zero(t, to.seen().manifests)
}

func TestPushIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	img := imagetest.NewImage(t, "it", imagetest.Gzip(1, 300_000))
	img.Disturb = func(_ context.Context, _ digest.Digest, r io.Reader) io.Reader {
		cancel(errTest)
		return r
	}
	to := newPushed(t)
	_, err := copying.Push(ctx, imagetest.Trusting(t), []copying.PushImage{
		{SaveImage: copying.SaveImage{Source: img}, Targets: []reference.Named{imagetest.Tagged(t, to.Address+"/app:1")}},
	}, pushing(t))
	require.Error(t, err)
	assert.Nil(t, to.get(t, "app/manifests/1"))
}

func TestPushRefuses(t *testing.T) {
	one, two := imagetest.NewImage(t, "one"), imagetest.NewImage(t, "two")
	to := newPushed(t)
	at := func(name string) []reference.Named {
		return []reference.Named{imagetest.Tagged(t, to.Address+"/"+name)}
	}
	bare, err := reference.ParseNormalizedNamed(to.Address + "/app")
	require.NoError(t, err)
	image := func(src types.ImageReference, targets ...reference.Named) copying.PushImage {
		return copying.PushImage{SaveImage: copying.SaveImage{Source: src}, Targets: targets}
	}
	for want, images := range map[string][]copying.PushImage{
		"none is given":       nil,
		"has no name":         {image(one)},
		"a tag or a digest":   {image(one, bare)},
		"two images would be": {image(one, at("app:1")...), image(two, at("app:1")...)},
	} {
		_, err := copying.Push(t.Context(), imagetest.Trusting(t), images, pushing(t))
		require.ErrorContains(t, err, want)
	}
	_, err = copying.Push(t.Context(), imagetest.Rejecting(t), []copying.PushImage{image(one, at("app:1")...)}, pushing(t))
	require.ErrorContains(t, err, "policy")
	options := pushing(t)
	options.Planned = func([]copying.PushResult) error { return errTest }
	_, err = copying.Push(t.Context(), imagetest.Trusting(t), []copying.PushImage{image(one, at("app:1")...)}, options)
	require.ErrorIs(t, err, errTest)
	assert.Zero(t, to.seen().requests)
}

// The error for an index with missing manifests names them.
func TestPushPartialIndex(t *testing.T) {
	to := newPushed(t)
	_, err := copying.Push(t.Context(), imagetest.Trusting(t), to.archived(t, "../../testdata/cases/partial-arm64.tar"), pushing(t))
	var missing *errdef.MissingError
	require.ErrorAs(t, err, &missing)
	assert.Len(t, missing.Missing, 2)
	require.ErrorContains(t, err, "uploading manifest")
	options := pushing(t)
	options.Platforms = []imgspecv1.Platform{{OS: "linux", Architecture: "arm64"}}
	results, err := copying.Push(t.Context(), imagetest.Trusting(t), to.archived(t, "../../testdata/cases/partial-arm64.tar"), options)
	require.NoError(t, err)
	to.checkThere(t, results[0].Targets[0], results[0].Digest)
}

func TestPushTarget(t *testing.T) {
	d := "sha256:" + strings.Repeat("a", 64)
	for _, c := range []struct {
		registry, name string
		keepHost       bool
		want           string
	}{
		{"r:5000", "registry.example.com/team/app:1", false, "r:5000/team/app:1"},
		{"r:5000/p/q", "registry.example.com/team/app:1", false, "r:5000/p/q/team/app:1"},
		{"r:5000/p", "registry.example.com/team/app:1", true, "r:5000/p/registry.example.com/team/app:1"},
		{"r:5000", "localhost:5000/app:1", true, "r:5000/localhost-5000/app:1"},
		{"r:5000", "alpine", false, "r:5000/library/alpine:latest"},
		{"r:5000", "alpine@" + d, false, "r:5000/library/alpine@" + d},
		{"r:5000", "alpine:3@" + d, false, "r:5000/library/alpine:3"},
	} {
		named, err := reference.ParseNormalizedNamed(c.name)
		require.NoError(t, err)
		got, err := copying.PushTarget(c.registry, named, c.keepHost)
		require.NoError(t, err)
		assert.Equal(t, c.want, got.String())
	}
}

// Several images at once send no more than one after the other.
func TestPushSideBySide(t *testing.T) {
	to := newPushed(t)
	var images []copying.PushImage
	distinct := map[digest.Digest]int{}
	for n := range 20 {
		img := imagetest.NewImage(t, fmt.Sprint(n), imagetest.Gzip(uint64(n%4), 3000), imagetest.Gzip(uint64(n%7), 2000))
		for _, l := range img.Layers {
			distinct[l.Digest] = len(l.Blob)
		}
		distinct[img.ConfigDigest()] = len(img.Config)
		images = append(images, copying.PushImage{SaveImage: copying.SaveImage{Source: img}, Targets: []reference.Named{imagetest.Tagged(t, fmt.Sprintf("%s/app%d:%d", to.Address, n%5, n))}})
	}
	var read atomic.Int64
	options := pushing(t)
	options.Progress = func(e progress.Event) {
		if e.Kind == progress.Read {
			read.Add(int64(e.Bytes))
		}
	}
	_, err := copying.Push(t.Context(), imagetest.Trusting(t), images, options)
	require.NoError(t, err)
	want := int64(0)
	for _, size := range distinct {
		want += int64(size)
	}
	assert.Equal(t, want, read.Load())
	assert.Len(t, to.seen().uploads, len(distinct))
}
