package registries

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	helper "github.com/docker/docker-credential-helpers/client"
	helpererr "github.com/docker/docker-credential-helpers/credentials"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/types"
)

// LoggedIn returns sys with the credentials for a repository that docker's configuration has
// in forms that containers/image does not read.
func LoggedIn(sys *types.SystemContext, repository reference.Named) *types.SystemContext {
	if sys != nil && (sys.DockerAuthConfig != nil || sys.DockerBearerRegistryToken != "") {
		return sys
	}
	if known, err := config.GetCredentialsForRef(sys, repository); err != nil || known != (types.DockerAuthConfig{}) {
		return sys // The error of opening it says what is wrong.
	}
	found := dockerLogin(sys, reference.Domain(repository))
	if found == (types.DockerAuthConfig{}) {
		return sys
	}
	var with types.SystemContext
	if sys != nil {
		with = *sys
	}
	with.DockerAuthConfig = &found
	return &with
}

// dockerConfig is the part of docker's config.json about credentials, without credHelpers,
// which containers/image asks.
type dockerConfig struct {
	Auths map[string]struct {
		Auth, Username, Password, IdentityToken string
	}
	CredsStore string
}

// dockerLogin returns the credentials for a registry in docker's configuration: in its
// store, or not encoded. They are empty if there are none.
func dockerLogin(sys *types.SystemContext, host string) types.DockerAuthConfig {
	data, err := os.ReadFile(dockerConfigPath(sys))
	var c dockerConfig
	if err != nil || json.Unmarshal(data, &c) != nil {
		return types.DockerAuthConfig{} // containers/image has read it too, and reported the error.
	}
	for key, entry := range c.Auths {
		if hostOf(key) != hostOf(host) {
			continue
		}
		found := types.DockerAuthConfig{Username: entry.Username, Password: entry.Password, IdentityToken: entry.IdentityToken}
		if decoded, err := base64.StdEncoding.DecodeString(entry.Auth); err == nil && found.Username == "" {
			found.Username, found.Password, _ = strings.Cut(string(decoded), ":")
		}
		if found != (types.DockerAuthConfig{}) {
			return found
		}
	}
	if c.CredsStore == "" {
		return types.DockerAuthConfig{}
	}
	return stored(c.CredsStore, host)
}

func dockerConfigPath(sys *types.SystemContext) string {
	if sys != nil && sys.AuthFilePath != "" {
		return sys.AuthFilePath
	}
	home, _ := os.UserHomeDir() // Without one, there is no such file.
	return filepath.Join(cmp.Or(os.Getenv("DOCKER_CONFIG"), filepath.Join(home, ".docker")), "config.json")
}

// hostOf returns the registry that a key of docker's configuration is for: a host, or a URL.
func hostOf(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, _, _ := strings.Cut(key, "/")
	switch host {
	case "docker.io", "registry-1.docker.io":
		return "index.docker.io"
	}
	return host
}

// dockerHub is docker's name for Docker Hub among its credentials.
const dockerHub = "https://index.docker.io/v1/"

// stored asks the program that keeps docker's credentials. If it fails, as with the
// configuration of another machine, public images can still be read.
func stored(store, host string) types.DockerAuthConfig {
	server := host
	if hostOf(host) == hostOf(dockerHub) {
		server = dockerHub
	}
	found, err := helper.Get(helper.NewShellProgramFunc("docker-credential-"+store), server)
	switch {
	case err != nil && helpererr.IsErrCredentialsNotFoundMessage(err.Error()):
		return types.DockerAuthConfig{}
	case err != nil:
		logrus.Warnf("no credentials for %s: docker-credential-%s: %v", host, store, err)
		return types.DockerAuthConfig{}
	case found.Username == "<token>":
		return types.DockerAuthConfig{IdentityToken: found.Secret}
	}
	return types.DockerAuthConfig{Username: found.Username, Password: found.Secret}
}
