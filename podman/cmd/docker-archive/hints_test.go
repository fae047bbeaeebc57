package main

import (
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// hinted runs a command that must fail, and checks its message.
func hinted(t *testing.T, want string, args ...string) {
	t.Helper()
	_, errOut, status := command(t, args...)
	assert.NotZero(t, status, args)
	assert.Contains(t, errOut, want, args)
}

// Errors of a registry come with its name and a hint.
func TestHintsOfRegistries(t *testing.T) {
	html := "<html><body>Sign in</body></html>"
	answer := func(status int, header, value, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" && status != http.StatusOK {
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set(header, value)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	dir := t.TempDir()
	stored := filepath.Join(dir, "auth.json")
	refusing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="it"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	for _, c := range map[string]struct {
		handler http.Handler
		secure  bool
		flags   []string
		want    string
	}{
		"page":        {answer(http.StatusOK, "Content-Type", "text/html", html), false, nil, " answers with a web page"},
		"too many":    {answer(http.StatusTooManyRequests, "Retry-After", "0", ""), false, nil, " has been asked too often, and says so after several attempts"},
		"login":       {answer(http.StatusUnauthorized, "X", "", `{"errors":[{"code":"UNAUTHORIZED"}]}`), false, nil, "Log in with 'docker login"},
		"stored":      {refusing, false, []string{"--authfile", stored}, " refuses the credentials that are stored for it. Log in again with 'docker login"},
		"credentials": {answer(http.StatusUnauthorized, "X", "", `{"errors":[{"code":"UNAUTHORIZED"}]}`), false, []string{"--creds", "jane:x"}, " refuses the user name jane"},
		"plain HTTP":  {answer(http.StatusOK, "X", "", ""), false, []string{"--tls-verify"}, " speaks plain HTTP. If that is how it should be, pass --tls-verify=false."},
		"certificate": {answer(http.StatusOK, "X", "", ""), true, []string{"--tls-verify"}, "No known CA has signed the certificate of "},
	} {
		server := httptest.NewUnstartedServer(c.handler)
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		if c.secure {
			server.StartTLS()
		} else {
			server.Start()
		}
		_, address, _ := strings.Cut(server.URL, "://")
		assert.NoError(t, os.WriteFile(stored, []byte(`{"auths":{"`+address+`":{"auth":"amFuZTp4"}}}`), 0o600))
		save := append([]string{"save", "--tls-verify=false", "--retry-times", "0", "-o", filepath.Join(dir, "x.tar")}, append(c.flags, address+"/app:1")...)
		want := c.want
		if strings.HasPrefix(want, " ") {
			want = address + want // It names the registry.
		}
		hinted(t, want, save...)
		copied := append([]string{"copy", "--src-tls-verify=false"}, append(c.flags, "docker://"+address+"/app:1", "dir:"+filepath.Join(dir, "x"))...)
		for i := range copied {
			if strings.HasPrefix(copied[i], "--creds") || copied[i] == "--tls-verify" {
				copied[i] = strings.Replace(copied[i], "--", "--src-", 1)
			}
		}
		hinted(t, want, copied...)
		server.Close()
	}
}

// Files that are taken for images, and places that cannot be used.
func TestHintsOfThisMachine(t *testing.T) {
	dir := t.TempDir()
	saved := filepath.Join(dir, "saved.tar")
	data, err := os.ReadFile(archives + "skopeo.tar.bz2")
	assert.NoError(t, err)
	packed := filepath.Join(dir, "packed.tar")
	assert.NoError(t, os.WriteFile(packed, data, 0o600))
	one, err := filepath.Abs("../../../testdata/oci")
	assert.NoError(t, err)
	t.Chdir(dir)
	hinted(t, "did you mean oci:. or dir:.?", "copy", ".", "dir:x")
	hinted(t, "did you mean docker://localhost/app?", "copy", "docker:localhost/app", "dir:x")
	hinted(t, "an image is called by its registry, without https://; did you mean localhost/app?", "save", "https://localhost/app")
	hinted(t, "as in docker.io/USER", "push", packed, "docker.io")
	hinted(t, "is not of the form [HOST]:PORT", "serve", "--listen", "5000", packed)
	hinted(t, "There is a file packed.tar. This command takes all of an archive; 'docker-archive inspect' shows app:1 of it.", "list", "packed.tar:app:1")

	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(dir, "none.sock"))
	for _, args := range [][]string{{"save", "-o", saved, "docker-daemon:x:1"}, {"copy", "docker-daemon:x:1", "dir:x"}, {"copy", "oci:" + one + ":one", "docker-daemon:x:1"}, {"save", "-o", saved, "docker-daemon:x"}} {
		hinted(t, "Start the daemon, or say where it is with --daemon-host (of load, --host) or DOCKER_HOST.", append(args, "--retry-times", "0")...)
	}
	hinted(t, "Choose another directory with --tmpdir or TMPDIR.", "list", "--tmpdir", filepath.Join(dir, "none"), packed)
	hinted(t, "An image-archive can, and docker load reads it too: image-archive:all.tar:docker.io/library/x:1", "copy", "--all", "oci:"+one+":multi", "docker-archive:all.tar:x:1")
	succeeds(t, "save", "--all-platforms", "-o", saved, "oci:"+one+":multi")
	hinted(t, "Choose one of them with --platform.\n", "inspect", "--platform", "linux/s390x", saved)
	hinted(t, "Choose one of them with --platform.\n", "copy", "--platform", "linux/s390x", "docker-archive:"+saved, "dir:x")
}

// A registry that refuses pushed or made images, or the parts of a made one.
func TestHintsOfPushAndMake(t *testing.T) {
	one, archive := "oci:"+imagetest.Testdata(t, "oci")+":one", filepath.Join(t.TempDir(), "all.tar")
	succeeds(t, "save", "-q", "--all-platforms", "-o", archive, "oci:"+imagetest.Testdata(t, "oci")+":multi=app:1")
	partial := imagetest.Testdata(t, "cases/partial-arm64.tar")
	for want, status := range map[string]int{
		"If the registry wants all that an index lists, push what is there with --platform.": http.StatusNotFound,
		" wants to know who asks, or has no such image. Log in with 'docker login ":          http.StatusForbidden,
	} {
		reg := imagetest.NewRegistry(t)
		reg.Push(t, "base:1", imagetest.Saved(t, "one"))
		reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			refused := strings.HasSuffix(r.URL.Path, "/m/manifests/v1") && r.Method == http.MethodPut
			if status == http.StatusForbidden {
				refused = strings.Contains(r.URL.Path, "/manifests/") && (r.Method == http.MethodPut || r.Method == http.MethodGet)
			}
			if refused {
				w.WriteHeader(status)
			}
			return refused
		})
		pushed := map[int]string{http.StatusNotFound: partial, http.StatusForbidden: archive}[status]
		hinted(t, want, "push", pushed, reg.Address)
		hinted(t, want, "push", "--keep-going", pushed, reg.Address)
		if status == http.StatusForbidden {
			hinted(t, "The registry "+reg.Address+want, "make", "-q", "--base", reg.Address+"/base:1", "--label", "a=b", "-o", filepath.Join(t.TempDir(), "x.tar"))
			hinted(t, "The registry "+reg.Address+want, "make", "-q", "--base", one, "--label", "a=b", "docker://"+reg.Address+"/made:1")
			hinted(t, "The registry "+reg.Address+" refuses the user name jane", "push", "--creds", "jane:x", archive, reg.Address)
		}
	}
}

// Archives that are there, or in use, or that only some destinations can be.
func TestHintsOfArchives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.tar")
	one, multi := "oci:"+imagetest.Testdata(t, "oci")+":one", "oci:"+imagetest.Testdata(t, "oci")+":multi"
	succeeds(t, "save", "-q", "-o", path, one)
	hinted(t, "Replace it with --force, or add to an archive with 'docker-archive add'.", "save", "-o", path, one)
	w, err := dockerarchive.OpenWriter(t.Context(), nil, path, nil)
	require.NoError(t, err)
	hinted(t, "Wait for it with --wait.", "add", path, multi)
	require.NoError(t, w.Abort())
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none"))
	hinted(t, "image-archive:, oci:, dir: and docker:// can.", "copy", "--all", multi, "docker-daemon:x:1")
}

// A file system that holds no larger files holds parts.
func TestHintOfLargeFiles(t *testing.T) {
	assert.Contains(t, hintFor(&fs.PathError{Op: "write", Path: "x.tar", Err: syscall.EFBIG}), "--split")
}
