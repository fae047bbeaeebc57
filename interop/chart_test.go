//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chartImages are the images of testdata/monitoring.yaml by their full names, in its order.
var chartImages = []string{
	"quay.io/prometheus-operator/prometheus-operator:v0.82.0",
	"quay.io/brancz/kube-rbac-proxy:v0.19.1",
	"quay.io/prometheus/prometheus:v3.4.0",
	"quay.io/thanos/thanos:v0.38.0",
	"quay.io/prometheus/alertmanager:v0.28.1",
	"docker.io/library/busybox:1.37",
	"quay.io/prometheus/node-exporter:v1.9.1",
	"registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.15.0",
	"docker.io/curlimages/curl:8.13.0",
	"docker.io/grafana/grafana:12.0.0",
	"quay.io/kiwigrid/k8s-sidecar:1.30.3",
	"docker.io/grafana/grafana-image-renderer:3.12.6",
	"docker.io/grafana/loki:3.5.0",
	"docker.io/nginxinc/nginx-unprivileged:1.28-alpine",
	"docker.io/library/memcached:1.6.38-alpine",
	"docker.io/prom/memcached-exporter:v0.15.2",
	"registry.k8s.io/ingress-nginx/kube-webhook-certgen:v1.5.3",
	"quay.io/prometheus/blackbox-exporter:v0.26.0",
	"quay.io/prometheus/pushgateway:v1.11.1",
	"docker.io/library/alpine:3.21",
}

// TestChart carries the images of a Kubernetes manifest: one command saves all that it names,
// each runtime loads the archive, and the images there have the names of the manifest.
func TestChart(t *testing.T) {
	registry := filledRegistry{t, startRegistry(t)}
	conf, hosts := "", map[string]bool{}
	a := archive{name: "chart", path: filepath.Join(t.TempDir(), "monitoring.tar"), manifests: true}
	for _, name := range chartImages {
		host, _, _ := strings.Cut(name, "/")
		if !hosts[host] {
			hosts[host] = true
			conf += fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", host, registry.host+"/"+host)
		}
		pushed := ociImage(t, runtime.GOARCH, "base", name[:strings.LastIndex(name, "/")], "of "+name)
		registry.push(name, pushed)
		manifest, err := pushed.Digest()
		require.NoError(t, err)
		config, err := pushed.RawConfigFile()
		require.NoError(t, err)
		a.images = append(a.images, expectation{
			image: imageOfConfig(t, digest.Digest(manifest.String()), config), names: []string{name},
		})
	}
	confPath := filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(confPath, []byte(conf), 0o600))
	command := dockerArchive(t)
	output := command.run(t, "save", "--json", "--registries-conf", confPath, "--from-yaml", "testdata/monitoring.yaml", "-o", a.path)
	var saved struct{ Images []struct{ Names []string } }
	require.NoError(t, json.Unmarshal([]byte(output), &saved))
	assert.Len(t, saved.Images, len(chartImages))
	listed := strings.Fields(command.run(t, "list", "-q", a.path))
	assert.Equal(t, chartImages, listed)

	for _, c := range clients {
		if !slices.Contains([]string{"docker 29 containerd store", "containerd 2.4", "podman"}, c.name) {
			continue // The others take the same archives as these, as TestLoad shows.
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.start(t).load(t, a)
			require.NoError(t, err)
			compare(t, a, c.keeps, got)
		})
	}
}
