package copying_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/compose"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	makingimages "github.com/dockerarchive/dockerarchive/podman/making"
)

const secretUser, secretPassword, secretToken = "somebody", "a-secret-password", "a-secret-token"

// secrets must not reach another host, nor an error.
var secrets = []string{secretPassword, secretToken, base64.StdEncoding.EncodeToString([]byte(secretUser + ":" + secretPassword))}

// elsewhere is a host that the credentials are not for, but that asks for some.
type elsewhere struct {
	address string

	mu   sync.Mutex
	seen []string // of requests with credentials
	asks int
}

func newElsewhere(t *testing.T) *elsewhere {
	e := &elsewhere{}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	e.address = strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "localhost", 1)
	return e
}

func (e *elsewhere) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	all := fmt.Sprint(r.Method, " ", r.URL, " ", r.Header, " ", string(body))
	e.mu.Lock()
	e.asks++
	if r.Header.Get("Authorization") != "" {
		e.seen = append(e.seen, all)
	}
	for _, secret := range secrets {
		if strings.Contains(all, secret) {
			e.seen = append(e.seen, all)
		}
	}
	e.mu.Unlock()
	w.Header().Add("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, e.address))
	w.Header().Add("WWW-Authenticate", `Basic realm="x"`)
	w.WriteHeader(http.StatusUnauthorized)
}

// guard has a registry ask for credentials, and, if wanted, give a token for a password.
func guard(t *testing.T, reg *imagetest.Registry, scheme string, trap func(http.ResponseWriter, *http.Request) bool) {
	challenge, wanted := `Basic realm="x"`, "Basic "+secrets[2]
	if scheme != "basic" {
		challenge, wanted = fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, reg.Address), "Bearer "+secretToken
	}
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token" && r.Header.Get("Authorization") == "Basic "+secrets[2]:
			_ = json.NewEncoder(w).Encode(map[string]string{"token": secretToken})
		case r.Header.Get("Authorization") != wanted:
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			return trap(w, r)
		}
		return true
	})
}

// withCredentials returns a context with credentials for a registry.
func withCredentials(t *testing.T, scheme string) *types.SystemContext {
	sys := imagetest.RegistryContext(t)
	sys.BigFilesTemporaryDir = t.TempDir()
	if scheme == "bearer" {
		sys.DockerBearerRegistryToken = secretToken
	} else {
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: secretUser, Password: secretPassword}
	}
	return sys
}

// operations are the operations that talk to a registry.
var operations = map[string]func(t *testing.T, reg *imagetest.Registry, sys *types.SystemContext) error{
	"save": func(t *testing.T, reg *imagetest.Registry, sys *types.SystemContext) error {
		options := &copying.SaveOptions{Reading: copying.Reading{SourceCtx: sys}, Selection: copying.Selection{Referrers: &copying.ReferrerOptions{}}}
		_, err := copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "a.tar"), []copying.SaveImage{{Source: reg.Ref(t, "app:1")}}, options)
		return err
	},
	"all tags": func(t *testing.T, reg *imagetest.Registry, sys *types.SystemContext) error {
		_, err := copying.AllTags(t.Context(), sys, docker.Transport, repository(t, reg.Address+"/app"))
		return err
	},
	"copy from": func(t *testing.T, reg *imagetest.Registry, sys *types.SystemContext) error {
		to, err := dockerarchive.ImageTransport.ParseReference(filepath.Join(t.TempDir(), "a.tar"))
		require.NoError(t, err)
		_, err = copying.Copy(t.Context(), imagetest.Trusting(t), to, reg.Ref(t, "app:1"), &copying.CopyOptions{Options: copy.Options{SourceCtx: sys, ImageListSelection: copy.CopyAllImages}})
		return err
	},
	"make": func(t *testing.T, reg *imagetest.Registry, sys *types.SystemContext) error {
		base, err := makingimages.OpenBase(t.Context(), sys, nil, reg.Ref(t, "app:1"))
		if err != nil {
			return err
		}
		defer base.Close()
		_, err = makingimages.WriteArchive(t.Context(), filepath.Join(t.TempDir(), "a.tar"), &compose.Image{Base: base}, nil)
		return err
	},
	"copy to": func(t *testing.T, reg *imagetest.Registry, sys *types.SystemContext) error {
		_, err := copying.Copy(t.Context(), imagetest.Trusting(t), reg.Ref(t, "new:1"), imagetest.NewImage(t, "new", imagetest.Gzip(7, 1000)), &copying.CopyOptions{Options: copy.Options{DestinationCtx: sys}})
		return err
	},
	"copy between": func(t *testing.T, reg *imagetest.Registry, sys *types.SystemContext) error {
		from := imagetest.NewRegistry(t).Push(t, "new:1", imagetest.NewImage(t, "new", imagetest.Gzip(8, 1000)))
		_, err := copying.Copy(t.Context(), imagetest.Trusting(t), reg.Ref(t, "new:2"), from, &copying.CopyOptions{Options: copy.Options{SourceCtx: imagetest.RegistryContext(t), DestinationCtx: sys}})
		return err
	},
	"copy between, from": func(t *testing.T, reg *imagetest.Registry, sys *types.SystemContext) error {
		to := imagetest.NewRegistry(t).Ref(t, "new:1")
		_, err := copying.Copy(t.Context(), imagetest.Trusting(t), to, reg.Ref(t, "app:1"), &copying.CopyOptions{Options: copy.Options{SourceCtx: sys, DestinationCtx: imagetest.RegistryContext(t), ImageListSelection: copy.CopyAllImages}})
		return err
	},
	"push": func(t *testing.T, reg *imagetest.Registry, sys *types.SystemContext) error {
		options := &copying.PushOptions{Reading: copying.Reading{SourceCtx: sys}, DestinationCtx: sys}
		options.RetryAtOnce()
		images := []copying.PushImage{{SaveImage: copying.SaveImage{Source: imagetest.NewImage(t, "pushed", imagetest.Gzip(9, 1000))}, Targets: []reference.Named{imagetest.Tagged(t, reg.Address+"/pushed:1")}}}
		_, err := copying.Push(t.Context(), imagetest.Trusting(t), images, options)
		return err
	},
}

// Credentials are for one host. Wherever the registry, or the configuration, sends a client,
// no request to another host has them, and no error contains them.
func TestCredentialsStayAtTheirHost(t *testing.T) {
	redirect := func(part string) func(*elsewhere) func(http.ResponseWriter, *http.Request) bool {
		return func(e *elsewhere) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet && r.Method != http.MethodHead || !strings.Contains(r.URL.Path, part) {
					return false
				}
				http.Redirect(w, r, "http://"+e.address+r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
		}
	}
	upload := func(method string) func(*elsewhere) func(http.ResponseWriter, *http.Request) bool {
		return func(e *elsewhere) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/blobs/uploads/") {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if method == http.MethodPatch && r.Method == http.MethodPut { // All is to be sent as that.
					w.WriteHeader(http.StatusBadRequest)
					return true
				}
				if r.Method != method {
					return false
				}
				w.Header().Set("Location", "http://"+e.address+"/upload?state=x")
				w.WriteHeader(http.StatusAccepted)
				return true
			}
		}
	}
	honest := func(*elsewhere) func(http.ResponseWriter, *http.Request) bool {
		return func(http.ResponseWriter, *http.Request) bool { return false }
	}
	for name, c := range map[string]struct {
		trap       func(*elsewhere) func(http.ResponseWriter, *http.Request) bool
		mirror     bool
		operations []string
		fails      bool
	}{
		"honest":           {honest, false, []string{"save", "all tags", "make", "copy from", "copy to", "copy between", "copy between, from", "push"}, false},
		"mirror":           {honest, true, []string{"save", "make", "copy from", "copy between, from"}, false},
		"redirected blobs": {redirect("/blobs/"), false, []string{"save", "make", "copy from", "copy to", "copy between, from"}, true},
		"redirected HEAD":  {redirect("/blobs/"), false, []string{"push"}, false}, // Then the blob is sent.
		"redirected all":   {redirect("/v2/app/manifests/"), false, []string{"save", "make", "copy from", "copy between, from"}, true},
		"redirected list":  {redirect("/referrers/"), false, []string{"save"}, true},
		"redirected tags":  {redirect("/tags/"), false, []string{"all tags"}, true},
		"upload":           {upload(http.MethodPost), false, []string{"copy to", "copy between", "push"}, true},
		"upload, later":    {upload(http.MethodPatch), false, []string{"copy to", "push"}, true},
	} {
		for _, operation := range c.operations {
			for _, scheme := range []string{"basic", "password for token", "bearer"} {
				t.Run(name+"/"+operation+"/"+scheme, func(t *testing.T) {
					home, other := newSigned(t, true), newElsewhere(t)
					guard(t, home.Registry, scheme, c.trap(other))
					sys := withCredentials(t, scheme)
					if c.mirror {
						conf := fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", home.Address, home.Address, other.address)
						require.NoError(t, os.WriteFile(sys.SystemRegistriesConfPath, []byte(conf), 0o600))
					}
					err := operations[operation](t, home.Registry, sys)
					if c.fails {
						require.Error(t, err)
						for _, secret := range secrets {
							assert.NotContains(t, err.Error(), secret)
						}
					} else {
						require.NoError(t, err)
					}
					other.mu.Lock()
					defer other.mu.Unlock()
					assert.Empty(t, other.seen)
					if name != "honest" && operation != "copy between" {
						assert.NotZero(t, other.asks, "the trap is one")
					}
				})
			}
		}
	}
}

// A context's credentials are for one registry: nothing is asked of two.
func TestCredentialsAreForOneRegistry(t *testing.T) {
	for _, scheme := range []string{"password for token", "bearer"} {
		home, other := imagetest.NewRegistry(t), newElsewhere(t)
		home.Push(t, "app:1", imagetest.NewImage(t, "it", imagetest.Gzip(3, 1000)))
		sys := withCredentials(t, scheme)
		elsewhere, err := docker.ParseReference("//" + other.address + "/app:1")
		require.NoError(t, err)
		images := []copying.SaveImage{{Source: home.Ref(t, "app:1")}, {Source: elsewhere}}
		_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "a.tar"), images, &copying.SaveOptions{Reading: copying.Reading{SourceCtx: sys}})
		require.ErrorContains(t, err, "credentials are for one registry")
		pushed := []copying.PushImage{{
			SaveImage: copying.SaveImage{Source: imagetest.NewImage(t, "pushed", imagetest.Gzip(9, 1000))},
			Targets:   []reference.Named{imagetest.Tagged(t, home.Address+"/pushed:1"), imagetest.Tagged(t, other.address+"/pushed:1")},
		}}
		_, err = copying.Push(t.Context(), imagetest.Trusting(t), pushed, &copying.PushOptions{DestinationCtx: sys})
		require.ErrorContains(t, err, "credentials are for one registry")
		assert.Zero(t, other.asks)

		// A caller that has credentials for both gives them for each image.
		own := *imagetest.RegistryContext(t)
		own.DockerAuthConfig = &types.DockerAuthConfig{Username: "another", Password: "x"}
		images[1].SourceCtx = &own
		_, err = copying.Save(t.Context(), imagetest.Trusting(t), filepath.Join(t.TempDir(), "a.tar"), images, &copying.SaveOptions{Reading: copying.Reading{SourceCtx: sys}, KeepGoing: true})
		require.ErrorIs(t, err, copying.ErrImagesLeftOut)
	}
}

// A request for a layer that a manifest places at another host has no credentials either.
func TestForeignLayersGetNoCredentials(t *testing.T) {
	for _, scheme := range []string{"basic", "bearer"} {
		home, other := imagetest.NewRegistry(t), newElsewhere(t)
		layer := imagetest.Gzip(3, 1000)
		img := imagetest.NewImage(t, "it", layer)
		home.Push(t, "app:1", img)
		var m map[string]any
		require.NoError(t, json.Unmarshal(img.Raw, &m))
		described := m["layers"].([]any)[0].(map[string]any)
		//lint:ignore SA1019 Others have it.
		described["mediaType"], described["urls"] = imgspecv1.MediaTypeImageLayerNonDistributableGzip, []string{"http://" + other.address + "/layer"}
		raw, err := json.Marshal(m)
		require.NoError(t, err)
		home.PutManifest(t, "app", "1", imgspecv1.MediaTypeImageManifest, raw)
		guard(t, home, scheme, func(w http.ResponseWriter, r *http.Request) bool { return false })
		for _, operation := range []string{"save", "copy from"} {
			_ = operations[operation](t, home, withCredentials(t, scheme)) // It may be taken from the registry all the same.
		}
		assert.Empty(t, other.seen)
	}
}
