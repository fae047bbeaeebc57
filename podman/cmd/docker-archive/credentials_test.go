package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// reading runs a command with something on its standard input.
func reading(t *testing.T, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut buffer
	root := newRootCommand()
	root.SetArgs(append(args, "--insecure-policy"))
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errOut)
	if err := root.ExecuteContext(t.Context()); err != nil {
		status = report(t.Context(), &errOut, err)
	}
	return out.String(), errOut.String(), status
}

// guarded is a registry with app:1 that wants a password, and returns its address.
func guarded(t *testing.T, user, password string) string {
	t.Helper()
	reg := imagetest.NewRegistry(t)
	reg.Push(t, "app:1", imagetest.NewImage(t, "1", imagetest.Gzip(1, 3000)))
	behind, err := url.Parse("http://" + reg.Address)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(behind)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestPasswordFromStdin(t *testing.T) {
	const password = "of several words "
	source := "docker://" + guarded(t, "me", password) + "/app:1"
	dir := t.TempDir()
	for end, line := range []string{password, password + "\n", password + "\r\n"} {
		_, stderr, status := reading(t, line, "save", "-q", "--tls-verify=false", "--username", "me", "--password-stdin", "-o", filepath.Join(dir, fmt.Sprint(end)), source)
		require.Equal(t, 0, status, stderr)
	}
	_, stderr, status := reading(t, password, "copy", "-q", "--src-tls-verify=false", "--src-username", "me", "--src-password-stdin", source, "dir:"+filepath.Join(dir, "copied"))
	require.Equal(t, 0, status, stderr)
	_, _, status = reading(t, "wrong", "save", "-q", "--tls-verify=false", "--username", "me", "--password-stdin", "-o", filepath.Join(dir, "wrong"), source)
	assert.Equal(t, exitFailure, status)

	for want, args := range map[string][]string{
		"needs --username":               {"save", "--password-stdin"},
		"no other password":              {"save", "--password-stdin", "--username", "me", "--password", "x"},
		"only one of --creds":            {"save", "--password-stdin", "--username", "me", "--creds", "x:y"},
		"either a password or a list":    {"save", "--password-stdin", "--username", "me", "--from-file", "-"},
		"contradict each other":          {"copy", "--src-password-stdin", "--src-username", "me", "--dest-password-stdin", "--dest-username", "me"},
		"no password on standard input":  {"save", "--password-stdin", "--username", "me"},
		"--retry-delay must not be":      {"save", "--retry-delay", "-1s"},
		"--command-timeout must not be":  {"save", "--command-timeout", "-1s"},
		"images are saved encrypted, as": {"save", "--decryption-key", "key.pem"},
	} {
		_, stderr, status := reading(t, "", append(args, source, "dir:"+filepath.Join(dir, "none"))...)
		assert.Equal(t, exitUsage, status, args)
		assert.Contains(t, stderr, want)
	}
}

// Credentials of the command line are for one registry. With images of two registries, neither
// gets a request.
func TestCredentialsAreForOneRegistry(t *testing.T) {
	asked := func() (address string, requests *atomic.Int32) {
		requests = new(atomic.Int32)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			w.WriteHeader(http.StatusNotFound)
		}))
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://"), requests
	}
	one, asks := asked()
	other, others := asked()
	out := filepath.Join(t.TempDir(), "x.tar")
	list := filepath.Join(t.TempDir(), "list")
	require.NoError(t, os.WriteFile(list, []byte(other+"/b:1\n"), 0o600))
	archive := filepath.Join(t.TempDir(), "app.tar")
	succeeds(t, "copy", "-q", "oci:../../../testdata/oci:one", "docker-archive:"+archive+":app:1")
	for _, args := range [][]string{
		{"save", "-o", out, one + "/a:1", "docker://" + other + "/b:1"},
		{"save", "-o", out, "--all-tags", one + "/a", other + "/b"},
		{"save", "-o", out, "--keep-going", "--from-file", list, one + "/a:1"},
		{"add", archive, one + "/a:1", other + "/b:1"},
		{"make", "--base", one + "/a:1", "docker://" + other + "/b:1"},
	} {
		for _, credentials := range [][]string{{"--creds", "me:secret"}, {"--username", "me", "--password", "secret"}, {"--registry-token", "secret"}} {
			_, stderr, status := reading(t, "", append(append(args, "--tls-verify=false"), credentials...)...)
			assert.Equal(t, exitUsage, status, args)
			assert.Contains(t, stderr, "credentials are for one registry, and would go to ")
			assert.Contains(t, stderr, "--authfile")
			assert.NotContains(t, stderr, "secret")
		}
	}
	assert.Zero(t, asks.Load())
	assert.Zero(t, others.Load())

	// Without them, or for one host, both are asked.
	_, _, status := reading(t, "", "save", "-q", "-o", out, "--no-creds", "--retry-times=0", "--tls-verify=false", one+"/a:1", other+"/b:1")
	assert.Equal(t, exitFailure, status)
	assert.NotZero(t, asks.Load()+others.Load())
	source := "docker://" + guarded(t, "me", "secret") + "/app:1"
	_, stderr, status := reading(t, "", "save", "-q", "-o", out, "--creds", "me:secret", "--tls-verify=false", source+"=a:1", source+"=b:1", "docker-archive:"+archive)
	assert.Zero(t, status, stderr)
}

func TestCommandTimeout(t *testing.T) {
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hanging.Close()
	out := filepath.Join(t.TempDir(), "x.tar")
	_, stderr, status := reading(t, "", "save", "--command-timeout", "50ms", "--tls-verify=false", "-o", out, strings.TrimPrefix(hanging.URL, "http://")+"/app:1")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, stderr, "docker-archive: the 50ms of --command-timeout have passed: ")
	assert.NoFileExists(t, out)
	succeeds(t, "version", "--command-timeout", "1h")
}

// Signed images are saved, and one warning says that their signatures are not.
func TestSaveOfSignedImages(t *testing.T) {
	dir := t.TempDir()
	sources := []string{}
	for n := range 2 {
		path := filepath.Join(dir, fmt.Sprint(n))
		reg := imagetest.NewRegistry(t)
		reg.Push(t, "app:1", imagetest.NewImage(t, fmt.Sprint(n), imagetest.Gzip(uint64(n), 3000)))
		succeeds(t, "copy", "-q", "--tls-verify=false", "docker://"+reg.Address+"/app:1", "dir:"+path)
		require.NoError(t, os.WriteFile(filepath.Join(path, "signature-1"), []byte("\x88 as OpenPGP has it"), 0o600))
		sources = append(sources, "dir:"+path)
	}
	args := []string{"save", "-o", filepath.Join(dir, "x.tar"), sources[0] + "=one:1", sources[1] + "=two:1"}
	_, stderr, status := reading(t, "", args...)
	assert.Equal(t, 0, status)
	assert.Contains(t, stderr, "warning: docker.io/library/one:1 and 1 more: it is signed, and the signatures do not travel with it\n")
	assert.Equal(t, 1, strings.Count(stderr, "it is signed"))
}

// docker's configuration has credentials in several forms, which every command finds.
func TestDockerLoginInEveryCommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the store is a shell script")
	}
	host := guarded(t, "jane", "p:w")
	bin, config := t.TempDir(), t.TempDir()
	helper := "#!/bin/sh\ncat >/dev/null\necho '{\"ServerURL\":\"x\",\"Username\":\"jane\",\"Secret\":\"p:w\"}'\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o700))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("DOCKER_CONFIG", config)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("REGISTRY_AUTH_FILE", "")
	for form, text := range map[string]string{
		"auth":                  `{"auths":{"HOST":{"auth":"amFuZTpwOnc="}}}`,
		"username and password": `{"auths":{"https://HOST/v2/":{"username":"jane","password":"p:w"}}}`,
		"credsStore":            `{"auths":{"HOST":{}},"credsStore":"test"}`,
		"credHelpers":           `{"credHelpers":{"HOST":"test"}}`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(config, "config.json"), []byte(strings.ReplaceAll(text, "HOST", host)), 0o600))
		dir := t.TempDir()
		path := func(name string) string { return filepath.Join(dir, name) }
		image := host + "/app:1"
		for _, args := range [][]string{
			{"save", "-q", "--referrers", "-o", path("saved.tar"), image},
			{"save", "-q", "--all-tags", "--dry-run", host + "/app"},
			{"save", "-q", "-o", path("grown.tar"), images + "one"},
			{"add", "-q", path("grown.tar"), image},
			{"inspect", image},
			{"inspect", "--config", image},
			{"inspect", "--raw", image},
			{"layers", image},
			{"make", "-q", "--base", image, "--label", "a=b", "-o", path("made.tar")},
			{"make", "-q", "--base", image, "--label", "a=b", "docker://" + host + "/made:1"},
			{"copy", "-q", "docker://" + image, "docker-archive:" + path("copied.tar")},
			{"copy", "-q", "docker://" + image, "docker://" + host + "/copied:1"},
			{"push", "-q", path("saved.tar"), host + "/pushed"},
		} {
			_, stderr, status := command(t, args...)
			assert.Zero(t, status, "%s: %v: %s", form, args, stderr)
		}
	}
}
