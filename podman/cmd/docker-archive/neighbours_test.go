package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// relisted returns an archive with another index.json.
func relisted(t *testing.T, path string, change func(index *v1.Index)) string {
	t.Helper()
	return rewritten(t, path, func(name string, data []byte) ([]byte, bool) {
		if name != v1.ImageIndexFile {
			return data, name != "manifest.json" && name != "repositories"
		}
		var index v1.Index
		require.NoError(t, json.Unmarshal(data, &index))
		change(&index)
		data, err := json.Marshal(index)
		require.NoError(t, err)
		return data, true
	})
}

func infos(t *testing.T, path string) []dockerarchive.ImageInfo {
	t.Helper()
	out, _ := succeeds(t, "list", "--json", path)
	var all []dockerarchive.ImageInfo
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	return all
}

// oras lists all that it has copied: the parts of an index and SBOMs are no images, and go
// where the index goes, and with it.
func TestLayoutsOfOras(t *testing.T) {
	dir := t.TempDir()
	whole, sbom := filepath.Join(dir, "whole.tar"), filepath.Join(dir, "sbom.tar")
	succeeds(t, "save", "-q", "--all-platforms", "-o", whole, images+"multi")
	files, _ := imagetest.Files(t, imagetest.ReadFile(t, whole))
	var top, parts v1.Index
	require.NoError(t, json.Unmarshal(files[v1.ImageIndexFile], &top))
	require.NoError(t, json.Unmarshal(files["blobs/sha256/"+top.Manifests[0].Digest.Encoded()], &parts))
	reg := imagetest.NewRegistry(t)
	about := imagetest.NewArtifact(t, spdx, `{"spdx":"1"}`, &top.Manifests[0])
	reg.Push(t, "m@"+about.Digest().String(), about)
	succeeds(t, "save", "-q", "--tls-verify=false", "-o", sbom, reg.Address+"/m@"+about.Digest().String())
	succeeds(t, "add", "-q", whole, "docker-archive:"+sbom)
	path := relisted(t, whole, func(index *v1.Index) {
		index.Manifests[0].Annotations = map[string]string{v1.AnnotationRefName: "1"}
		index.Manifests[1].Annotations = nil
		index.Manifests = append(index.Manifests, parts.Manifests...)
	})
	all := infos(t, path)
	require.Len(t, all, 2)
	assert.Equal(t, []string{"1"}, all[0].Names)
	assert.True(t, all[1].IsReferrer())
	succeeds(t, "verify", path)

	out, stderr := succeeds(t, "push", "--tls-verify=false", path, reg.Address+"/whole")
	name := strings.Split(filepath.Base(path), ".")[0]
	assert.Contains(t, out, reg.Address+"/whole/"+name+":1 "+top.Manifests[0].Digest.String())
	assert.Contains(t, out, reg.Address+"/whole/"+name+"@"+about.Digest().String())
	assert.NotContains(t, out+stderr, "image-0")
	out, _ = succeeds(t, "push", "--tls-verify=false", path+":1", reg.Address+"/whole")
	assert.Contains(t, out, reg.Address+"/whole/"+name+":1 "+top.Manifests[0].Digest.String()+" (up to date)")

	for _, args := range [][]string{nil, {"--keep-referrers"}} {
		changed := imagetest.WriteFile(t, imagetest.ReadFile(t, path))
		succeeds(t, "add", "-q", changed, images+"two")
		succeeds(t, append([]string{"remove", changed, "1"}, args...)...)
		assert.Len(t, infos(t, changed), 1+len(args))
	}
}

// cosign knows its signatures by an annotation only.
func TestLayoutsOfCosign(t *testing.T) {
	s := newSignedImage(t)
	public := imagetest.WriteFile(t, s.public)
	saved := s.save(t, "--referrers="+"application/vnd.dev.cosign.simplesigning.v1+json")
	kinds := func(path string) (kinds []string) {
		files, _ := imagetest.Files(t, imagetest.ReadFile(t, path))
		var index v1.Index
		require.NoError(t, json.Unmarshal(files[v1.ImageIndexFile], &index))
		for _, d := range index.Manifests {
			kinds = append(kinds, strings.TrimPrefix(d.Annotations["kind"], "dev.cosignproject.cosign/"))
		}
		return kinds
	}
	assert.Equal(t, []string{"image", "sigs"}, kinds(saved))
	path := relisted(t, saved, func(index *v1.Index) {
		for n := range index.Manifests {
			index.Manifests[n].Platform = nil
			index.Manifests[n].Annotations = map[string]string{"kind": index.Manifests[n].Annotations["kind"]}
		}
	})
	all := infos(t, path)
	require.Len(t, all, 2)
	assert.Empty(t, all[0].Names)
	assert.Equal(t, s.image.Digest(), all[1].Subject)
	assert.Equal(t, []string{s.tag()}, all[1].Names)
	succeeds(t, "verify", "--key", public, "--signed-as", s.Address+"/app", path)
	_, _, status := command(t, "verify", "--key", public, "--signed-as", s.Address+"/other", path)
	assert.Equal(t, exitFailure, status)

	out, _ := succeeds(t, "push", "--tls-verify=false", path, s.Address+"/pushed")
	name := s.Address + "/pushed/" + strings.Split(filepath.Base(path), ".")[0]
	assert.Contains(t, out, name+":image-0 "+s.image.Digest().String())
	assert.Contains(t, out, name+":"+s.tag()+" "+s.signature.Digest().String())
	assert.Equal(t, 2, strings.Count(out, "\n"))

	again := filepath.Join(t.TempDir(), "again.tar")
	succeeds(t, "save", "-q", "-o", again, "docker-archive:"+path)
	assert.Equal(t, []string{"image", "sigs"}, kinds(again))
	succeeds(t, "verify", "--key", public, "--signed-as", s.Address+"/app", again)
	succeeds(t, "add", "-q", again, images+"two")
	succeeds(t, "remove", again, "@1")
	assert.Len(t, infos(t, again), 2)

	// cosign loads one image: an archive of two does not get the kinds.
	two := filepath.Join(t.TempDir(), "two.tar")
	succeeds(t, "save", "-q", "--tls-verify=false", "--referrers", "-o", two, s.Address+"/app:1", "oci:../../../testdata/oci:two")
	assert.Equal(t, []string{"", "", "", ""}, kinds(two))
}

// An archive that is not for Docker has digest tags where oras and regctl look for tags, and
// a descriptor of one platform says which in every one.
func TestLayoutForNeighbours(t *testing.T) {
	s := newSignedImage(t)
	for args, tags := range map[string]int{"--layout=oci": 1, "--layout=image": 0} {
		files, _ := imagetest.Files(t, imagetest.ReadFile(t, s.save(t, "--referrers", args)))
		var index v1.Index
		require.NoError(t, json.Unmarshal(files[v1.ImageIndexFile], &index))
		assert.Equal(t, &v1.Platform{OS: "linux", Architecture: "amd64"}, index.Manifests[0].Platform)
		for _, d := range index.Manifests[1:] {
			assert.Nil(t, d.Platform)
			if d.Annotations[v1.AnnotationRefName] == s.tag() {
				tags--
			}
		}
		assert.Zero(t, tags, args)
	}
}

// unlistedByCosign returns an archive like those of cosign 3: index.json lists an image without a
// name, and something about it is only there.
func unlistedByCosign(t *testing.T, reg *imagetest.Registry, about func(image *v1.Descriptor) *imagetest.Image) (path string, image, other *imagetest.Image) {
	t.Helper()
	image = imagetest.NewImage(t, "signed", imagetest.Gzip(1, 3000))
	subject := image.Descriptor()
	other = about(&subject)
	reg.Push(t, "app:1", image)
	reg.Push(t, "app@"+other.Digest().String(), other)
	path = filepath.Join(t.TempDir(), "both.tar")
	succeeds(t, "save", "-q", "--tls-verify=false", "-o", path, reg.Address+"/app:1", reg.Address+"/app@"+other.Digest().String())
	return relisted(t, path, func(index *v1.Index) {
		index.Manifests = index.Manifests[:1]
		index.Manifests[0].Annotations = map[string]string{"kind": "dev.cosignproject.cosign/image"}
	}), image, other
}

// cosign 3 saves bundles without listing them.
func TestUnlistedByCosign(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	bundle := func(image *v1.Descriptor) *imagetest.Image {
		return imagetest.NewArtifact(t, "application/vnd.dev.sigstore.bundle.v0.3+json", `{"a":"bundle"}`, image)
	}
	path, image, about := unlistedByCosign(t, reg, bundle)
	isThere := func(path string) {
		all := infos(t, path)
		require.Greater(t, len(all), 1)
		assert.Equal(t, about.Digest(), all[1].Digest)
		assert.Equal(t, []digest.Digest{image.Digest()}, all[1].Subjects)
	}
	isThere(path)
	out, _ := succeeds(t, "verify", path)
	assert.NotContains(t, out, "belong to no image")

	// Archives saved from it have both, and both are pushed where the image gets a name.
	dir := t.TempDir()
	unpack(t, path, dir)
	for n, source := range []string{dir, "oci:" + dir, "docker-archive:" + path} {
		saved := filepath.Join(t.TempDir(), "saved.tar")
		succeeds(t, "save", "-q", "-o", saved, source)
		isThere(saved)
		pushed := reg.Address + "/" + strings.Repeat("x", n+1)
		out, _ = succeeds(t, "push", "--tls-verify=false", saved, pushed+":1")
		assert.Contains(t, out, pushed+":1 "+image.Digest().String())
		assert.Contains(t, out, pushed+"@"+about.Digest().String())
		assert.Equal(t, 2, strings.Count(out, "\n"))
	}
	// An archive that cosign alone does not list any more lists the bundle as well.
	succeeds(t, "add", "-q", path, images+"two")
	isThere(path)
	assert.Len(t, infos(t, path), 3)
}

// An unlisted manifest signs nothing, unless it is a signature.
func TestUnlistedImageIsNotSigned(t *testing.T) {
	s := newSignedImage(t)
	path, _, _ := unlistedByCosign(t, s.Registry, func(image *v1.Descriptor) *imagetest.Image {
		other := imagetest.NewImage(t, "runnable", imagetest.Gzip(2, 3000))
		other.Manifest.Subject = image
		other.Encode(t)
		return other
	})
	out, _, status := command(t, "verify", "--key", imagetest.WriteFile(t, s.public), path)
	assert.Equal(t, exitFailure, status)
	assert.Equal(t, 2, strings.Count(out, "the archive has no signature of"), out)
}

// A hint says how to name the expected image, if only the signature names it.
func TestNamelessIsHinted(t *testing.T) {
	s := newSignedImage(t)
	path := relisted(t, s.save(t, "--referrers"), func(index *v1.Index) {
		for n := range index.Manifests {
			index.Manifests[n].Annotations = map[string]string{"kind": index.Manifests[n].Annotations["kind"]}
		}
	})
	_, stderr, status := command(t, "verify", "--key", imagetest.WriteFile(t, s.public), path)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, stderr, "hint: if you expect the image of "+s.Address+"/app: --signed-as "+s.Address+"/app\n")
}
