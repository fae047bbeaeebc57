package main

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// The registries.yaml of docs/serving.md, and the one that is printed, have only fields that k3s documents.
func TestMirrorsOfK3s(t *testing.T) {
	page := string(imagetest.ReadFile(t, imagetest.Testdata(t, "../docs/serving.md")))
	_, shown, found := strings.Cut(page, "### k3s: `registries.yaml`")
	require.True(t, found)
	_, shown, _ = strings.Cut(shown, "```yaml\n")
	shown, _, found = strings.Cut(shown, "```")
	require.True(t, found)
	printed, _ := succeeds(t, "push", archives+"skopeo.tar", "r.example.com/p", "--print-mirror", "k3s")
	for _, text := range []string{shown, printed} {
		var file struct {
			Mirrors map[string]struct {
				Endpoint []string          `yaml:"endpoint"`
				Rewrite  map[string]string `yaml:"rewrite"`
			} `yaml:"mirrors"`
			Configs map[string]struct {
				Auth struct{ Username, Password, Auth, IdentityToken string }
				TLS  struct {
					CA       string `yaml:"ca_file"`
					Cert     string `yaml:"cert_file"`
					Key      string `yaml:"key_file"`
					Insecure bool   `yaml:"insecure_skip_verify"`
				}
			} `yaml:"configs"`
		}
		decoder := yaml.NewDecoder(strings.NewReader(text))
		decoder.KnownFields(true)
		require.NoError(t, decoder.Decode(&file), text)
		require.Len(t, file.Mirrors, 1, text)
		for host, mirror := range file.Mirrors {
			assert.Regexp(t, `[.:]`, host, "k3s takes only these for registries")
			require.Len(t, mirror.Endpoint, 1)
			endpoint, err := url.Parse(mirror.Endpoint[0])
			require.NoError(t, err)
			assert.NotEmpty(t, endpoint.Host)
			for pattern := range mirror.Rewrite {
				_, err := regexp.Compile(pattern)
				assert.NoError(t, err)
			}
		}
	}
}
