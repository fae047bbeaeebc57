package registries_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// Credentials that docker login has written are found, in all forms.
func TestLoggedIn(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the store is a shell script")
	}
	bin, dir := t.TempDir(), t.TempDir()
	script := `#!/bin/sh
read server
case "$server" in
r.example.com) echo '{"ServerURL":"r.example.com","Username":"stored","Secret":"s"}' ;;
https://index.docker.io/v1/) echo '{"ServerURL":"hub","Username":"<token>","Secret":"t"}' ;;
broken.example.com) echo oops >&2; exit 2 ;;
*) echo 'credentials not found in native keychain'; exit 1 ;;
esac
`
	require.NoError(t, os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(script), 0o700))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	file := filepath.Join(dir, "config.json")
	for _, c := range []struct {
		name, config, image string
		want                types.DockerAuthConfig
	}{
		{"store", `{"auths":{"r.example.com":{}},"credsStore":"test"}`, "r.example.com/a", types.DockerAuthConfig{Username: "stored", Password: "s"}},
		{"store, Docker Hub", `{"credsStore":"test"}`, "docker.io/library/a", types.DockerAuthConfig{IdentityToken: "t"}},
		{"store, nothing", `{"credsStore":"test"}`, "other.example.com/a", types.DockerAuthConfig{}},
		{"store, broken", `{"credsStore":"test"}`, "broken.example.com/a", types.DockerAuthConfig{}},
		{"no such store", `{"credsStore":"nowhere"}`, "r.example.com/a", types.DockerAuthConfig{}},
		{"user and password", `{"auths":{"https://r.example.com/v2/":{"username":"jane","password":"p:w"}}}`, "r.example.com/a", types.DockerAuthConfig{Username: "jane", Password: "p:w"}},
		{"identity token alone", `{"auths":{"r.example.com":{"identitytoken":"i"}}}`, "r.example.com/a", types.DockerAuthConfig{IdentityToken: "i"}},
		{"Docker Hub", `{"auths":{"https://index.docker.io/v1/":{"username":"jane","password":"x"}}}`, "docker.io/library/a", types.DockerAuthConfig{Username: "jane", Password: "x"}},
		{"the empty user", `{"auths":{"r.example.com":{"auth":"Og==","username":"","password":""}}}`, "r.example.com/a", types.DockerAuthConfig{}},
		{"another registry", `{"auths":{"r.example.com:5000":{"username":"jane","password":"x"}}}`, "r.example.com/a", types.DockerAuthConfig{}},
		{"no file", "", "r.example.com/a", types.DockerAuthConfig{}},
	} {
		if c.config == "" {
			require.NoError(t, os.Remove(file))
		} else {
			require.NoError(t, os.WriteFile(file, []byte(c.config), 0o600))
		}
		named, err := reference.ParseNamed(c.image)
		require.NoError(t, err)
		sys := &types.SystemContext{AuthFilePath: file, SystemRegistriesConfPath: os.DevNull, SystemRegistriesConfDirPath: dir}
		found := registries.LoggedIn(sys, named)
		if c.want == (types.DockerAuthConfig{}) {
			assert.Same(t, sys, found, c.name)
		} else if assert.NotNil(t, found.DockerAuthConfig, c.name) {
			assert.Equal(t, c.want, *found.DockerAuthConfig, c.name)
		}
		assert.Nil(t, sys.DockerAuthConfig, "the caller's context stays as it is")
		assert.False(t, strings.Contains(c.name, "token") && found.DockerAuthConfig.Username != "")
	}
	given := &types.SystemContext{AuthFilePath: file, DockerAuthConfig: &types.DockerAuthConfig{}}
	named, err := reference.ParseNamed("r.example.com/a")
	require.NoError(t, err)
	assert.Same(t, given, registries.LoggedIn(given, named), "anonymous on purpose")
}
