//go:build interop

package interop

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	hosts "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// fleetBlock returns the first block of docs/fleet.md in a language.
func fleetBlock(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/fleet.md")
	require.NoError(t, err)
	_, block, found := strings.Cut(string(page), "\n```"+language+"\n")
	require.True(t, found)
	block, _, found = strings.Cut(block, "\n```")
	require.True(t, found)
	return block
}

// TestFleetManifests decodes the manifests of docs/fleet.md with the types of Kubernetes, which must have every field,
// and runs the command with their flags.
func TestFleetManifests(t *testing.T) {
	t.Parallel()
	var deployment apps.Deployment
	var service core.Service
	for _, document := range strings.Split(fleetBlock(t, "yaml"), "\n---\n") {
		var kind meta.TypeMeta
		require.NoError(t, yaml.Unmarshal([]byte(document), &kind))
		switch kind.Kind {
		case "Deployment":
			require.NoError(t, yaml.UnmarshalStrict([]byte(document), &deployment))
		case "Service":
			require.NoError(t, yaml.UnmarshalStrict([]byte(document), &service))
		default:
			t.Errorf("no test for a %s", kind.Kind)
		}
	}
	pod := deployment.Spec.Template
	assert.Equal(t, deployment.Spec.Selector.MatchLabels, pod.Labels)
	assert.Equal(t, service.Spec.Selector, pod.Labels)
	require.Len(t, pod.Spec.Containers, 1)
	container := pod.Spec.Containers[0]
	ports := map[string]bool{}
	for _, p := range container.Ports {
		ports[p.Name] = true
	}
	assert.True(t, ports[service.Spec.Ports[0].TargetPort.String()])
	assert.True(t, ports[container.ReadinessProbe.HTTPGet.Port.String()])
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, m := range container.VolumeMounts {
		assert.True(t, volumes[m.Name], m.Name)
	}
	// The flags are right if only the store is missing.
	store := startVersitygw(t)
	args := strings.Split(strings.NewReplacer("s3://images/prod", store.path("none.tar"), "/cache", filepath.Join(t.TempDir(), "cache"), ":5000", "127.0.0.1:0", ":9090", "127.0.0.1:0").Replace(strings.Join(container.Args, "\n")), "\n")
	_, err := store.command(t).try(t, args...)
	require.ErrorContains(t, err, "none.tar")
}

// TestFleetHosts reads the hosts.toml of docs/fleet.md as containerd does.
func TestFleetHosts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(fleetBlock(t, "toml")), 0o600))
	registries, err := hosts.ConfigureHosts(t.Context(), hosts.HostOptions{HostDir: func(string) (string, error) { return dir, nil }, UpdateClient: func(*http.Client) error { return nil }})("registry.example.com")
	require.NoError(t, err)
	require.Len(t, registries, 2)
	assert.Equal(t, "http", registries[0].Scheme)
	assert.True(t, strings.HasSuffix(registries[0].Host, ":5000"), registries[0].Host)
	assert.True(t, registries[0].Capabilities.Has(docker.HostCapabilityPull|docker.HostCapabilityResolve))
	assert.Equal(t, "registry.example.com", registries[1].Host)
}
