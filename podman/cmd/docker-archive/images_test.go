package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

const multiDigest = "sha256:45d2602b344571424277f0ae5515e160520a245712357743d45b1e1e3095c07e"

// Archives are merged with their names, digests and platforms, by whichever transport
// they are named.
func TestSaveMerges(t *testing.T) {
	dir := t.TempDir()
	first, second, want := filepath.Join(dir, "first.tar"), filepath.Join(dir, "second.tar"), filepath.Join(dir, "want.tar")
	for path, sources := range map[string][]string{first: {images + "multi", images + "one"}, second: {images + "one", images + "two"}, want: {images + "multi", images + "one", images + "two"}} {
		_, errOut, status := runSave(t, "", append([]string{"-q", "-o", path, "--all-platforms"}, sources...)...)
		require.Zero(t, status, errOut)
	}
	for _, transport := range []string{"docker-archive:", "image-archive:", "oci-archive:"} {
		path := filepath.Join(dir, "merged.tar")
		out, errOut, status := runSave(t, "", "-o", path, transport+first, transport+second)
		require.Zero(t, status, errOut)
		assert.Equal(t, "multi "+multiDigest+"\none "+oneDigest+"\none "+oneDigest+"\ntwo "+twoDigest+"\n", out, transport)
		assert.Equal(t, imagetest.ReadFile(t, want), imagetest.ReadFile(t, path), transport)
		require.NoError(t, os.Remove(path))
	}
	path := filepath.Join(dir, "one.tar")
	out, errOut, status := runSave(t, "", "-o", path, "--platform", "linux/amd64", "image-archive:"+first)
	require.Zero(t, status, errOut)
	assert.Equal(t, "multi "+twoDigest+"\none "+oneDigest+"\n", out, "one platform, when asked for")
	out, errOut, status = runSave(t, "", "-q", "-o", filepath.Join(dir, "left.tar"), "--keep-going", "docker-archive:"+filepath.Join(dir, "none.tar"), "docker-archive:"+second)
	assert.Equal(t, exitFailure, status, out)
	assert.Contains(t, errOut, "none.tar: no such file")
	assert.FileExists(t, filepath.Join(dir, "left.tar"))
	_, errOut, status = runSave(t, "", "-o", filepath.Join(dir, "none"), "--keep-going", "docker-archive:"+filepath.Join(dir, "none.tar"))
	assert.Equal(t, exitFailure, status)
	assert.Equal(t, 1, strings.Count(errOut, "\n"), errOut)
}

func TestSaveUnderSeveralNames(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.tar"), filepath.Join(dir, "second.tar")
	out, errOut, status := runSave(t, "", "-o", first, "--name", "app:1,app", "--name", "h.example/app:1", images+"multi", "--all-platforms")
	require.Zero(t, status, errOut)
	names := []string{"docker.io/library/app:1", "docker.io/library/app:latest", "h.example/app:1"}
	assert.Equal(t, strings.Join(names, " "+multiDigest+"\n")+" "+multiDigest+"\n", out)
	list, err := run(t, "list", first)
	require.NoError(t, err)
	for _, name := range names {
		assert.Contains(t, list, "\n"+name+" ")
	}
	// The only image of an archive, under any name.
	out, errOut, status = runSave(t, "", "-o", second, "--name", "other", "docker-archive:"+first)
	require.Zero(t, status, errOut)
	assert.Equal(t, "docker.io/library/other:latest "+multiDigest+"\n", out)
}

func TestSaveAllTags(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	reg.Push(t, "app:2", imagetest.Saved(t, "two"))
	reg.Push(t, "app:1", imagetest.Saved(t, "one"))
	reg.Push(t, "app2:1", imagetest.Saved(t, "one"))
	path := filepath.Join(t.TempDir(), "saved.tar")
	out, errOut, status := runSave(t, reg.Address+"/app2\n", "--tls-verify=false", "--all-tags", "--from-file", "-", "-o", path, "docker://"+reg.Address+"/app")
	require.Zero(t, status, errOut)
	assert.Equal(t, reg.Address+"/app:1 "+oneDigest+"\n"+reg.Address+"/app:2 "+twoDigest+"\n"+reg.Address+"/app2:1 "+oneDigest+"\n", out)

	left := filepath.Join(t.TempDir(), "left.tar")
	_, errOut, status = runSave(t, "", "--tls-verify=false", "--all-tags", "--keep-going", "-q", "-o", left, reg.Address+"/none", reg.Address+"/app")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "docker-archive: listing the tags of "+reg.Address+"/none: ")
	assert.FileExists(t, left)

	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return true
	})
	_, errOut, status = runSave(t, "", "--tls-verify=false", "--all-tags", reg.Address+"/app")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "docker login "+reg.Address)
}

func TestSaveAllOfADaemon(t *testing.T) {
	dir := t.TempDir()
	archives := map[string][]byte{}
	for name, source := range map[string]string{"app:2": "two", "app:1": "one"} {
		path := filepath.Join(dir, source)
		_, errOut, status := runSave(t, "", "-q", "--layout", "docker", "--name", name, "-o", path, images+source)
		require.Zero(t, status, errOut)
		archives[name] = imagetest.ReadFile(t, path)
	}
	host := imagetest.Daemon(t, archives)
	path := filepath.Join(dir, "saved.tar")
	for _, flags := range [][]string{{}, {"--all-tags"}} {
		_, errOut, status := runSave(t, "", append(flags, "-q", "--tmpdir", t.TempDir(), "--layout", "docker", "--daemon-host", host, "-o", path, "docker-daemon:app")...)
		require.Zero(t, status, errOut)
		r, err := dockerarchive.NewReader(nil, path)
		require.NoError(t, err)
		all, err := r.Images(t.Context())
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.Len(t, all, 2)
		assert.Equal(t, []string{"docker.io/library/app:1"}, all[0].Names)
		assert.Equal(t, []string{"docker.io/library/app:2"}, all[1].Names)
		require.NoError(t, os.Remove(path))
	}
	_, errOut, status := runSave(t, "", "--daemon-host", host, "-o", path, "docker-daemon:none")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "docker.io/library/none has no tags")
}
