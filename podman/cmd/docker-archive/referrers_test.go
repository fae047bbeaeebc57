package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

const spdx = "application/spdx+json"

// signedImage is an image in a registry with its referrers.
type signedImage struct {
	*imagetest.Registry
	image, sbom, signature *imagetest.Image
	public                 []byte
}

func newSignedImage(t *testing.T) signedImage {
	t.Helper()
	s := signedImage{Registry: imagetest.NewRegistry(t), image: imagetest.NewImage(t, "signed", imagetest.Gzip(1, 3000))}
	key, public := imagetest.NewKey(t)
	s.public = public
	subject := s.image.Descriptor()
	s.sbom = imagetest.NewArtifact(t, spdx, `{"spdx":"1"}`, &subject)
	s.signature = imagetest.NewSignature(t, key, s.Address+"/app", s.image.Digest())
	s.Push(t, "app:1", s.image)
	s.Push(t, "app@"+s.sbom.Digest().String(), s.sbom)
	s.Push(t, "app:"+s.tag(), s.signature)
	return s
}

// tag is that of the signature.
func (s signedImage) tag() string { return "sha256-" + s.image.Digest().Encoded() + ".sig" }

// save saves the image with its referrers.
func (s signedImage) save(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saved.tar")
	args = append([]string{"save", "--tls-verify=false", "-o", path, s.Address + "/app:1"}, args...)
	_, stderr := succeeds(t, args...)
	assert.NotContains(t, stderr, "warning")
	return path
}

func TestReferrers(t *testing.T) {
	s := newSignedImage(t)
	path := s.save(t, "--referrers")
	out, _ := succeeds(t, "list", path)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 6)
	assert.Regexp(t, `^REFERENCE +PLATFORM +DIGEST +CREATED +LAYERS +SIZE$`, lines[0])
	assert.Regexp(t, `^`+s.Address+`/app:1 +linux/amd64 +sha256:`, lines[1])
	assert.Empty(t, lines[2])
	assert.Regexp(t, `^SUBJECT +TYPE +DIGEST +SIZE +REFERRER$`, lines[3])
	assert.Regexp(t, `^`+s.Address+`/app:1 +application/spdx\+json +sha256:\w{12} +\d+B +@1$`, lines[4])
	assert.Regexp(t, `^`+s.Address+`/app:1 +application/vnd.dev.cosign.simplesigning.v1\+json +sha256:\w{12} +\d+B +`+s.Address+`/app:`+s.tag()+`$`, lines[5])

	out, _ = succeeds(t, "list", "--json", path)
	var listed []dockerarchive.ImageInfo
	require.NoError(t, json.Unmarshal([]byte(out), &listed))
	require.Len(t, listed, 3)
	for n, artifactType := range []string{"", spdx, "application/vnd.dev.cosign.simplesigning.v1+json"} {
		assert.Equal(t, n > 0, listed[n].IsReferrer())
		assert.Equal(t, artifactType, listed[n].ArtifactType)
		if n > 0 {
			assert.Equal(t, s.image.Digest(), listed[n].Subject)
		}
	}
	out, _ = succeeds(t, "verify", path)
	assert.NotContains(t, out, "note")

	_, stderr := succeeds(t, "save", "--tls-verify=false", "--referrers", "--dry-run", s.Address+"/app:1")
	assert.Empty(t, stderr)
	out, _ = succeeds(t, "list", s.save(t, "--referrers="+spdx))
	assert.Contains(t, out, spdx)
	assert.NotContains(t, out, s.tag())
	out, _ = succeeds(t, "list", s.save(t))
	assert.NotContains(t, out, "REFERRER")
	_, stderr, status := command(t, "save", "--layout", "docker", "--referrers", s.Address+"/app:1")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, "--referrers")
}

func TestVerifySignatures(t *testing.T) {
	s := newSignedImage(t)
	path, keys := s.save(t, "--referrers"), t.TempDir()
	_, other := imagetest.NewKey(t)
	file := func(name string, content []byte) string {
		name = filepath.Join(keys, name)
		require.NoError(t, os.WriteFile(name, content, 0o600))
		return name
	}
	ours, others := file("ours.pub", s.public), file("other.pub", other)
	out, _ := succeeds(t, "verify", "--key", ours, path)
	assert.Contains(t, out, ": OK (")
	succeeds(t, "verify", "--key", others, "--key", ours, path)
	for _, c := range []struct {
		args   []string
		status int
		out    string
		stderr string
	}{
		{[]string{"--key", others, path}, exitFailure, s.Address + "/app:1: the archive has no valid signature of " + s.image.Digest().String() + ": ", "1 problem found"},
		{[]string{"--key", ours, "--signed-as", "example.com/app", path}, exitFailure, `not as "example.com/app"`, "1 problem found"},
		{[]string{"--key", ours, s.save(t)}, exitFailure, "the archive has no signature of", "1 problem found"},
		{[]string{"--key", filepath.Join(keys, "none"), path}, exitFailure, "", "reading the key"},
		{[]string{"--key", file("text", []byte("text")), path}, exitFailure, "", "no public key"},
		{[]string{"--signed-as", "example.com/app", path}, exitUsage, "", "needs --key"},
	} {
		out, stderr, status := command(t, append([]string{"verify"}, c.args...)...)
		assert.Equal(t, c.status, status, c.args)
		assert.Contains(t, out, c.out, c.args)
		assert.Contains(t, stderr, c.stderr, c.args)
	}
	renamed := s.save(t, "--referrers", "--name", "example.com/renamed:1")
	out, _, status := command(t, "verify", "--key", ours, renamed)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, out, `not as "example.com/renamed"`)
	succeeds(t, "verify", "--key", ours, "--signed-as", s.Address+"/app", renamed)
}

// A referrer without its subject is listed all the same, and noted.
func TestReferrerWithoutSubject(t *testing.T) {
	s := newSignedImage(t)
	for source, about := range map[string]digest.Digest{
		"app@" + s.sbom.Digest().String(): s.sbom.Digest(),
		"app:" + s.tag():                  s.signature.Digest(),
	} {
		path := filepath.Join(t.TempDir(), "referrer.tar")
		name := ""
		if !strings.Contains(source, "@") {
			name = ":" + s.Address + "/" + source
		}
		succeeds(t, "copy", "--src-tls-verify=false", "docker://"+s.Address+"/"+source, "image-archive:"+path+name)
		out, _ := succeeds(t, "list", path)
		assert.Contains(t, out, short(s.image.Digest())+" (not in the archive)")
		out, _ = succeeds(t, "verify", path)
		assert.Contains(t, out, "note: ")
		assert.Contains(t, out, about.String()+" is about "+s.image.Digest().String()+", which is not in the archive")
	}
}

// Artifacts travel unchanged, and are listed with their type.
func TestArtifacts(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	chart := imagetest.NewImageOfConfig(t, map[string]string{"name": "app", "version": "1.0.0"},
		imagetest.NewLayer(nil, imagetest.Gzipped([]byte("Chart.yaml")), "application/vnd.cncf.helm.chart.content.v1.tar+gzip"))
	chart.Manifest.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
	chart.Encode(t)
	wasm := imagetest.NewImageOfConfig(t, map[string]any{"architecture": "wasm", "os": "wasip2", "layerDigests": []string{}},
		imagetest.NewLayer(nil, []byte("\x00asm"), "application/wasm"))
	wasm.Manifest.Config.MediaType = "application/vnd.wasm.config.v0+json"
	wasm.Encode(t)
	model := imagetest.NewArtifact(t, "application/vnd.cncf.model.manifest.v1+json", "weights", nil)
	for name, c := range map[string]struct {
		image *imagetest.Image
		want  string
	}{
		"chart:1.0.0": {chart, "application/vnd.cncf.helm.config.v1+json"},
		"wasm:1":      {wasm, "application/vnd.wasm.config.v0+json"},
		"model:1":     {model, "application/vnd.cncf.model.manifest.v1+json"},
	} {
		reg.Push(t, name, c.image)
		saved, copied := filepath.Join(t.TempDir(), "saved.tar"), filepath.Join(t.TempDir(), "copied.tar")
		_, stderr := succeeds(t, "save", "--tls-verify=false", "-o", saved, reg.Address+"/"+name)
		assert.Contains(t, stderr, "it is left out of manifest.json")
		succeeds(t, "copy", "--preserve-digests", "image-archive:"+saved, "image-archive:"+copied+":"+reg.Address+"/"+name)
		assert.Equal(t, imagetest.Sum(imagetest.ReadFile(t, saved)), imagetest.Sum(imagetest.ReadFile(t, copied)))
		out, _ := succeeds(t, "list", copied)
		assert.Regexp(t, `(?m)^`+reg.Address+`/`+name+` +`+strings.ReplaceAll(c.want, "+", `\+`)+` +`+short(c.image.Digest()), out)
		succeeds(t, "verify", copied)
		succeeds(t, "copy", "--preserve-digests", "--dest-tls-verify=false", "image-archive:"+copied, "docker://"+reg.Address+"/again/"+name)
	}
}

// Signatures and SBOMs go with the image that they are about, unless they are to stay, which
// verify notes.
func TestRemoveReferrers(t *testing.T) {
	s := newSignedImage(t)
	s.Push(t, "other:2", imagetest.NewImage(t, "other", imagetest.Gzip(2, 300)))
	for _, c := range []struct {
		args []string
		left int
	}{{nil, 1}, {[]string{"--keep-referrers"}, 3}} {
		path := s.save(t, "--referrers", s.Address+"/other:2")
		_, stderr := succeeds(t, append([]string{"remove", path, s.Address + "/app:1"}, c.args...)...)
		out, _ := succeeds(t, "list", "--json", path)
		var listed []dockerarchive.ImageInfo
		require.NoError(t, json.Unmarshal([]byte(out), &listed))
		assert.Len(t, listed, c.left)
		out, _ = succeeds(t, "verify", path)
		if c.args == nil {
			assert.Equal(t, "docker-archive: removed 2 signatures or other referrers as well: they are about removed images only\n", stderr)
			assert.NotContains(t, out, "is about")
			continue
		}
		assert.Empty(t, stderr)
		for _, about := range []digest.Digest{s.sbom.Digest(), s.signature.Digest()} {
			assert.Contains(t, out, about.String()+" is about "+s.image.Digest().String()+", which is no image of the archive any more")
		}
	}

	// An image that loses its name to another goes as well.
	path := s.save(t, "--referrers")
	s.Push(t, "app:1", imagetest.NewImage(t, "next", imagetest.Gzip(3, 300)))
	said := logged(t)
	succeeds(t, "add", "--tls-verify=false", path, s.Address+"/app:1")
	assert.Contains(t, said(), "2 referrers are removed")
	out, _ := succeeds(t, "list", path)
	assert.NotContains(t, out, "REFERRER")
}
