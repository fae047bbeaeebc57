// Package daemon asks a Docker daemon, or another that answers as one, which images
// it has and what it knows of them, and sends it archives. How images are read from it,
// and archives are made, is for others to know.
package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/docker/go-connections/sockets"
	"github.com/docker/go-connections/tlsconfig"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// maxAnswer is how many bytes the daemon may say at once.
const maxAnswer = 16 << 20

// Config says where a daemon is and how to connect to it. Its fields have
// containers/image's meanings.
type Config struct {
	// Host is unix://PATH, npipe://PATH, http://HOST:PORT, with TLS tcp://HOST:PORT or,
	// by running ssh, ssh://[USER@]HOST[:PORT]. Empty is where the daemon of this machine is.
	Host string
	// CertDir, if not empty, has the files ca.pem, cert.pem and key.pem for TLS.
	CertDir string
	// InsecureSkipVerify does without verifying the certificate of the daemon.
	InsecureSkipVerify bool
}

// Tags returns the references with tags that a daemon has in a repository, whose name
// is as Docker shows it, in the order in which it tells them. Some that it tells may
// be of other repositories.
func Tags(ctx context.Context, config Config, repository string) ([]string, error) {
	client, base, err := connect(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the docker daemon: %w", err)
	}
	defer client.CloseIdleConnections()
	filters, err := json.Marshal(map[string]map[string]bool{"reference": {repository: true}})
	if err != nil {
		return nil, err
	}
	var images []struct{ RepoTags []string }
	if err := get(ctx, client, base+"/images/json?filters="+url.QueryEscape(string(filters)), &images); err != nil {
		return nil, fmt.Errorf("asking the docker daemon for its images: %w", err)
	}
	var tags []string
	for _, img := range images {
		tags = append(tags, img.RepoTags...)
	}
	return tags, nil
}

// Image is what a daemon knows of an image and does not write when it saves it alone.
type Image struct {
	ID     digest.Digest `json:"Id"` // where the daemon keeps images itself, the digest of the config
	Parent digest.Digest // ID of the image that it was built on; "" if there is none, or nobody knows
}

// Inspect asks a daemon for an image by its name or ID.
func Inspect(ctx context.Context, config Config, image string) (Image, error) {
	client, base, err := connect(config)
	if err != nil {
		return Image{}, fmt.Errorf("connecting to the docker daemon: %w", err)
	}
	defer client.CloseIdleConnections()
	var told Image
	if err := get(ctx, client, base+"/images/"+image+"/json", &told); err != nil {
		return Image{}, fmt.Errorf("asking the docker daemon about the image %s: %w", image, err)
	}
	return told, nil
}

// connect returns a client for a daemon and what the addresses of all requests to it
// begin with.
func connect(config Config) (client *http.Client, base string, err error) {
	host := config.Host
	if host == "" {
		host = defaultHost()
	}
	protocol, address, ok := strings.Cut(host, "://")
	if !ok || address == "" {
		return nil, "", fmt.Errorf("host %q is not of the form PROTOCOL://ADDRESS", host)
	}
	transport := &http.Transport{}
	if protocol == "ssh" {
		if transport.DialContext, err = overSSH(host); err != nil {
			return nil, "", fmt.Errorf("host of ssh: %w", err) // Without the password that it may have.
		}
	} else if err := sockets.ConfigureTransport(transport, protocol, address); err != nil {
		return nil, "", fmt.Errorf("host %q: %w", host, err)
	}
	// A redirection is none of the answers that a daemon gives.
	client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	switch protocol {
	case "unix", "npipe", "ssh":
		return client, "http://docker", nil // The address is what is dialled, whatever the name.
	case "http":
		return client, "http://" + strings.TrimSuffix(address, "/"), nil
	}
	options := tlsconfig.Options{InsecureSkipVerify: config.InsecureSkipVerify}
	if dir := config.CertDir; dir != "" {
		options.CAFile, options.CertFile, options.KeyFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	}
	if transport.TLSClientConfig, err = tlsconfig.Client(options); err != nil {
		return nil, "", err
	}
	return client, "https://" + strings.TrimSuffix(address, "/"), nil
}

func defaultHost() string {
	if runtime.GOOS == "windows" {
		return "npipe:////./pipe/docker_engine"
	}
	return "unix:///var/run/docker.sock"
}

// get parses what a daemon answers.
func get(ctx context.Context, client *http.Client, address string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // The caller's message says what was asked.
	}
	if err != nil {
		return err
	}
	defer response.Body.Close() // It is only read.
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading its answer: %w", err)
	case len(data) > maxAnswer:
		return errdef.Errorf(errdef.ErrLimit, "its answer is longer than %d bytes", maxAnswer)
	case response.StatusCode != http.StatusOK:
		return refusal(response, data)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("parsing its answer: %w", err)
	}
	return nil
}

// refusal returns the error that a daemon answers with.
func refusal(response *http.Response, data []byte) error {
	var told struct{ Message string }
	message := response.Status
	if json.Unmarshal(data, &told) == nil && told.Message != "" {
		message += ": " + told.Message
	}
	return &RefusedError{Status: response.StatusCode, Message: message}
}
