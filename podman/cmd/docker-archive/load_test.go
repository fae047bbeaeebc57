package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

func TestLoad(t *testing.T) {
	const multi = digest.Digest("sha256:45d2602b344571424277f0ae5515e160520a245712357743d45b1e1e3095c07e")
	d := imagetest.NewLoadDaemon(t)
	d.Containerd = true
	out, errOut := succeeds(t, "load", "--host", d.Host, "-i", archives+"ctr24.tar:@0")
	assert.Equal(t, "127.0.0.1:5111/tiny/multi:v1 "+multi.String()+"\n", out)
	assert.Regexp(t, `^sending [0-9.]+kB\nsent [0-9.]+kB, 0B of layers was there\n$`, errOut)
	assert.Equal(t, map[string]digest.Digest{"127.0.0.1:5111/tiny/multi:v1": multi}, d.Names())

	_, errOut = succeeds(t, "load", "--host", d.Host, archives+"ctr24.tar:@0")
	assert.Regexp(t, `kB, [1-9][0-9.]*(B|kB) of layers was there\n$`, errOut)
	t.Setenv("DOCKER_HOST", d.Host)
	_, errOut = succeeds(t, "load", "--full", archives+"ctr24.tar:@0")
	assert.Contains(t, errOut, ", 0B of layers was there\n")

	_, errOut = succeeds(t, "load", "../../../testdata/cases/partial-arm64.tar")
	assert.Equal(t, 1, strings.Count(errOut, "its source has not got all that its index lists"))

	d.Containerd = false
	d.Forget()
	out, errOut = succeeds(t, "load", "-q", "--platform", "linux/arm64", archives+"ctr24.tar:@0", archives+"skopeo.tar")
	assert.Empty(t, out+errOut)
	assert.Len(t, d.Names(), 2)

	d.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/images/load" {
			d.Intercept(nil)
			d.Forget()
		}
		return false
	})
	_, errOut = succeeds(t, "load", archives+"skopeo.tar")
	assert.Regexp(t, `^sending .*B\nsending everything after: sending images to the docker daemon: open blobs/sha256/[^\n]*\nsending .*B\nsent .*B, 0B of layers was there\n$`, errOut)
}

func TestLoadFails(t *testing.T) {
	d := imagetest.NewLoadDaemon(t)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for want, args := range map[string][]string{
		"load takes archives, or images in archives": nil,
		"is not of the form OS/ARCH":                 {archives + "skopeo.tar", "--platform", "x"},
		"either a host or a context":                 {archives + "skopeo.tar", "--host", d.Host, "--context", "x"},
		`docker daemon of the context "none`:         {archives + "skopeo.tar", "--context", "none"},
		"no such file or directory":                  {"none.tar", "--host", d.Host},
		"no image is named":                          {archives + "skopeo.tar:none", "--host", d.Host},
		"with --platform.\n":                         {archives + "ctr24.tar:@0", "--host", d.Host, "--platform", "linux/s390x"},
		"is none of docker, podman":                  {archives + "skopeo.tar", "--to", "x"},
		"are for docker":                             {archives + "skopeo.tar", "--to", "podman", "--host", d.Host},
		"one platform of an image":                   {archives + "skopeo.tar", "--to", "podman", "--platform", "linux/amd64,linux/arm64"},
		"are for containerd":                         {archives + "skopeo.tar", "--to", "podman", "--namespace", "x"},
		"/none: taking a lease":                      {archives + "skopeo.tar", "--address", "/none"},
		"containers-storage":                         {archives + "skopeo.tar", "--to", "containers-storage:[none"},
	} {
		_, errOut, status := command(t, append([]string{"load"}, args...)...)
		assert.NotZero(t, status, want)
		assert.Contains(t, errOut, want)
	}
}
