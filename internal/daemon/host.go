package daemon

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Chosen is how a user chooses a daemon. Fields that are set count more than the
// environment; all may be empty.
type Chosen struct {
	Config
	// Context is the name of a context of the docker command.
	Context string
}

// Find returns the daemon that the docker command would talk to: that of the host or the
// context that is given, of DOCKER_HOST, of DOCKER_CONTEXT, of the context that is
// current, or that of this machine. Other than in Config, tcp:// is without TLS unless
// there are certificates or DOCKER_TLS_VERIFY is set, or DOCKER_TLS, which does without
// verifying the certificate of the daemon.
func Find(chosen Chosen) (Config, error) {
	if chosen.Host != "" && chosen.Context != "" {
		return Config{}, errors.New("either a host or a context can be given, not both")
	}
	config, name := chosen.Config, chosen.Context
	if config.Host == "" && name == "" {
		config.Host = os.Getenv("DOCKER_HOST")
		name = os.Getenv("DOCKER_CONTEXT")
	}
	if config.Host == "" {
		return inContext(config, name)
	}
	if !strings.Contains(config.Host, "://") {
		return Config{}, fmt.Errorf("%q is no address of a docker daemon, such as unix://PATH or tcp://HOST:PORT", config.Host)
	}
	verify := os.Getenv("DOCKER_TLS_VERIFY") != ""
	secure := verify || os.Getenv("DOCKER_TLS") != ""
	if config.CertDir == "" && secure {
		config.CertDir = cmp.Or(os.Getenv("DOCKER_CERT_PATH"), settings())
	}
	config.InsecureSkipVerify = config.InsecureSkipVerify || secure && !verify
	return plain(config, secure), nil
}

// plain does without TLS where nothing asks for it.
func plain(config Config, secure bool) Config {
	if address, ok := strings.CutPrefix(config.Host, "tcp://"); ok && config.CertDir == "" && !secure && !config.InsecureSkipVerify {
		config.Host = "http://" + address
	}
	return config
}

// settings returns the directory of the docker command's settings, or "".
func settings() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "" // Nobody has settings then.
	}
	return filepath.Join(home, ".docker")
}

// inContext completes config with what a context says; with no name, it takes the
// current one, if there is one.
func inContext(config Config, name string) (Config, error) {
	dir := settings()
	if name == "" {
		var told struct{ CurrentContext string }
		if err := read(filepath.Join(dir, "config.json"), &told); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Config{}, fmt.Errorf("finding the docker daemon: %w", err)
		}
		name = told.CurrentContext
	}
	if name == "" || name == "default" {
		return config, nil
	}
	id := digest.FromString(name).Encoded()
	var told struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := read(filepath.Join(dir, "contexts", "meta", id, "meta.json"), &told); err != nil {
		return Config{}, fmt.Errorf("finding the docker daemon of the context %q: %w", name, err)
	}
	endpoint, ok := told.Endpoints["docker"]
	if !ok {
		return Config{}, fmt.Errorf("finding the docker daemon of the context %q: it has none", name)
	}
	config.Host = endpoint.Host
	config.InsecureSkipVerify = config.InsecureSkipVerify || endpoint.SkipTLSVerify
	certificates := filepath.Join(dir, "contexts", "tls", id, "docker")
	if _, err := os.Stat(certificates); err == nil && config.CertDir == "" {
		config.CertDir = certificates
	}
	return plain(config, false), nil
}

func read(path string, to any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("parsing %s: %w", path, err)
	}
	return nil
}
