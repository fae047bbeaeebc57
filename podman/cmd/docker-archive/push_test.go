package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

func TestPush(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	out, errOut := succeeds(t, "push", "--tls-verify=false", archives+"ctr24.tar", reg.Address+"/p")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2)
	const multi = "sha256:45d2602b344571424277f0ae5515e160520a245712357743d45b1e1e3095c07e"
	assert.Regexp(t, "^"+reg.Address+"/p/tiny/multi:v1 "+multi+` \(sent [0-9.]+kB, .* was there\)$`, lines[0])
	assert.Contains(t, errOut, "sent sha256:")
	out, errOut = succeeds(t, "push", "--tls-verify=false", archives+"ctr24.tar", "docker://"+reg.Address+"/p/")
	assert.Equal(t, 2, strings.Count(out, "(up to date)"))
	assert.Empty(t, errOut)

	out, _ = succeeds(t, "push", "--tls-verify=false", "--json", "--dry-run", archives+"ctr24.tar:@0", reg.Address+"/q")
	var results pushedJSON
	require.NoError(t, json.Unmarshal([]byte(out), &results))
	require.Len(t, results.Images, 1)
	assert.Equal(t, []string{reg.Address + "/q/tiny/multi:v1"}, results.Images[0].Targets)
	assert.Equal(t, multi, results.Images[0].Digest.String())
	assert.False(t, results.Images[0].UpToDate)
}

func TestPushNames(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{archives + "skopeo.tar"}, "/tiny/one:v1 "},
		{[]string{archives + "skopeo.tar:127.0.0.1:5111/tiny/one:v1", "--keep-host"}, "/127.0.0.1-5111/tiny/one:v1 "},
		{[]string{archives + "skopeo.tar", "--map", "127.0.0.1:5111/tiny=apps"}, "/apps/one:v1 "},
		{[]string{archives + "skopeo.tar", "--map", "127.0.0.1:5111/ti=apps", "--map", "127.0.0.1:5111/tiny/one:v1=other:2"}, "/other:2 "},
		{[]string{archives + "skopeo.tar", "--dest-compress-format", "zstd", "--map", "127.0.0.1:5111/tiny=zstd"}, "/zstd/one:v1 "},
		{[]string{"docker-archive:" + archives + "podman-multi.tar:127.0.0.1:5111/tiny/one:again"}, "/tiny/one:again "},
		{[]string{"../../../testdata/cases/tag-only.tar"}, "/tag-only:1.0 "},
		{[]string{archives + "ctr24.tar:@0", "--platform", "linux/arm64"}, "/tiny/multi:v1 "},
	} {
		out, errOut := succeeds(t, append(append([]string{"push", "--tls-verify=false"}, c.args...), reg.Address)...)
		assert.Contains(t, out, reg.Address+c.want, c.args)
		assert.Equal(t, strings.Contains(c.args[0], "tag-only"), strings.Contains(errOut, "has no name, and is pushed as "+reg.Address+"/tag-only:1.0"))
	}
}

func TestPushFails(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		refused := r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/m/manifests/v1")
		if refused {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}`)
		}
		return refused
	})
	_, errOut, status := command(t, "push", "--tls-verify=false", "--keep-going", "../../../testdata/cases/partial-arm64.tar", archives+"skopeo.tar", reg.Address)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "its source has not got all that its index lists")
	assert.Contains(t, errOut, "push what is there with --platform", "whatever the registry answers")
	empty := filepath.Join(t.TempDir(), "empty.tar")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for want, args := range map[string][]string{
		"push takes archives and a registry": {"a.tar"},
		"REGISTRY[/PREFIX]":                  {archives + "skopeo.tar", "Not a registry"},
		"is not of the form FROM=TO":         {archives + "skopeo.tar", reg.Address, "--map", "x"},
		"neither gzip nor zstd":              {archives + "skopeo.tar", reg.Address, "--dest-compress-format", "xz"},
		"--jobs must be at least 1":          {archives + "skopeo.tar", reg.Address, "--jobs", "0"},
		"is not of the form OS/ARCH":         {archives + "skopeo.tar", reg.Address, "--platform", "x"},
		"is none of containerd, crio":        {archives + "skopeo.tar", reg.Address, "--print-mirror", "x"},
		"mirrors of Docker Hub only":         {archives + "skopeo.tar", reg.Address, "--print-mirror", "docker"},
		"UPPER":                              {archives + "skopeo.tar", reg.Address, "--map", "127.0.0.1:5111/tiny=UPPER"},
		"empty.tar":                          {empty, reg.Address},
	} {
		_, errOut, status := command(t, append([]string{"push"}, args...)...)
		assert.NotZero(t, status, want)
		assert.Contains(t, errOut, want)
	}
}

// A registry that is reached by HTTP is one for the client too.
func TestPrintMirrorOfPlainRegistry(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	conf := imagetest.WriteFile(t, []byte("[[registry]]\nlocation = \""+reg.Address+"\"\ninsecure = true\n"))
	for client, want := range map[string]string{
		"containerd": "[host.\"http://" + reg.Address + "\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
		"crio":       "location = \"" + reg.Address + "\"\ninsecure = true\n",
		"k3s":        "- \"http://" + reg.Address + "\"\n",
	} {
		out, _ := succeeds(t, "push", "--print-mirror", client, archives+"skopeo.tar", reg.Address)
		assert.True(t, strings.HasSuffix(out, want), "%s\n%s", out, want)
		out, _ = succeeds(t, "push", "--registries-conf", conf, "--print-mirror", client, archives+"skopeo.tar", reg.Address)
		assert.True(t, strings.HasSuffix(out, want), "%s\n%s", out, want)
	}
}

func TestPrintMirror(t *testing.T) {
	for client, want := range map[string]string{
		"containerd": `# /etc/containerd/certs.d/127.0.0.1:5111/hosts.toml
server = "https://127.0.0.1:5111"

[host."https://r.example.com/v2/p"]
  capabilities = ["pull", "resolve"]
  override_path = true
`,
		"crio": `# /etc/containers/registries.conf.d/mirror.conf
[[registry]]
prefix = "127.0.0.1:5111"
location = "127.0.0.1:5111"

[[registry.mirror]]
location = "r.example.com/p"
`,
		"k3s": `# /etc/rancher/k3s/registries.yaml
mirrors:
  "127.0.0.1:5111":
    endpoint:
      - "https://r.example.com"
    rewrite:
      "^(.*)$": "p/$1"
`,
		"idms": `apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: docker-archive
spec:
  imageDigestMirrors:
    - source: 127.0.0.1:5111
      mirrors:
        - r.example.com/p
`,
	} {
		out, _ := succeeds(t, "push", archives+"skopeo.tar", "r.example.com/p", "--print-mirror", client)
		assert.Equal(t, want, out)
	}
	out, _ := succeeds(t, "push", "../../../testdata/cases/one-of-two-broken.tar", "r.example.com", "--tls-verify=false", "--print-mirror", "docker")
	assert.JSONEq(t, `{"registry-mirrors": ["https://r.example.com"], "insecure-registries": ["r.example.com"]}`, out)
}

// An image may have tens of thousands of names. If each were compared with all others, this would
// take minutes.
func TestPushTargetsOfManyNames(t *testing.T) {
	const count = 60_000
	img := imagetest.NewImage(t, "many")
	var found []copying.SaveImage
	for n := range count {
		found = append(found, copying.SaveImage{Source: namedPlace{img}, Name: imagetest.Tagged(t, fmt.Sprintf("example.com/app:%d", n/2))})
	}
	images, err := new(pushOptions).targets(found, "app.tar", nameMap{}, "registry.example.com")
	require.NoError(t, err)
	require.Len(t, images, 1)
	assert.Len(t, images[0].Targets, count/2)
	assert.Len(t, images[0].Names, count)
}

// namedPlace is an image at the same place under any name.
type namedPlace struct{ *imagetest.Image }

// StringWithinTransport implements types.ImageReference.
func (namedPlace) StringWithinTransport() string { return "@0" }
