//go:build interop

package interop

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// pushAttached pushes an index of the test layout, signs it with cosign 3 and attaches an SBOM.
func pushAttached(t *testing.T, s signer, repository string) (name, digest string) {
	t.Helper()
	name, digest = pushSigned(t, s, repository, "multi")
	sbom := filepath.Join(t.TempDir(), "sbom.json")
	writeText(t, sbom, `{"spdxVersion":"SPDX-2.3"}`)
	built(t, "oras").run(t, "attach", "--plain-http", "--disable-path-validation", "--artifact-type", "application/spdx+json", name, sbom+":application/json")
	return name, digest
}

// TestOrasBackup reads copies and backups of oras: an index, which lists each of its parts
// by itself too, and its referrers.
func TestOrasBackup(t *testing.T) {
	t.Parallel()
	da, oras := dockerArchive(t), built(t, "oras")
	registries := map[string]string{"referrers API": startRegistry(t), "tags": startRegistryWithoutReferrers(t)}
	s := cosigns(t)["cosign3"]
	for kind, registry := range registries {
		name, digest := pushAttached(t, s, registry+"/app")
		target := startRegistry(t)
		for how, args := range map[string][]string{
			"backup": {"backup", "--plain-http", "--include-referrers", "--output", "FILE.tar", name},
			"cp":     {"cp", "-r", "--from-plain-http", "--to-oci-layout", name, "FILE:1"},
		} {
			t.Run(kind+" "+how, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "saved")
				args, at := append([]string{}, args...), len(args)-1
				if how == "backup" {
					at--
				}
				args[at] = strings.Replace(args[at], "FILE", path, 1)
				oras.run(t, args...)
				if how == "backup" {
					path += ".tar"
				}
				listed, referrers := listNeighbour(t, path)
				assert.Equal(t, digest, listed.Digest)
				assert.Equal(t, []string{"1"}, listed.Names)
				assert.Len(t, referrers, 2, "a signature and an SBOM")
				da.run(t, "verify", "--key", s.public, path)

				// The archive and its image go to one place.
				prefix := target + "/" + how
				da.run(t, "push", "-q", "--tls-verify=false", path, prefix)
				out := da.run(t, "push", "--tls-verify=false", path+":1", prefix)
				assert.Contains(t, out, prefix+"/saved:1 "+digest)
				assert.Contains(t, out, "up to date")
				tags := strings.Fields(oras.run(t, "repo", "tags", "--plain-http", prefix+"/saved"))
				assert.Equal(t, []string{"1"}, tags)
				assert.NoError(t, s.verify(t, prefix+"/saved:1"))

				again := filepath.Join(t.TempDir(), "again.tar")
				da.run(t, "save", "-q", "--insecure-policy", "--all-platforms", "-o", again, "oci:"+unpackedTar(t, path))
				listed, referrers = listNeighbour(t, again)
				assert.Equal(t, digest, listed.Digest)
				assert.Len(t, referrers, 2)
				da.run(t, "verify", "--key", s.public, again)
			})
		}
	}
}

// unpackedTar is the directory of a layout, also of one in a tar archive.
func unpackedTar(t *testing.T, path string) string {
	t.Helper()
	if !strings.HasSuffix(path, ".tar") {
		return path
	}
	dir := filepath.Join(t.TempDir(), "layout")
	extract(t, path, dir)
	return dir
}

// signatureTag is where cosign 2 has the signature of an image.
func signatureTag(digest string) string { return strings.Replace(digest, ":", "-", 1) + ".sig" }

// TestSignatureTagsSurvive has oras and regctl put archives with signatures of cosign 2 into
// registries.
func TestSignatureTagsSurvive(t *testing.T) {
	t.Parallel()
	registry, da, oras := startRegistry(t), dockerArchive(t), built(t, "oras")
	regctl := regctlFor(t, registry)
	s := cosigns(t)["cosign2"]
	for _, image := range []string{"one", "multi"} {
		t.Run(image, func(t *testing.T) {
			name, digest := pushSigned(t, s, registry+"/"+image, image)
			signature := signatureTag(digest)
			dir := t.TempDir()
			paths := map[string]string{}
			for _, layout := range []string{"oci", "image"} {
				paths[layout] = filepath.Join(dir, layout+".tar")
				da.run(t, "save", "-q", "--insecure-policy", "--tls-verify=false", "--all-platforms", "--referrers", "--layout", layout, "-o", paths[layout], name)
			}
			tags := func(repository string) []string {
				return strings.Fields(oras.run(t, "repo", "tags", "--plain-http", repository))
			}

			restored := registry + "/restored/" + image
			oras.run(t, "restore", "--plain-http", "--input", paths["oci"], restored)
			assert.ElementsMatch(t, []string{"1", signature}, tags(restored))
			assert.NoError(t, s.verify(t, restored+":1"))
			// The layout for containerd, which would show every tag as an image.
			oras.run(t, "restore", "--plain-http", "--input", paths["image"], restored+"-image")
			assert.Equal(t, []string{"1"}, tags(restored+"-image"))

			// regctl imports one image at a time, by its name.
			imported := registry + "/imported/" + image
			regctl.run(t, "image", "import", imported+":1", paths["oci"])
			regctl.run(t, "image", "import", "--name", signature, imported+":"+signature, paths["oci"])
			assert.ElementsMatch(t, []string{"1", signature}, tags(imported))
			assert.NoError(t, s.verify(t, imported+":1"))
			regctl.run(t, "image", "copy", "--digest-tags", "ocidir://"+unpackedTar(t, paths["oci"])+":1", imported+"-copy:1")
			assert.ElementsMatch(t, []string{"1", signature}, tags(imported+"-copy"))
			assert.NoError(t, s.verify(t, imported+"-copy:1"))
		})
	}
}

// TestRegctlExport reads archives of regctl, which have no signatures.
func TestRegctlExport(t *testing.T) {
	t.Parallel()
	registry, da := startRegistry(t), dockerArchive(t)
	regctl := regctlFor(t, registry)
	for _, image := range []string{"one", "multi"} {
		name, path := registry+"/"+image+":1", filepath.Join(t.TempDir(), "exported.tar")
		regctl.run(t, "image", "copy", "ocidir://"+testLayout+":"+image, name)
		regctl.run(t, "image", "export", name, path)
		listed, referrers := listNeighbour(t, path)
		assert.Equal(t, strings.TrimSpace(regctl.run(t, "manifest", "head", name)), listed.Digest)
		assert.Equal(t, []string{name}, listed.Names)
		assert.Empty(t, referrers)
		da.run(t, "verify", path)
		da.run(t, "push", "-q", "--tls-verify=false", path, registry+"/exported")
		assert.Equal(t, listed.Digest, strings.TrimSpace(regctl.run(t, "manifest", "head", registry+"/exported/"+image+":1")))
	}
}
