package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

const (
	images    = "oci:../../../testdata/oci:"
	oneDigest = "sha256:cbd2ddd5b036eda3c9a3ccd069641058e326783b38e15a1a87fbab169c657a05"
	twoDigest = "sha256:291aaf079eabf94ccf906994a72b695dc8292a50fe717ea75d07a67c0e534c81"
)

// runSave runs save and returns its standard output, standard error and exit
// status.
func runSave(t *testing.T, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut buffer
	root := newRootCommand()
	root.SetArgs(append([]string{"save", "--insecure-policy"}, args...))
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errOut)
	if err := root.ExecuteContext(t.Context()); err != nil {
		status = report(t.Context(), &errOut, err)
	}
	return out.String(), errOut.String(), status
}

func TestSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "saved.tar")
	list := filepath.Join(t.TempDir(), "list")
	require.NoError(t, os.WriteFile(list, []byte("# images\n\n"+images+"two # the second\n"), 0o600))
	out, errOut, status := runSave(t, "", "-o", path, "--from-file", list, images+"one")
	require.Zero(t, status, errOut)
	assert.Equal(t, "one "+oneDigest+"\ntwo "+twoDigest+"\n", out, "under the names that they have in the layout")
	assert.Contains(t, errOut, "fetching 6 blobs")
	want, err := os.ReadFile(path)
	require.NoError(t, err)

	require.NoError(t, os.Remove(path))
	out, errOut, status = runSave(t, images+"one\n"+images+"two", "-q", "-o", path, "--from-file", "-")
	require.Zero(t, status, errOut)
	assert.Empty(t, out+errOut)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got))

	_, errOut, status = runSave(t, "", "-o", path, images+"one")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "file exists and is not empty")
}

func TestSaveNames(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.tar"), filepath.Join(dir, "second.tar")
	out, errOut, status := runSave(t, "", "-o", first, "--name", "app", images+"one")
	require.Zero(t, status, errOut)
	assert.Equal(t, "docker.io/library/app:latest "+oneDigest+"\n", out)
	for _, source := range []string{"docker-archive:" + first, "docker-archive:" + first + ":app", "docker-archive:" + first + ":@0"} {
		out, errOut, status = runSave(t, "", "-o", second, source)
		require.Zero(t, status, errOut)
		assert.Equal(t, "docker.io/library/app:latest "+oneDigest+"\n", out, "an image of an archive keeps its name")
		require.NoError(t, os.Remove(second))
	}
	_, errOut, status = runSave(t, "", "-o", second, "docker-archive:"+first, "--keep-going", images+"none", "docker-archive:"+first)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "saving "+images+"none: ")
	assert.FileExists(t, second)
}

func TestSaveUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"no image to save":              {},
		"for a single image":            {"--name", "a", images + "one", images + "two"},
		"oci means several":             {"--name", "a", "oci:../../../testdata/oci"},
		"has a tag or a digest":         {"--all-tags", "h.example/app:1"},
		`"oci:dir" is none`:             {"--all-tags", "oci:dir"},
		`image "No Name": invalid`:      {"--all-tags", "No Name"},
		"neither image, oci nor docker": {"--layout", "zip", images + "one"},
		"has no index":                  {"--layout", "docker", "--keep-index", images + "one"},
		"all layers of an image":        {"--layout", "docker", "--skip-non-distributable", images + "one"},
		"keeps the index anyway":        {"--all-platforms", "--keep-index", images + "one"},
		"contradict":                    {"--platform", "linux/arm64", "--all-platforms", images + "one"},
		"holds one platform":            {"--layout", "docker", "--all-platforms", images + "one"},
		"not of the form":               {"--platform", "arm64", images + "one"},
		"at least 1":                    {"--jobs", "0", images + "one"},
		"invalid reference format":      {"Not A Name"},
		`unknown flag: --no-such-flag`:  {"--no-such-flag"},
		"only one of --creds, --userna": {"--creds", "a:b", "--no-creds", images + "one"},
	} {
		_, errOut, status := runSave(t, "", args...)
		assert.Equal(t, exitUsage, status, want)
		assert.Contains(t, errOut, want)
	}
}

// The flags have the same effect as the library's options.
func TestSaveWithoutSome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.tar")
	_, _, status := runSave(t, "", "--layout", "oci", "--keep-index", "--platform", "linux/arm64", "-o", path, images+"multi")
	require.Zero(t, status)
	files, _ := imagetest.Files(t, imagetest.ReadFile(t, path))
	assert.NotContains(t, files, "manifest.json")
	out, _ := succeeds(t, "list", path)
	assert.Contains(t, out, "linux/arm64/v8 (missing: linux/amd64)")
	out, _ = succeeds(t, "verify", path)
	assert.Contains(t, out, "note")

	path = filepath.Join(t.TempDir(), "y.tar")
	_, _, status = runSave(t, "", "--skip-non-distributable", "--platform", "windows/amd64", "-o", path, "docker-archive:"+cases+"nondistributable-present.tar")
	require.Zero(t, status)
	out, _ = succeeds(t, "verify", path)
	assert.Contains(t, out, "kept elsewhere")
}

func TestParseImage(t *testing.T) {
	for arg, want := range map[string][2]string{ // reference and name
		"alpine":                   {"docker://alpine:latest", "docker.io/library/alpine:latest"},
		"localhost:5000/app":       {"docker://localhost:5000/app:latest", "localhost:5000/app:latest"},
		"quay.io/x/y:1":            {"docker://quay.io/x/y:1", "quay.io/x/y:1"},
		"docker://alpine:3":        {"docker://alpine:3", "docker.io/library/alpine:3"},
		"oci:dir:tag":              {"oci:dir:tag", ""},
		"docker-archive:x.tar:y:1": {"docker-archive:x.tar:docker.io/library/y:1", "docker.io/library/y:1"},
		"app@" + oneDigest:         {"docker://app@" + oneDigest, "docker.io/library/app@" + oneDigest},
		// As Kubernetes has them: fetched by the digest, called by the tag.
		"h.example/app:1@" + oneDigest: {"docker://h.example/app@" + oneDigest, "h.example/app:1"},
	} {
		ref, name, err := parseImage(arg)
		require.NoError(t, err, arg)
		assert.Equal(t, want[0], transports.ImageName(ref), arg)
		if want[1] == "" {
			assert.Nil(t, name, arg)
		} else {
			assert.Equal(t, want[1], name.String(), arg)
		}
	}
}

func TestSaveDryRun(t *testing.T) {
	out, errOut, status := runSave(t, "", "--dry-run", "--all-platforms", images+"multi")
	require.Zero(t, status, errOut)
	path := filepath.Join(t.TempDir(), "saved.tar")
	_, errOut, status = runSave(t, "", "-o", path, "--all-platforms", images+"multi")
	require.Zero(t, status, errOut)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Contains(t, out, "size of the archive: "+known(info.Size())+" bytes")
	assert.Contains(t, out, "oci-layout")
	out, errOut, status = runSave(t, "", "--dry-run", "--layout", "docker", images+"one")
	require.Zero(t, status, errOut)
	assert.Contains(t, out, "unknown until")
}

// Refusals of a registry are explained.
func TestSaveHints(t *testing.T) {
	code := 0
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code == 0 || r.URL.Path == "/v2/" {
			images.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	args := []string{"--tls-verify=false", "-o", filepath.Join(t.TempDir(), "x"), address + "/app:1"}
	_, errOut, status := runSave(t, "", args...)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "saving docker://"+address+"/app:1: ")
	assert.Contains(t, errOut, "Check the name and the tag")
	for _, code = range []int{http.StatusUnauthorized, http.StatusForbidden} {
		_, errOut, status = runSave(t, "", args...)
		assert.Equal(t, exitFailure, status)
		assert.Contains(t, errOut, "docker login "+address)
	}
	_, errOut, status = runSave(t, "", "--platform", "linux/s390x", "oci:../../../testdata/oci:multi", "-o", args[2])
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "only for linux/amd64, linux/arm64/v8")
	assert.Contains(t, errOut, "--all-platforms")
}

const childVariable = "DOCKERARCHIVE_TEST_ARGS"

// TestChild is the command itself for tests that need its standard output; by
// itself it does nothing.
func TestChild(*testing.T) {
	if args := os.Getenv(childVariable); args != "" {
		os.Args = append([]string{"docker-archive"}, strings.Split(args, " ")...)
		main()
		os.Exit(0) // Before the test reports on standard output.
	}
}

// Without -o the archive goes to standard output, and nothing else does.
func TestSaveToStandardOutput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "saved.tar")
	_, errOut, status := runSave(t, "", "-o", path, images+"one")
	require.Zero(t, status, errOut)
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	for _, flags := range []string{"", "-o - ", "-o /dev/stdout "} {
		cmd := exec.Command(self, "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), childVariable+"=save --insecure-policy "+flags+images+"one")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		got, err := cmd.Output()
		require.NoError(t, err, stderr.String())
		assert.True(t, bytes.Equal(want, got))
		assert.Contains(t, stderr.String(), oneDigest)
	}
}
