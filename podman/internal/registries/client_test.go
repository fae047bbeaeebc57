package registries_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

var (
	subject = digest.FromString("subject")
	one     = imgspecv1.Descriptor{Digest: digest.FromString("1")}
	two     = imgspecv1.Descriptor{Digest: digest.FromString("2")}
)

// serve starts a registry, and returns its host and port.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func lists(descriptors ...imgspecv1.Descriptor) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", imgspecv1.MediaTypeImageIndex)
		_ = json.NewEncoder(w).Encode(imgspecv1.Index{Manifests: descriptors})
	}
}

func answers(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func asks(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	w.WriteHeader(http.StatusUnauthorized)
}

func newClient(t *testing.T, sys *types.SystemContext) *registries.Client {
	t.Helper()
	c := registries.New(sys)
	t.Cleanup(c.Close)
	return c
}

func repository(t *testing.T, host string) reference.Named {
	t.Helper()
	named, err := reference.ParseNormalizedNamed(host + "/team/app:1")
	require.NoError(t, err)
	return named
}

// A list comes in pages, in any order and with repetitions.
func TestReferrersInPages(t *testing.T) {
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		assert.Equal(t, "/v2/team/app/referrers/"+subject.String(), r.URL.Path)
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		if page < 2 {
			w.Header().Set("Link", fmt.Sprintf("<%s?page=%d>; rel=\"next\"", r.URL.Path, page+1))
		}
		lists([][]imgspecv1.Descriptor{{two, one}, {}, {one}}[page]...)(w, r)
	})
	list, ok, err := newClient(t, imagetest.RegistryContext(t)).Referrers(t.Context(), repository(t, host), subject)
	require.NoError(t, err)
	assert.True(t, ok)
	want := []digest.Digest{one.Digest, two.Digest}
	if want[0] > want[1] {
		want[0], want[1] = want[1], want[0]
	}
	require.Len(t, list, 2)
	assert.Equal(t, want, []digest.Digest{list[0].Digest, list[1].Digest})
}

// A registry without the API says so in several ways; any other answer is an error.
func TestReferrersWithoutAPI(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"not found":   {answers(404, "text/plain", "404 page not found"), ""},
		"no name":     {answers(404, "application/json", `{"errors":[{"code":"NAME_UNKNOWN","message":"no"}]}`), ""},
		"a web page":  {answers(200, "text/html", "<html>"), ""},
		"bad request": {answers(400, "text/plain", ""), "400"},
		"broken":      {answers(503, "text/plain", ""), "503"},
	} {
		host := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				c.handler(w, r)
			}
		})
		list, ok, err := newClient(t, imagetest.RegistryContext(t)).Referrers(t.Context(), repository(t, host), subject)
		assert.False(t, ok, name)
		assert.Empty(t, list, name)
		if c.want == "" {
			assert.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
		verdict, known := registries.Judge(err)
		assert.True(t, known, name)
		assert.Equal(t, name == "broken", verdict.Retry, name)
	}
	_, known := registries.Judge(errors.New("something else"))
	assert.False(t, known)
	assert.Equal(t, retry.Verdict{}, retry.Policy{Classifiers: []retry.Classifier{registries.Judge}}.Judge(fs.ErrInvalid))
}

// The client authenticates by a token that the registry sends it for, by one that is
// given, or by a password.
func TestCredentials(t *testing.T) {
	const token = "a-token"
	host := ""
	handler := func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/token":
			if user != "user" || password != "password" {
				http.Error(w, "who are you", http.StatusUnauthorized)
				return
			}
			assert.Equal(t, "repository:team/app:pull", r.URL.Query().Get("scope"))
			_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
		case r.Header.Get("Authorization") != "Bearer "+token:
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+host+`/token",service="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			lists(one)(w, r)
		}
	}
	host = serve(t, func(w http.ResponseWriter, r *http.Request) { handler(w, r) })
	ask := func(change func(*types.SystemContext)) error {
		sys := imagetest.RegistryContext(t)
		change(sys)
		list, ok, err := newClient(t, sys).Referrers(t.Context(), repository(t, host), subject)
		if err == nil {
			assert.True(t, ok)
			assert.Len(t, list, 1)
		}
		return err
	}
	login := func(password string) func(*types.SystemContext) {
		return func(sys *types.SystemContext) {
			sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "user", Password: password}
		}
	}
	inFile := func(sys *types.SystemContext) {
		file := fmt.Appendf(nil, `{"auths":{%q:{"auth":"dXNlcjpwYXNzd29yZA=="}}}`, host)
		require.NoError(t, os.WriteFile(sys.AuthFilePath, file, 0o600))
	}
	require.NoError(t, ask(login("password")))
	require.NoError(t, ask(inFile))
	require.NoError(t, ask(func(sys *types.SystemContext) { sys.DockerBearerRegistryToken = token }))
	require.ErrorContains(t, ask(login("wrong")), "401")
	require.ErrorContains(t, ask(func(*types.SystemContext) {}), "401")

	handler = func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "user" || password != "password" {
			asks(w, r)
			return
		}
		lists(one)(w, r)
	}
	require.NoError(t, ask(inFile))
}

// Certificates come from the directory. Without one, or without the option to skip
// verification, a registry with an unknown certificate is not trusted, nor one without
// TLS.
func TestCertificates(t *testing.T) {
	server := httptest.NewTLSServer(lists(one))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "https://")
	perHost := t.TempDir()
	dir := filepath.Join(perHost, host)
	require.NoError(t, os.Mkdir(dir, 0o700))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.crt"), ca, 0o600))
	root := t.TempDir()
	system := filepath.Join(root, "etc", "containers", "certs.d")
	require.NoError(t, os.MkdirAll(system, 0o700))
	require.NoError(t, os.Rename(dir, filepath.Join(system, host)))
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(system, host))))
	t.Setenv("HOME", t.TempDir())
	for name, c := range map[string]struct {
		change func(*types.SystemContext)
		want   string
	}{
		"directory":         {func(sys *types.SystemContext) { sys.DockerCertPath = dir }, ""},
		"directory of host": {func(sys *types.SystemContext) { sys.DockerPerHostCertDirPath = perHost }, ""},
		"system":            {func(sys *types.SystemContext) { sys.RootForImplicitAbsolutePaths = root }, ""},
		"none":              {func(*types.SystemContext) {}, "certificate"},
		"not careful":       {func(sys *types.SystemContext) { sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue }, ""},
	} {
		sys := imagetest.RegistryContext(t)
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolFalse
		c.change(sys)
		_, _, err := newClient(t, sys).Referrers(t.Context(), repository(t, host), subject)
		if c.want == "" {
			assert.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, c.want, name)
		}
	}
	sys := imagetest.RegistryContext(t)
	sys.DockerInsecureSkipTLSVerify = types.OptionalBoolFalse
	_, _, err := newClient(t, sys).Referrers(t.Context(), repository(t, serve(t, lists(one))), subject)
	require.ErrorContains(t, err, "HTTP response to HTTPS client")
}

// A mirror that has nothing is not believed, unless the registry cannot be asked.
func TestMirrors(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	unreachable := strings.TrimPrefix(gone.URL, "http://")
	for name, c := range map[string]struct {
		mirror, registry http.HandlerFunc // nil is unreachable
		want             int
		ok               bool
		fails            bool
	}{
		"both":                {lists(one), lists(one, two), 1, true, false},
		"mirror empty":        {lists(), lists(one, two), 2, true, false},
		"mirror without API":  {answers(404, "", ""), lists(one, two), 2, true, false},
		"mirror broken":       {answers(500, "", ""), lists(one), 1, true, false},
		"mirror unreachable":  {nil, lists(one), 1, true, false},
		"only the mirror":     {lists(one), nil, 1, true, false},
		"mirror empty, alone": {lists(), nil, 0, false, false},
		"registry broken":     {lists(), answers(500, "", ""), 0, false, true},
		"registry without":    {lists(), answers(404, "", ""), 0, false, false},
		"none reachable":      {nil, nil, 0, false, true},
		"mirror is curious":   {asks, lists(one), 1, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			address := func(handler http.HandlerFunc, what string) string {
				if handler == nil {
					return unreachable
				}
				return serve(t, func(w http.ResponseWriter, r *http.Request) {
					user, _, _ := r.BasicAuth()
					assert.False(t, user != "" && what == "mirror", "the mirror is told the password of the registry")
					if user == "" && strings.Contains(r.URL.Path, "/referrers/") && what == "registry" {
						asks(w, r)
						return
					}
					if r.URL.Path != "/v2/" {
						handler(w, r)
					}
				})
			}
			host, mirror := address(c.registry, "registry"), address(c.mirror, "mirror")
			if host == mirror { // The registry has another name then.
				host = "localhost:" + host[strings.LastIndex(host, ":")+1:]
			}
			sys := imagetest.RegistryContext(t)
			sys.DockerInsecureSkipTLSVerify = types.OptionalBoolUndefined
			sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "user", Password: "password"}
			conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", host, mirror)
			require.NoError(t, os.WriteFile(sys.SystemRegistriesConfPath, []byte(conf), 0o600))
			client := newClient(t, sys)
			mirrored, err := client.Mirrored(repository(t, host))
			require.NoError(t, err)
			assert.True(t, mirrored)
			list, ok, err := client.Referrers(t.Context(), repository(t, host), subject)
			assert.Equal(t, c.fails, err != nil, err)
			assert.Len(t, list, c.want)
			if c.want > 0 {
				assert.Equal(t, c.ok, ok)
			}
		})
	}
}

func TestBlockedRegistry(t *testing.T) {
	sys := imagetest.RegistryContext(t)
	require.NoError(t, os.WriteFile(sys.SystemRegistriesConfPath, []byte("[[registry]]\nlocation = \"example.com\"\nblocked = true\n"), 0o600))
	_, _, err := newClient(t, sys).Referrers(t.Context(), repository(t, "example.com"), subject)
	require.ErrorContains(t, err, "is blocked")
}

func TestProxy(t *testing.T) {
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			http.Error(w, "no TLS here", http.StatusBadGateway)
			return
		}
		assert.Equal(t, "registry.example", r.URL.Host)
		lists(one)(w, r)
	})
	sys := imagetest.RegistryContext(t)
	sys.DockerProxyURL = &url.URL{Scheme: "http", Host: proxy}
	list, _, err := newClient(t, sys).Referrers(t.Context(), repository(t, "registry.example"), subject)
	require.NoError(t, err)
	assert.Len(t, list, 1)
}

func TestTagged(t *testing.T) {
	const manifest = `{"schemaVersion":2}`
	host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v2/team/app/manifests/there":
			assert.Contains(t, r.Header.Get("Accept"), imgspecv1.MediaTypeImageIndex)
			answers(200, imgspecv1.MediaTypeImageManifest, manifest)(w, r)
		case "/v2/team/app/manifests/large":
			w.Header().Set("Content-Length", strconv.Itoa(5<<20))
			w.Header().Set("Docker-Content-Digest", subject.String())
			answers(200, imgspecv1.MediaTypeImageManifest, "")(w, r)
		case "/v2/team/app/manifests/broken":
			answers(500, "text/plain", "")(w, r)
		case "/v2/team/app/manifests/none":
			answers(404, "text/plain", "")(w, r)
		}
	})
	client := newClient(t, imagetest.RegistryContext(t))
	raw, mediaType, err := client.Tagged(t.Context(), repository(t, host), "there")
	require.NoError(t, err)
	assert.Equal(t, manifest, string(raw))
	assert.Equal(t, imgspecv1.MediaTypeImageManifest, mediaType)
	_, _, err = client.Tagged(t.Context(), repository(t, host), "none")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, _, err = client.Tagged(t.Context(), repository(t, host), "large")
	require.ErrorIs(t, err, errdef.ErrLimit)
	_, _, err = client.Tagged(t.Context(), repository(t, host), "broken")
	require.ErrorContains(t, err, "500")
	require.NotErrorIs(t, err, fs.ErrNotExist)
}
