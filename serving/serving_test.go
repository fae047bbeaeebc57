package serving_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/serving"
)

// For archives of all writers, everything that they have is served under every name, and
// matches its digest.
func TestAllThatArchivesHave(t *testing.T) {
	paths, err := filepath.Glob("../testdata/archives/*")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s := serve(t, path)
			a, err := archive.Open(t.Context(), path)
			require.NoError(t, err)
			defer a.Close()
			pulled := 0
			for _, img := range a.Images() {
				for _, name := range img.Names {
					repository, tag, _ := strings.Cut(strings.TrimPrefix(name, "127.0.0.1:5111/"), ":")
					pulled += s.pull(repository, tag)
				}
			}
			assert.NotZero(t, pulled)
			assert.NotContains(t, s.log.String(), "level=ERROR")
		})
	}
}

// pull reads an image and all that it leads to, and returns the number of blobs.
func (s *served) pull(repository, reference string) int {
	s.t.Helper()
	a := s.do(http.MethodGet, "/v2/"+repository+"/manifests/"+reference)
	require.Equal(s.t, http.StatusOK, a.StatusCode, "%s:%s: %s", repository, reference, a.body)
	d := digest.FromBytes(a.body)
	assert.Equal(s.t, d.String(), a.Header.Get("Docker-Content-Digest"))
	assert.Equal(s.t, a.body, s.get(repository+"/manifests/"+d.String()), "by its digest")
	var m struct {
		MediaType string
		Config    *v1.Descriptor
		Layers    []v1.Descriptor
		Manifests []v1.Descriptor
	}
	require.NoError(s.t, json.Unmarshal(a.body, &m))
	assert.Equal(s.t, m.MediaType, a.Header.Get("Content-Type"))
	n := 0
	for _, child := range m.Manifests {
		n += s.pull(repository, child.Digest.String())
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, b := range m.Layers {
		content := s.get(repository + "/blobs/" + b.Digest.String())
		assert.Equal(s.t, b.Digest, digest.FromBytes(content))
		assert.Len(s.t, content, int(b.Size))
		n++
	}
	return n
}

func TestNames(t *testing.T) {
	image := func(label string) *imagetest.Image { return imagetest.NewImage(t, label, imagetest.Plain(1, 100)) }
	app, other, alpine, port, unnamed, digested := image("app"), image("other"), image("alpine"), image("port"), image("unnamed"), image("digested")
	d := digested.Digest().String()
	l := newLayout(t).
		add(app, "registry.example.com/team/app:1", "registry.example.com/team/app:2").
		add(other, "Other.example.com/team/app:1", "Other.example.com/team/app:3").
		add(alpine, "docker.io/library/alpine:latest").
		add(port, "localhost:5000/team/port:1").
		add(unnamed).
		add(digested, "registry.example.com/team/digested@"+d)
	s := serve(t, l.write())
	for path, want := range map[string]*imagetest.Image{
		"team/app/manifests/1":                              app, // the first that has it
		"team/app/manifests/2":                              app,
		"team/app/manifests/3":                              other,
		"registry.example.com/team/app/manifests/1":         app,
		"other.example.com/team/app/manifests/1":            other,
		"team/app/manifests/1?ns=registry.example.com":      app,
		"team/app/manifests/1?ns=other.example.com":         other,
		"library/alpine/manifests/latest":                   alpine,
		"library/alpine/manifests/latest?ns=docker.io":      alpine,
		"alpine/manifests/latest":                           alpine,
		"docker.io/library/alpine/manifests/latest":         alpine,
		"team/port/manifests/1":                             port,
		"team/port/manifests/1?ns=localhost:5000":           port,
		"localhost:5000/team/port/manifests/1":              port,
		"localhost-5000/team/port/manifests/1":              port,
		"images/manifests/" + unnamed.Digest().String():     unnamed,
		"team/digested/manifests/" + d:                      digested,
		"registry.example.com/team/digested/manifests/" + d: digested,
	} {
		assert.Equal(t, string(want.Raw), string(s.get(path)), path)
	}
	for _, path := range []string{
		"team/app/manifests/4",
		"registry.example.com/team/app/manifests/3",
		"team/app/manifests/3?ns=registry.example.com",
		"team/app/manifests/1?ns=third.example.com",
		"images/manifests/latest", // There are others.
		"team/digested/manifests/latest",
		"team/app/manifests/" + alpine.Digest().String(), // of another repository
		"team/app/blobs/" + alpine.ConfigDigest().String(),
	} {
		assert.Equal(t, http.StatusNotFound, s.status(path), path)
	}
	var catalog struct{ Repositories []string }
	require.NoError(t, json.Unmarshal(s.get("_catalog"), &catalog))
	assert.Equal(t, []string{"images", "library/alpine", "other.example.com/team/app", "team/app", "team/digested", "team/port"}, catalog.Repositories)
}

// The only image in its archive, and one that has no more than a tag, is found by the
// name of the file.
func TestNamesOfFiles(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 100))
	s := serve(t, newLayout(t).add(img).write())
	assert.Equal(t, img.Raw, s.get("images/manifests/latest"))
	tagged := newLayout(t)
	tagged.blobs(img)
	d := img.Descriptor()
	d.Annotations = map[string]string{v1.AnnotationRefName: "v1"}
	tagged.index.Manifests = []v1.Descriptor{d}
	s = serve(t, tagged.write())
	assert.Equal(t, img.Raw, s.get("images/manifests/v1"))
	assert.Equal(t, http.StatusNotFound, s.status("library/v1/manifests/latest"))
	s = serve(t, "../testdata/cases/free-ref-name.tar")
	assert.NotZero(t, s.pull("free-ref-name", "V1.0_RC"))
}

// Images that an archive has under one name for different platforms are an index.
func TestNamesOfPlatforms(t *testing.T) {
	s := serve(t, "../testdata/cases/same-name-per-arch.tar")
	assert.Equal(t, 6, s.pull("library/multiarch", "latest"))
	assert.Equal(t, 6, s.pull("multiarch", "latest"))
	first := s.get("docker.io/library/multiarch/manifests/latest")
	var index v1.Index
	require.NoError(t, json.Unmarshal(first, &index))
	assert.Equal(t, "arm64", index.Manifests[1].Platform.Architecture)
	assert.Equal(t, first, serve(t, "../testdata/cases/same-name-per-arch.tar").get("multiarch/manifests/latest"))
	assert.JSONEq(t, `{"repositories":["library/multiarch"]}`, string(s.get("_catalog")))
	one, two := imagetest.NewImage(t, "one"), imagetest.NewImage(t, "two")
	s = serve(t, newLayout(t).add(one, "team/app:1").add(two, "team/app:1").write())
	assert.Equal(t, one.Raw, s.get("team/app/manifests/1"), "nobody can choose")
}

func TestErrors(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 100))
	s := serve(t, newLayout(t).add(img, "team/app:1").write())
	missing := digest.FromString("missing").String()
	for _, c := range []struct {
		method, target string
		status         int
		code           string
	}{
		{"GET", "/", 404, "NAME_UNKNOWN"},
		{"GET", "/v1/", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/team/app", 404, "UNSUPPORTED"},
		{"GET", "/v2/team/app/tags", 404, "UNSUPPORTED"},
		{"GET", "/v2/team/app/tags/other", 404, "UNSUPPORTED"},
		{"GET", "/v2/team/app/nonsense/1", 404, "UNSUPPORTED"},
		{"GET", "/v2/team/none/manifests/1", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/team/none/tags/list", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/team/app/manifests/2", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/team/app/manifests/..", 400, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/team/app/manifests/" + missing, 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/team/app/manifests/sha256:short", 400, "DIGEST_INVALID"},
		{"GET", "/v2/team/app/blobs/" + missing, 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/team/app/blobs/1", 400, "DIGEST_INVALID"},
		{"GET", "/v2/team/app/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", 400, "DIGEST_INVALID"},
		{"GET", "/v2/team/app/referrers/1", 400, "DIGEST_INVALID"},
		{"GET", "/v2/../../etc/manifests/passwd", 400, "NAME_INVALID"},
		{"GET", "/v2/team/..%2f..%2fetc/manifests/passwd", 400, "NAME_INVALID"},
		{"GET", "/v2/Team/App/manifests/1", 400, "NAME_INVALID"},
		{"GET", "/v2//manifests/1", 400, "NAME_INVALID"},
		{"GET", "/v2/" + strings.Repeat("a", 2000) + "/manifests/1", 400, "NAME_INVALID"},
		{"GET", "/v2/team/app/tags/list?n=-1", 400, "PAGINATION_NUMBER_INVALID"},
		{"GET", "/v2/team/app/tags/list?n=many", 400, "PAGINATION_NUMBER_INVALID"},
		{"PUT", "/v2/team/app/manifests/1", 405, "UNSUPPORTED"},
		{"POST", "/v2/team/app/blobs/uploads/", 405, "UNSUPPORTED"},
		{"PATCH", "/v2/team/app/blobs/uploads/1", 405, "UNSUPPORTED"},
		{"DELETE", "/v2/team/app/manifests/" + img.Digest().String(), 405, "UNSUPPORTED"},
		{"PROPFIND", "/v2/", 405, "UNSUPPORTED"},
	} {
		a := s.do(c.method, c.target)
		assert.Equal(t, c.status, a.StatusCode, "%s %s: %s", c.method, c.target, a.body)
		assert.Equal(t, c.code, a.code(t), "%s %s", c.method, c.target)
		assert.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
		assert.Equal(t, "application/json", a.Header.Get("Content-Type"))
		if c.status == http.StatusMethodNotAllowed {
			assert.Equal(t, "GET, HEAD", a.Header.Get("Allow"))
			assert.Contains(t, string(a.body), "read-only")
		}
	}
	a := s.do("HEAD", "/v2/team/app/manifests/2")
	assert.Equal(t, http.StatusNotFound, a.StatusCode)
	assert.Empty(t, a.body)
	a = s.do("GET", "/v2/")
	assert.Equal(t, http.StatusOK, a.StatusCode)
	assert.Equal(t, "registry/2.0", a.Header.Get("Docker-Distribution-Api-Version"))
}

func TestLists(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 100))
	s := serve(t, newLayout(t).add(img, "team/app:c", "team/app:a", "team/app:b", "team/zoo:1").write())
	for target, want := range map[string]struct {
		list []string
		link string
	}{
		"":               {[]string{"a", "b", "c"}, ""},
		"?n=2":           {[]string{"a", "b"}, `</v2/team/app/tags/list?last=b&n=2>; rel="next"`},
		"?n=2&last=b":    {[]string{"c"}, ""},
		"?n=3":           {[]string{"a", "b", "c"}, ""},
		"?n=0":           {[]string{}, ""},
		"?last=aa":       {[]string{"b", "c"}, ""},
		"?last=z":        {[]string{}, ""},
		"?n=99999999999": {[]string{"a", "b", "c"}, ""},
	} {
		a := s.do("GET", "/v2/team/app/tags/list"+target)
		var got struct {
			Name string
			Tags []string
		}
		require.NoError(t, json.Unmarshal(a.body, &got), "%s", a.body)
		assert.Equal(t, "team/app", got.Name)
		assert.Equal(t, want.list, got.Tags, target)
		assert.Equal(t, want.link, a.Header.Get("Link"), target)
	}
	a := s.do("GET", "/v2/_catalog?n=1")
	assert.JSONEq(t, `{"repositories":["team/app"]}`, string(a.body))
	assert.Equal(t, `</v2/_catalog?last=team%2Fapp&n=1>; rel="next"`, a.Header.Get("Link"))
}

func TestReferrers(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 100))
	subject := img.Descriptor()
	sbom := imagetest.NewArtifact(t, "application/spdx+json", "sbom", &subject)
	about := sbom.Descriptor()
	proof := imagetest.NewArtifact(t, "application/vnd.example.proof", "proof", &about)
	s := serve(t, newLayout(t).add(img, "team/app:1").add(sbom).add(proof).add(imagetest.NewImage(t, "other"), "other:1").write())
	referrers := func(target string) (types []string, filtered string) {
		a := s.do("GET", "/v2/"+target)
		require.Equal(t, http.StatusOK, a.StatusCode, "%s", a.body)
		assert.Equal(t, v1.MediaTypeImageIndex, a.Header.Get("Content-Type"))
		var index v1.Index
		require.NoError(t, json.Unmarshal(a.body, &index))
		assert.Contains(t, string(a.body), `"manifests":[`)
		for _, m := range index.Manifests {
			types = append(types, m.ArtifactType)
		}
		return types, a.Header.Get("OCI-Filters-Applied")
	}
	for _, c := range []struct {
		target   string
		types    []string
		filtered string
	}{
		{"team/app/referrers/" + img.Digest().String(), []string{"application/spdx+json"}, ""},
		{"team/app/referrers/" + img.Digest().String() + "?artifactType=application/spdx%2Bjson", []string{"application/spdx+json"}, "artifactType"},
		{"team/app/referrers/" + img.Digest().String() + "?artifactType=a/b", nil, "artifactType"},
		{"team/app/referrers/" + sbom.Digest().String(), []string{"application/vnd.example.proof"}, ""},
		{"team/app/referrers/" + digest.FromString("missing").String(), nil, ""},
		{"other/referrers/" + img.Digest().String(), nil, ""},
	} {
		types, filtered := referrers(c.target)
		assert.Equal(t, c.types, types, c.target)
		assert.Equal(t, c.filtered, filtered, c.target)
	}
	assert.Equal(t, proof.Raw, s.get("team/app/manifests/"+proof.Digest().String()))
	assert.Equal(t, proof.Layers[0].Blob, s.get("team/app/blobs/"+proof.Layers[0].Digest.String()))
}

// A referrer with the digest of an image in its tag is found with the image, under any
// name that it had when both were saved.
func TestDigestTags(t *testing.T) {
	img, other := imagetest.NewImage(t, "it"), imagetest.NewImage(t, "other")
	key, _ := imagetest.NewKey(t)
	signature := imagetest.NewSignature(t, key, "old.example.com/name", img.Digest())
	tag := "sha256-" + img.Digest().Encoded() + ".sig"
	s := serve(t, newLayout(t).add(img, "team/app:1").add(signature, "old.example.com/name:"+tag).add(other, "team/other:1").write())
	for _, repository := range []string{"team/app", "name"} {
		assert.Equal(t, 2, s.pull(repository, tag), repository)
	}
	assert.Equal(t, http.StatusNotFound, s.status("team/other/manifests/"+tag))
	assert.Equal(t, http.StatusNotFound, s.status("team/other/blobs/"+signature.Layers[0].Digest.String()))
}

// If an archive lacks a platform or a layer, errors say so for these only.
func TestPartial(t *testing.T) {
	s := serve(t, "../testdata/cases/partial-arm64.tar")
	var index v1.Index
	require.NoError(t, json.Unmarshal(s.get("library/m/manifests/v1"), &index))
	var statuses []int
	for _, m := range index.Manifests {
		statuses = append(statuses, s.status("library/m/manifests/"+m.Digest.String()))
	}
	assert.Contains(t, statuses, http.StatusOK)
	assert.Contains(t, statuses, http.StatusNotFound)
	assert.NotContains(t, statuses, http.StatusInternalServerError)
}

// One image that cannot be read does not keep others from being served.
func TestBrokenImage(t *testing.T) {
	s := serve(t, "../testdata/cases/one-of-two-broken.tar")
	assert.NotZero(t, s.pull("library/two", "v1"))
	assert.Equal(t, http.StatusNotFound, s.status("library/one/manifests/v1"))
	assert.Contains(t, s.log.String(), "image cannot be read")
}

func TestNewFails(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk.tar")
	require.NoError(t, os.WriteFile(junk, []byte("junk"), 0o600))
	for _, path := range []string{junk, filepath.Join(dir, "missing.tar")} {
		_, err := serving.New(t.Context(), []string{path}, serving.Options{})
		require.ErrorContains(t, err, path)
	}
	s := serve(t, dir) // The rest of the directory is served.
	images, archives := s.Images()
	assert.Zero(t, images+archives)
	assert.Contains(t, s.log.String(), "junk.tar")
}

// Images whose configs have wrong diff IDs, as those of the distribution specification's
// conformance suite, are of use to clients, alone and in an index.
func TestInconsistentImagesAreServed(t *testing.T) {
	for name, config := range map[string]any{
		"no diff IDs":    map[string]any{"os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{}}},
		"a wrong number": map[string]any{"os": "linux", "rootfs": map[string]any{"diff_ids": []digest.Digest{digest.FromString("a"), digest.FromString("b")}}},
		"of another":     map[string]any{"os": "linux", "rootfs": map[string]any{"diff_ids": []digest.Digest{digest.FromString("a")}}},
		"no digest":      map[string]any{"os": "linux", "rootfs": map[string]any{"diff_ids": []string{"x"}}},
		"no config":      []string{"x"},
	} {
		t.Run(name, func(t *testing.T) {
			m := imagetest.NewImageOfConfig(t, config, imagetest.Plain(1, 1000))
			index, err := json.Marshal(v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{m.Descriptor()}})
			require.NoError(t, err)
			l := newLayout(t).add(m, "example.com/app:1")
			d := v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: digest.FromBytes(index), Size: int64(len(index)), Annotations: map[string]string{"io.containerd.image.name": "example.com/app:index"}}
			l.file(blobPath(d.Digest), index)
			l.index.Manifests = append(l.index.Manifests, d)
			s := serve(t, l.write())
			assert.Equal(t, 2, s.pull("app", "1"))
			assert.Equal(t, 2, s.pull("app", "index"))
		})
	}
}
