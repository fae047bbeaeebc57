//go:build interop

package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/forging"
)

// askAboutAll has clients load also archives that verify has refused, which takes an hour.
// Then the log says how many of the variants each client loads something unsigned from.
var askAboutAll = false

// TestHostileArchives asks clients what they load from archives that an attacker without the
// key has changed. If a client loads an image that the key has not signed, verify --key must
// have failed.
func TestHostileArchives(t *testing.T) {
	loaders := map[string]func(t *testing.T, a archive) []shown{
		"docker 20.10":    loads(newDebianDocker(t)),
		"docker 29":       loads(newBuiltDocker(true)(t)),
		"containerd 2.4":  loads(newCtr(startBuiltContainerd)(t)),
		"podman":          loads(newPodman(t)),
		"crane":           loads(newCrane(t)),
		"skopeo docker":   copies("docker-archive"),
		"skopeo oci":      copies("oci-archive"),
		"skopeo by serve": pulls,
	}
	hostile := map[string]int{}
	for n, signed := range forging.Archives(t) {
		dir := t.TempDir()
		key := filepath.Join(dir, "cosign.pub")
		require.NoError(t, os.WriteFile(key, signed.Public, 0o600))
		verify := func(path string) error {
			_, err := dockerArchive(t).try(t, "verify", "--quiet", "--key", key, path)
			return err
		}
		good := archive{name: "good" + strconv.Itoa(n), path: filepath.Join(dir, "good.tar")}
		require.NoError(t, os.WriteFile(good.path, signed.Good, 0o600))
		require.NoError(t, verify(good.path))
		for client, load := range loaders {
			all := load(t, good)
			assert.NotEmpty(t, all, client)
			assert.Empty(t, unsigned(signed, all), client)
		}
		for m, v := range signed.Variants {
			a := archive{name: "v" + strconv.Itoa(n) + "-" + strconv.Itoa(m), path: filepath.Join(dir, "variant.tar")}
			require.NoError(t, os.WriteFile(a.path, v.Data, 0o600))
			if verify(a.path) != nil && !askAboutAll {
				continue // Clients may load anything then: verify does not call it signed.
			}
			for client, load := range loaders {
				if bad := unsigned(signed, load(t, a)); len(bad) > 0 {
					hostile[client]++
					assert.Error(t, verify(a.path), "%s: %s loads %v", v.Name, client, bad)
				}
			}
		}
	}
	t.Logf("variants of which a client loads what is not signed: %v", hostile)
}

// loads returns the images that a client shows, none if it refuses an archive.
func loads(c client) func(t *testing.T, a archive) []shown {
	return func(t *testing.T, a archive) []shown {
		t.Helper()
		for _, a.manifests = range []bool{true, false} { // All platforms, or this machine's.
			if all, err := c.load(t, a); err == nil {
				return all
			}
		}
		return nil
	}
}

// copies has skopeo copy the images of an archive, by all names and positions.
func copies(transport string) func(t *testing.T, a archive) []shown {
	return func(t *testing.T, a archive) (all []shown) {
		t.Helper()
		for _, suffix := range []string{"", ":@0", ":@1", ":1", ":2", ":V1.0_RC", ":" + forging.Repository + ":1", ":" + forging.Repository + ":2", ":example.com/evil:1"} {
			image, err := skopeoCopy(t, debian(t, "skopeo").with("--insecure-policy"), transport+":"+a.path+suffix)
			if err != nil {
				continue
			}
			s := shown{image: image}
			if strings.Contains(suffix, "/") {
				s.names = []string{suffix[1:]}
			}
			all = append(all, s)
		}
		return all
	}
}

// pulls serves an archive, and has skopeo copy every manifest that it has.
func pulls(t *testing.T, a archive) (all []shown) {
	t.Helper()
	da := dockerArchive(t)
	listed, err := da.try(t, "list", "--json", a.path)
	if err != nil {
		return nil
	}
	type manifest struct {
		Digest    digest.Digest
		Manifests []manifest
	}
	var images []manifest
	require.NoError(t, json.Unmarshal([]byte(listed), &images))
	address := startServe(t, a.path)
	var pull func(m manifest)
	pull = func(m manifest) {
		for _, child := range m.Manifests {
			pull(child)
		}
		if m.Digest == "" || len(m.Manifests) > 0 {
			return
		}
		ref := "docker://" + address + "/app@" + m.Digest.String()
		image, err := skopeoCopy(t, debian(t, "skopeo").with("--insecure-policy", "--tls-verify=false"), ref)
		if err == nil {
			all = append(all, shown{image: image})
		}
	}
	for _, m := range images {
		pull(m)
	}
	return all
}

// unsigned returns the images that the key has not signed, or not under their names.
func unsigned(s forging.Signed, all []shown) (bad []shown) {
	for _, i := range all {
		if s.Inert[i.image.config] {
			continue
		}
		ok := s.Configs[i.image.config]
		for _, name := range i.names {
			named, err := reference.ParseNormalizedNamed(name)
			// podman takes the tag of a name for a name if there is no manifest.json.
			isTag := slices.Contains([]string{"localhost/1:latest", "localhost/2:latest"}, name)
			ok = ok && (isTag || err == nil && named.Name() == forging.Repository)
		}
		if !ok && !slices.ContainsFunc(bad, func(b shown) bool { return b.image.config == i.image.config }) {
			bad = append(bad, i)
		}
	}
	return bad
}
