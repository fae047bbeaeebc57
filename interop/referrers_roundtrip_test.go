//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// referrersRegistry starts a registry with the referrers API or without, and returns its host:port.
// It confirms the subject of a manifest, as a registry with the API has to; otherwise clients also
// push the tag that stands for the API.
func referrersRegistry(t *testing.T, api bool) string {
	t.Helper()
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(api))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if api && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			var manifest imagespec.Manifest
			if json.Unmarshal(body, &manifest) == nil && manifest.Subject != nil {
				w.Header().Set("OCI-Subject", manifest.Subject.Digest.String())
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		reg.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// regctlFor is a regctl with the settings for the registries here: without TLS.
func regctlFor(t *testing.T, hosts ...string) program {
	t.Helper()
	regctl := built(t, "regctl").withEnv("HOME=" + t.TempDir())
	for _, host := range hosts {
		regctl.run(t, "registry", "set", "--tls", "disabled", host)
	}
	return regctl
}

// pushAbout pushes an image for several platforms, and its referrers: an SBOM of its index and one
// of the image for a platform, by regctl, an attestation and one of that, by oras, and at cosign's
// tags a signature, an attestation and an SBOM.
func pushAbout(t *testing.T, regctl program, repository string) {
	t.Helper()
	image := repository + ":v1"
	regctl.run(t, "image", "copy", "ocidir://"+testLayout+":multi", image)
	sbom := filepath.Join(t.TempDir(), "sbom.json")
	writeText(t, sbom, `{"spdxVersion":"SPDX-2.3"}`)
	put := []string{"artifact", "put", "--artifact-type", "application/spdx+json", "--file", sbom, "--subject", image}
	regctl.run(t, put...)
	regctl.run(t, append(put, "--platform", "linux/amd64", "--annotation", "about=one")...)

	attach := func(subject, artifactType string) string {
		return strings.TrimSpace(built(t, "oras").run(t, "attach", "--plain-http", "--disable-path-validation", "--artifact-type", artifactType,
			"--annotation", "org.opencontainers.image.created=2001-02-03T04:05:06Z", "--format", "go-template={{.reference}}", subject, sbom+":application/json"))
	}
	attestation := attach(image, "application/vnd.in-toto+json")
	attach(attestation, "application/vnd.example.proof")

	tag, err := name.NewTag(image)
	require.NoError(t, err)
	descriptor, err := remote.Head(tag)
	require.NoError(t, err)
	for suffix, mediaType := range map[string]types.MediaType{
		"sig": "application/vnd.dev.cosign.simplesigning.v1+json", "att": "application/vnd.dsse.envelope.v1+json", "sbom": "text/spdx",
	} {
		require.NoError(t, remote.Write(tag.Repository.Tag("sha256-"+descriptor.Digest.Hex+"."+suffix), artifact(t, mediaType)))
	}
}

// listedReferrer is an image or a referrer in "list --json", as far as a copy needs it.
type listedReferrer struct {
	Index  int
	Digest string
	Names  []string
}

// copyOut copies all that an archive has from one repository to another, each digest and tag.
func copyOut(t *testing.T, archive, from, to string) {
	t.Helper()
	var listed []listedReferrer
	require.NoError(t, json.Unmarshal([]byte(dockerArchive(t).run(t, "list", "--json", archive)), &listed))
	require.NotEmpty(t, listed)
	for at, image := range listed {
		targets := []string{to + "@" + image.Digest}
		for _, named := range image.Names {
			targets = []string{strings.Replace(named, from, to, 1)}
		}
		for _, target := range targets {
			dockerArchive(t).run(t, "copy", "--insecure-policy", "--all", "--preserve-digests", "--dest-tls-verify=false",
				"image-archive:"+archive+":@"+strconv.Itoa(at), "docker://"+target)
		}
	}
}

// answers is a registry's answers about a repository: tags with their digests, and, as regctl and
// oras list them, the referrers of each of the given digests.
func answers(t *testing.T, regctl program, repository string, digests []string) []string {
	t.Helper()
	var all []string
	tags := strings.Fields(regctl.run(t, "tag", "list", repository))
	for _, tag := range tags {
		all = append(all, tag+" "+strings.TrimSpace(regctl.run(t, "manifest", "head", repository+":"+tag)))
	}
	for _, digest := range digests {
		subject := repository + "@" + digest
		listed := strings.Fields(regctl.run(t, "artifact", "list", "--format", "{{range .Descriptors}}{{.Digest}} {{end}}", subject))
		tree := strings.Fields(built(t, "oras").run(t, "discover", "--plain-http", "--depth", "1", "--format", "go-template={{range .referrers}}{{.digest}} {{end}}", subject))
		slices.Sort(listed)
		slices.Sort(tree)
		assert.Equal(t, listed, tree, "regctl and oras")
		all = append(all, digest+": "+strings.Join(listed, " "))
	}
	slices.Sort(all)
	return all
}

// TestReferrersFromRegistryToRegistry carries an image with all that is about it in a file from
// one registry to another, which then answers as the first does, digest by digest.
func TestReferrersFromRegistryToRegistry(t *testing.T) {
	for kind, api := range map[string]bool{"referrers API": true, "tags": false} {
		t.Run(kind, func(t *testing.T) {
			a, b := referrersRegistry(t, api)+"/team/app", referrersRegistry(t, api)+"/team/app"
			regctl := regctlFor(t, strings.Split(a, "/")[0], strings.Split(b, "/")[0])
			pushAbout(t, regctl, a)
			archive := filepath.Join(t.TempDir(), "app.tar")
			saved := dockerArchive(t).run(t, "save", "--insecure-policy", "--tls-verify=false", "--all-platforms", "--referrers", "-o", archive, a+":v1")
			dockerArchive(t).run(t, "verify", archive)
			copyOut(t, archive, a, b)

			subjects := []string{}
			for _, field := range strings.Fields(saved) {
				if strings.HasPrefix(field, "sha256:") {
					subjects = append(subjects, field)
				}
			}
			for _, image := range layoutImages(t, testLayout, "multi") {
				subjects = append(subjects, image.manifest.String())
			}
			want := answers(t, regctl, a, subjects)
			assert.Len(t, digestsIn(want), map[bool]int{true: 8, false: 11}[api], "the image, four by their subjects, three by tags, and the tags for those: %v", want)
			assert.Equal(t, want, answers(t, regctl, b, subjects))
		})
	}
}

// digestsIn are the distinct digests that a registry answers with.
func digestsIn(answers []string) []string {
	var digests []string
	for _, answer := range answers {
		digests = append(digests, strings.Fields(answer)[1:]...)
	}
	slices.Sort(digests)
	return slices.Compact(digests)
}
