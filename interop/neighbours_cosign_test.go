//go:build interop

package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listedNeighbour is an image or a referrer in "list --json".
type listedNeighbour struct {
	Digest   string
	Names    []string
	Subjects []string
}

// listNeighbour returns the only image of an archive, and its referrers.
func listNeighbour(t *testing.T, path string) (image listedNeighbour, referrers []listedNeighbour) {
	t.Helper()
	var all []listedNeighbour
	require.NoError(t, json.Unmarshal([]byte(dockerArchive(t).run(t, "list", "--json", path)), &all))
	var images []listedNeighbour
	for _, one := range all {
		if len(one.Subjects) > 0 {
			referrers = append(referrers, one)
		} else {
			images = append(images, one)
		}
	}
	require.Len(t, images, 1, "%v", all)
	return images[0], referrers
}

// cosigns are cosign of both generations, each with a key, and how it signs by default.
func cosigns(t *testing.T) map[string]signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	second := program{name: "built cosign 2", argv: []string{filepath.Join(clientsDir(t), "cosign2", "cosign")}}
	return map[string]signer{
		"cosign2": newSigner(t, second, t.TempDir(), key, "--new-bundle-format=false"),
		"cosign3": newSigner(t, built(t, "cosign"), t.TempDir(), key, "--use-signing-config=false"),
	}
}

// verify has cosign verify an image in a registry or, with --local-image, in a directory. It asks
// no transparency log, and has a trusted root that it need not fetch.
func (s signer) verify(t *testing.T, args ...string) error {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root.json")
	writeText(t, root, `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`)
	_, err := s.cosign.try(t, append([]string{"verify", "--key", s.public, "--insecure-ignore-tlog", "--trusted-root", root,
		"--allow-insecure-registry", "--allow-http-registry"}, args...)...)
	return err
}

// pushSigned pushes an image of the test layout, signs it, and returns its name and digest.
func pushSigned(t *testing.T, s signer, repository, image string) (name, digest string) {
	t.Helper()
	name = repository + ":1"
	dockerArchive(t).run(t, "copy", "-q", "--insecure-policy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci:"+testLayout+":"+image, "docker://"+name)
	digest = strings.TrimSpace(built(t, "crane").run(t, "digest", "--insecure", name))
	s.sign(t, repository+"@"+digest)
	return name, digest
}

// TestCosignSave reads archives of cosign, and has cosign verify the results.
func TestCosignSave(t *testing.T) {
	t.Parallel()
	registry, da := startRegistry(t), dockerArchive(t)
	for version, s := range cosigns(t) {
		for _, image := range []string{"one", "multi"} {
			t.Run(version+" "+image, func(t *testing.T) {
				repository := registry + "/" + version + "/" + image
				name, digest := pushSigned(t, s, repository, image)
				dir := filepath.Join(t.TempDir(), "saved")
				s.cosign.run(t, "save", "--allow-insecure-registry", "--allow-http-registry", "--dir", dir, name)
				tarball := dir + ".tar"
				shell(t, `tar -C "$1" -cf "$1.tar" .`, dir)
				for _, saved := range []string{dir, tarball} {
					listed, referrers := listNeighbour(t, saved)
					assert.Equal(t, digest, listed.Digest)
					assert.Empty(t, listed.Names)
					require.Len(t, referrers, 1)
					assert.Equal(t, []string{digest}, referrers[0].Subjects)
					da.run(t, "verify", saved)
					da.run(t, "verify", "--key", s.public, "--signed-as", repository, saved)
					// A bundle is for no repository; an older signature is, and the image has no name to
					// compare it with.
					_, err := da.try(t, "verify", "--key", s.public, saved)
					assert.Equal(t, version == "cosign3", err == nil, err)
					_, err = da.try(t, "verify", "--key", s.public, "--signed-as", registry+"/other", saved)
					assert.Equal(t, version == "cosign3", err == nil, err)
				}

				pushed := registry + "/pushed/" + version + "/" + image + ":7"
				da.run(t, "push", "-q", "--tls-verify=false", tarball, pushed)
				assert.NoError(t, s.verify(t, pushed))
				again := filepath.Join(t.TempDir(), "again.tar")
				da.run(t, "save", "-q", "--insecure-policy", "-o", again, dir)
				da.run(t, "verify", "--key", s.public, "--signed-as", repository, again)
			})
		}
	}
}

// TestCosignLoads has cosign verify and load unpacked archives with signatures.
func TestCosignLoads(t *testing.T) {
	t.Parallel()
	registry, da := startRegistry(t), dockerArchive(t)
	for version, s := range cosigns(t) {
		for _, image := range []string{"one", "multi"} {
			for _, layout := range []string{"image", "oci"} {
				t.Run(strings.Join([]string{version, image, layout}, " "), func(t *testing.T) {
					name, digest := pushSigned(t, s, registry+"/"+version+"/"+layout+"/"+image, image)
					dir := t.TempDir()
					path, unpacked := filepath.Join(dir, "saved.tar"), filepath.Join(dir, "unpacked")
					da.run(t, "save", "-q", "--insecure-policy", "--tls-verify=false", "--all-platforms", "--referrers", "--layout", layout, "-o", path, name)
					extract(t, path, unpacked)
					if version == "cosign3" && image == "multi" {
						// Nor its own archives.
						assert.ErrorContains(t, s.verify(t, "--local-image", unpacked), "no signatures associated")
					} else {
						assert.NoError(t, s.verify(t, "--local-image", unpacked))
					}
					loaded := registry + "/loaded/" + version + "/" + layout + "/" + image + ":2"
					s.cosign.run(t, "load", "--allow-insecure-registry", "--allow-http-registry", "--dir", unpacked, loaded)
					assert.Equal(t, digest, strings.TrimSpace(built(t, "crane").run(t, "digest", "--insecure", loaded)))
					assert.NoError(t, s.verify(t, loaded))
				})
			}
		}
	}
	// It looks for one image: for an archive with two, it says that there is none.
	s := cosigns(t)["cosign2"]
	first, _ := pushSigned(t, s, registry+"/first", "one")
	second, _ := pushSigned(t, s, registry+"/second", "two")
	dir := t.TempDir()
	path := filepath.Join(dir, "two.tar")
	da.run(t, "save", "-q", "--insecure-policy", "--tls-verify=false", "--referrers", "-o", path, first, second)
	extract(t, path, filepath.Join(dir, "two"))
	assert.Error(t, s.verify(t, "--local-image", filepath.Join(dir, "two")))
}
