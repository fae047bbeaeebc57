package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// locateDaemon says in sys where the docker daemon is, as docker itself finds it:
// DOCKER_HOST, else the context of DOCKER_CONTEXT or the one in use. What flags have
// said stays.
func locateDaemon(sys *types.SystemContext) error {
	if sys.DockerDaemonHost != "" {
		return nil
	}
	config := os.Getenv("DOCKER_CONFIG")
	if config == "" {
		if home, err := os.UserHomeDir(); err == nil {
			config = filepath.Join(home, ".docker")
		}
	}
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		certificates := ""
		if os.Getenv("DOCKER_TLS_VERIFY") != "" || os.Getenv("DOCKER_TLS") != "" {
			certificates = cmp.Or(os.Getenv("DOCKER_CERT_PATH"), config)
		}
		return setDaemon(sys, "DOCKER_HOST", host, certificates, os.Getenv("DOCKER_TLS_VERIFY") == "")
	}
	name, err := dockerContext(config)
	if err != nil || name == "" || name == "default" {
		return err
	}
	return useContext(sys, config, name)
}

// dockerContext returns the name of the context in use, if any.
func dockerContext(config string) (string, error) {
	if name := os.Getenv("DOCKER_CONTEXT"); name != "" {
		return name, nil
	}
	var file struct {
		CurrentContext string `json:"currentContext"`
	}
	err := readJSON(filepath.Join(config, "config.json"), &file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return file.CurrentContext, err
}

// useContext takes the daemon of a context, whose files are named by its digest.
func useContext(sys *types.SystemContext, config, name string) error {
	id := digest.FromString(name).Encoded()
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := readJSON(filepath.Join(config, "contexts", "meta", id, "meta.json"), &meta); err != nil {
		return fmt.Errorf("docker context %q: %w", name, err)
	}
	host := meta.Endpoints["docker"].Host
	if host == "" {
		return nil // It says nothing of a daemon.
	}
	certificates := filepath.Join(config, "contexts", "tls", id, "docker")
	if _, err := os.Stat(certificates); err != nil {
		certificates = ""
	}
	return setDaemon(sys, fmt.Sprintf("docker context %q", name), host, certificates, false)
}

// setDaemon sets the address of a daemon. To containers/image, tcp:// means TLS.
func setDaemon(sys *types.SystemContext, origin, host, certificates string, insecure bool) error {
	scheme, address, ok := strings.Cut(host, "://")
	switch {
	case !ok:
		return fmt.Errorf("%s: %q is no address of a daemon, such as unix://PATH or tcp://HOST:PORT", origin, host)
	case scheme == "ssh":
		return fmt.Errorf("%s: %s is reached by ssh, which only docker itself does: use 'docker save' there, or forward the socket", origin, host)
	case scheme == "tcp" && certificates == "":
		host = "http://" + address
	case scheme == "tcp":
		if sys.DockerDaemonCertPath == "" {
			sys.DockerDaemonCertPath = certificates
		}
		sys.DockerDaemonInsecureSkipTLSVerify = sys.DockerDaemonInsecureSkipTLSVerify || insecure
	}
	sys.DockerDaemonHost = host
	return nil
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
