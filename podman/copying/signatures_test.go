package copying_test

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// verifySignatures returns the problems with an archive in one string.
func verifySignatures(t *testing.T, data []byte, options copying.SignatureOptions) string {
	t.Helper()
	r, err := dockerarchive.NewReaderAt(t.Context(), nil, bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	defer r.Close()
	problems, err := copying.VerifySignatures(t.Context(), r, options)
	require.NoError(t, err)
	if len(problems) == 0 {
		return ""
	}
	return errors.Join(problems...).Error()
}

// signedArchive returns an archive of the image for two platforms. The digests that
// choose returns are signed.
func signedArchive(t *testing.T, sign func(s signed) []*imagetest.Image, tags func(s signed) []string) ([]byte, signed) {
	t.Helper()
	s := newSigned(t, true)
	about := sign(s)
	for n, tag := range tags(s) {
		s.Push(t, "app:"+tag, about[n])
	}
	data, _ := save(t, savingReferrers(t), s.image(t))
	return data, s
}

// The signature covers the index, or each of its manifests, in the forms of cosign and
// of a registry.
func TestVerifySignatures(t *testing.T) {
	key, public := imagetest.NewKey(t)
	keys := copying.SignatureOptions{Keys: [][]byte{public}}
	var platforms []digest.Digest
	sign := func(s signed, digests ...digest.Digest) (all []*imagetest.Image) {
		for _, d := range digests {
			all = append(all, imagetest.NewSignature(t, key, s.Address+"/app", d))
		}
		return all
	}
	readPlatforms := func(s signed) []digest.Digest {
		src, err := s.Ref(t, "app:1").NewImageSource(t.Context(), imagetest.RegistryContext(t))
		require.NoError(t, err)
		defer src.Close()
		raw, _, err := src.GetManifest(t.Context(), nil)
		require.NoError(t, err)
		platforms = nil
		for _, part := range strings.Split(string(raw), `"digest":"`)[1:] {
			platforms = append(platforms, digest.Digest(part[:strings.IndexByte(part, '"')]))
		}
		return platforms
	}
	for name, c := range map[string]struct {
		signed func(s signed) []digest.Digest
		want   string
	}{
		"index":         {func(s signed) []digest.Digest { return []digest.Digest{s.index.Digest} }, ""},
		"all platforms": {readPlatforms, ""},
		"one platform":  {func(s signed) []digest.Digest { return readPlatforms(s)[:1] }, "linux/arm64/v8: the archive has no signature of"},
		"none":          {func(signed) []digest.Digest { return nil }, "none of the keys has made the signature"},
	} {
		t.Run(name, func(t *testing.T) {
			data, _ := signedArchive(t, func(s signed) []*imagetest.Image { return sign(s, c.signed(s)...) }, func(s signed) (tags []string) {
				for _, d := range c.signed(s) {
					tags = append(tags, tagOf(d)+".sig") // Replaces the signature by another key.
				}
				return tags
			})
			got := verifySignatures(t, data, keys)
			if c.want == "" {
				assert.Empty(t, got)
			} else {
				assert.Contains(t, got, c.want)
			}
		})
	}
	t.Run("by its subject", func(t *testing.T) {
		data, _ := signedArchive(t, func(s signed) []*imagetest.Image {
			signature := imagetest.NewSignature(t, key, s.Address+"/app", s.index.Digest)
			signature.Manifest.Subject, signature.Manifest.ArtifactType = &s.index, "application/vnd.dev.cosign.artifact.sig.v1+json"
			signature.Encode(t)
			s.Push(t, "app@"+signature.Digest().String(), signature)
			return nil
		}, func(signed) []string { return nil })
		assert.Empty(t, verifySignatures(t, data, keys))
	})
}

// Every signature that does not fit is a problem, and reported.
func TestVerifySignaturesRefuses(t *testing.T) {
	key, public := imagetest.NewKey(t)
	one := imagetest.NewImage(t, "one", imagetest.Gzip(1, 3000))
	reg := imagetest.NewRegistry(t)
	reg.Push(t, "app:1", one)
	image := named(t, reg.Ref(t, "app:1"), reg.Address+"/app:1")
	archived := func(key *ecdsa.PrivateKey, change func(*imagetest.Image)) []byte {
		signature := imagetest.NewSignature(t, key, reg.Address+"/app", one.Digest())
		change(signature)
		signature.Encode(t)
		reg.Push(t, "app:"+tagOf(one.Digest())+".sig", signature)
		data, _ := save(t, savingReferrers(t), image)
		return data
	}
	same := func(*imagetest.Image) {}
	keys := copying.SignatureOptions{Keys: [][]byte{public}}
	good := archived(key, same)
	assert.Empty(t, verifySignatures(t, good, keys))
	other, otherPublic := imagetest.NewKey(t)
	const annotation = "dev.cosignproject.cosign/signature"
	plain := savingReferrers(t)
	plain.AllPlatforms, plain.Referrers, plain.Transport = false, nil, dockerarchive.Transport
	docker, _ := save(t, plain, image)
	unsigned, _ := save(t, saving(t), image)
	unnamed := image
	unnamed.Name = nil
	nameless, _ := save(t, savingReferrers(t), unnamed)
	damaged := bytes.Replace(good, []byte("cosign container image signature"), []byte("cosign container image Signature"), 1)
	for name, c := range map[string]struct {
		data    []byte
		options copying.SignatureOptions
		want    string
	}{
		"another key":       {good, copying.SignatureOptions{Keys: [][]byte{otherPublic}}, "none of the keys has made the signature"},
		"signed by another": {archived(other, same), keys, "none of the keys has made the signature"},
		"another signature": {archived(key, func(s *imagetest.Image) {
			s.Manifest.Layers[0].Annotations[annotation] = "MEUCIQ=="
		}), keys, "none of the keys has made the signature"},
		"no annotation": {archived(key, func(s *imagetest.Image) { delete(s.Manifest.Layers[0].Annotations, annotation) }), keys, "missing " + annotation},
		"another image": {archived(key, func(s *imagetest.Image) {
			*s = *imagetest.NewSignature(t, key, reg.Address+"/app", digest.FromString("another"))
		}), keys, "the archive has no signature of " + one.Digest().String()},
		"another repository": {good, copying.SignatureOptions{Keys: [][]byte{public}, Identity: "example.com/app"}, `it is signed as "` + reg.Address + `/app", not as "example.com/app"`},
		"no signature":       {unsigned, keys, "the archive has no signature of"},
		"no manifest":        {docker, keys, "has no manifest"},
		"no name":            {nameless, keys, "no name that a signature could be for"},
		"damaged":            {damaged, keys, "is damaged"},
	} {
		got := verifySignatures(t, c.data, c.options)
		assert.Contains(t, got, c.want, name)
		assert.Equal(t, 1, strings.Count(got, "\n")+1, "%s: one problem: %s", name, got)
	}
	either := copying.SignatureOptions{Keys: [][]byte{otherPublic, public}, Identity: reg.Address + "/app"}
	assert.Empty(t, verifySignatures(t, nameless, either))

	r, err := dockerarchive.NewReaderAt(t.Context(), nil, bytes.NewReader(good), int64(len(good)))
	require.NoError(t, err)
	defer r.Close()
	for _, wrong := range [][][]byte{nil, {[]byte("text")}, {public, fmt.Append(nil, "-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n")}} {
		_, err := copying.VerifySignatures(t.Context(), r, copying.SignatureOptions{Keys: wrong})
		require.ErrorContains(t, err, "key")
	}
	_, err = copying.VerifySignatures(t.Context(), r, copying.SignatureOptions{Keys: [][]byte{public}, Identity: "A"})
	require.ErrorContains(t, err, `signed as "A"`)
}
