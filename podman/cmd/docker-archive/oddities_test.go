package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/oddities"
)

// oddity is a registry with an oddity, and an archive to fill it from.
type oddity struct {
	oddities.Oddity
	*oddities.Server
	image   signedImage
	archive string // of the image with its referrers
	dir     string
}

// TestOddities runs every command that talks to registries against each that is odd, one after
// the other: they have the logger in common.
func TestOddities(t *testing.T) {
	image := newLargeSignedImage(t)
	path := image.save(t, "--referrers")
	for _, o := range oddities.All {
		t.Run(o.Name, func(t *testing.T) {
			odd := &oddity{Oddity: o, image: image, archive: path, dir: t.TempDir()}
			for name, test := range map[string]func(*testing.T){"reading": odd.testReading, "pushing": odd.testPushing, "chunks": odd.testChunks, "copying": odd.testCopying} {
				odd.Server = oddities.New(t, o) // It finds blobs in every repository.
				t.Run(name, test)
			}
		})
	}
}

// newLargeSignedImage is newSignedImage of layers that are sent in several chunks.
func newLargeSignedImage(t *testing.T) signedImage {
	t.Helper()
	s := signedImage{Registry: imagetest.NewRegistry(t), image: imagetest.NewImage(t, "signed", imagetest.Gzip(1, 300_000), imagetest.Gzip(2, 3000), imagetest.Gzip(3, 200_000))}
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

// does runs a command, which succeeds or fails as the oddity says, under a name.
func (o *oddity) does(t *testing.T, name string, args ...string) bool {
	t.Helper()
	out, errOut, status := command(t, args...)
	if want := o.Fails[name]; want != "" {
		assert.NotZero(t, status, args)
		assert.Contains(t, errOut, want, args)
		return false
	}
	assert.Zero(t, status, "%v\n%s%s", args, out, errOut)
	if want := o.Says[name]; want != "" {
		assert.Contains(t, errOut, want, args)
	} else {
		assert.NotContains(t, errOut, "warning", args)
	}
	return status == 0
}

// holds fails unless an archive has the image, and so many referrers.
func (o *oddity) holds(t *testing.T, path string, referrers int) {
	t.Helper()
	r, err := dockerarchive.NewReader(nil, path)
	require.NoError(t, err)
	defer r.Close()
	images, err := r.Images(t.Context())
	require.NoError(t, err)
	about := 0
	for _, img := range images {
		if img.Subject != "" {
			about++
		} else {
			assert.Equal(t, o.image.image.Digest(), img.Digest)
		}
	}
	assert.Equal(t, referrers, about, "referrers")
	succeeds(t, "verify", path)
}

// has fails unless the registry has the image under a name.
func (o *oddity) has(t *testing.T, repository string) {
	t.Helper()
	paths := []string{"/manifests/1", "/blobs/" + o.image.image.ConfigDigest().String()}
	for _, l := range o.image.image.Layers {
		paths = append(paths, "/blobs/"+l.Digest.String())
	}
	for _, path := range paths {
		response, err := http.Head("http://" + o.Plain + "/v2/" + repository + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode, path)
	}
}

func (o *oddity) testReading(t *testing.T) {
	succeeds(t, "push", "-q", "--tls-verify=false", o.archive, o.Plain)
	name, fast := o.Odd+"/app:1", "--retry-delay=1ms"
	path := filepath.Join(o.dir, "saved.tar")
	if o.does(t, "save", "save", "-q", fast, "--tls-verify=false", "-o", path, name) {
		o.holds(t, path, 0)
	}
	path = filepath.Join(o.dir, "referrers.tar")
	if o.does(t, "save referrers", "save", "-q", fast, "--tls-verify=false", "--referrers", "-o", path, name) {
		want := 2
		if strings.Contains(o.Name, "lists nothing") || strings.Contains(o.Name, "digest tag") {
			want = 1 // Cosign's tag.
		} else if o.NoReferrers {
			want = 3 // And the tag that lists them.
		}
		o.holds(t, path, want)
	}
	o.does(t, "save tags", "save", "-q", fast, "--tls-verify=false", "--all-tags", "--dry-run", o.Odd+"/app")
	path = filepath.Join(o.dir, "grown.tar")
	succeeds(t, "save", "-q", "-o", path, images+"one")
	o.does(t, "add", "add", "-q", fast, "--tls-verify=false", path, name)
	succeeds(t, "verify", path)
	if out, errOut, status := command(t, "inspect", "--tls-verify=false", "--format", "{{.Digest}}", name); o.Fails["inspect"] == "" {
		assert.Zero(t, status, errOut)
		assert.Equal(t, o.image.image.Digest().String()+"\n", out)
	}
	o.does(t, "make", "make", "-q", "--tls-verify=false", "--base", name, "--label", "a=b", "-o", filepath.Join(o.dir, "made.tar"))
	path = filepath.Join(o.dir, "copied.tar")
	if o.does(t, "copy from", "copy", "-q", fast, "--src-tls-verify=false", "docker://"+name, "image-archive:"+path+":app:1") {
		o.holds(t, path, 0)
	}
}

func (o *oddity) testPushing(t *testing.T) {
	push := []string{"push", "--retry-delay=1ms", "--tls-verify=false", "--json", o.archive}
	pushed := func(args ...string) []pushedImageJSON {
		t.Helper()
		out, _, _ := command(t, append(push, args...)...)
		var results pushedJSON
		require.NoError(t, json.Unmarshal([]byte(out), &results))
		return results.Images
	}
	planned := pushed("--dry-run", o.Odd+"/p")
	o.Requests()
	if !o.does(t, "push", append(push, o.Odd+"/p")...) {
		if o.Once {
			o.sentOnce(t)
		}
		return
	}
	o.has(t, "p/app")
	size := int64(len(o.image.image.Config))
	for _, l := range o.image.image.Layers {
		size += int64(len(l.Blob))
	}
	assert.Equal(t, size, planned[0].Sent+planned[0].There)
	assert.Equal(t, o.image.image.Digest(), pushed(o.Odd + "/p")[0].Digest)
}

func (o *oddity) testChunks(t *testing.T) {
	if o.does(t, "push chunks", "push", "--retry-delay=1ms", "--tls-verify=false", "--chunk-size", "20k", o.archive, o.Odd) {
		o.has(t, "app")
	}
	sent := 0
	for _, request := range o.Requests() {
		if strings.HasPrefix(request, "PATCH ") {
			sent++
		}
	}
	if o.Fails["push chunks"] == "" {
		assert.Greater(t, sent, 10, "requests")
	}
}

func (o *oddity) testCopying(t *testing.T) {
	if o.does(t, "copy to", "copy", "-q", "--retry-delay=1ms", "--dest-tls-verify=false", "docker-archive:"+o.archive+":@0", "docker://"+o.Odd+"/copied:1") {
		o.has(t, "copied")
	} else if o.Once {
		o.sentOnce(t)
	}
}

// sentOnce fails if more uploads were begun than there are blobs.
func (o *oddity) sentOnce(t *testing.T) {
	t.Helper()
	begun := 0
	for _, request := range o.Requests() {
		if strings.HasPrefix(request, "POST ") {
			begun++
		}
	}
	assert.LessOrEqual(t, begun, 1+len(o.image.image.Layers)+2*3, "of the image and two referrers")
}
