package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

// nginx has nginx serve the files of the layout while something reads from it.
func nginx(read reading) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		address, err := freeAddress()
		if err != nil {
			return err
		}
		root, err := filepath.Abs(e.data.ociDir())
		if err != nil {
			return err
		}
		config := filepath.Join(e.scratch, "nginx.conf")
		if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, e.scratch, address, root), 0o600); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "nginx", "-e", "stderr", "-p", e.scratch, "-c", config)
		return whileRunning(ctx, cmd, address, func() error {
			return read(ctx, e, address, func(_ string, d digest.Digest) string {
				return "/blobs/" + d.Algorithm().String() + "/" + d.Encoded()
			})
		})
	}
}

// nginxConfig is Debian's, as far as it matters here.
const nginxConfig = `daemon off;
user root;
worker_processes auto;
pid %[1]s/nginx.pid;
events { worker_connections 768; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path %[1]s/nginx-body;
  proxy_temp_path %[1]s/nginx-proxy;
  fastcgi_temp_path %[1]s/nginx-fastcgi;
  uwsgi_temp_path %[1]s/nginx-uwsgi;
  scgi_temp_path %[1]s/nginx-scgi;
  server { listen %[2]s; root %[3]s; }
}
`

// distribution has the registry of the distribution project serve the blobs of the layout
// while something reads from it.
func distribution(read reading) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		address, err := freeAddress()
		if err != nil {
			return err
		}
		store := filepath.Join(e.scratch, "distribution")
		if err := e.fillStore(store); err != nil {
			return err
		}
		config := filepath.Join(e.scratch, "distribution.yml")
		if err := os.WriteFile(config, fmt.Appendf(nil, distributionConfig, store, address), 0o600); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, filepath.Join(clientsDir, "registry"), "serve", config)
		cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
		return whileRunning(ctx, cmd, address, func() error { return read(ctx, e, address, registryPath) })
	}
}

// distributionConfig is the example that the project has, without what writes.
const distributionConfig = `version: 0.1
log:
  level: error
  accesslog: {disabled: true}
storage:
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: %s}
http:
  addr: %s
`

// fillStore makes the registry's store of links to the blobs of the layout, unless it is
// there.
func (e *env) fillStore(store string) error {
	if _, err := os.Stat(store); err == nil {
		return nil
	}
	root := filepath.Join(store, "docker/registry/v2")
	repository := filepath.Join(root, "repositories", filepath.Base(servedPath))
	image := e.data.Images[0]
	links := map[digest.Digest]string{image.Manifest.Digest: "_manifests/revisions"}
	for _, n := range image.Layers {
		links[e.data.Layers[n].Digest] = "_layers"
	}
	for d, kind := range links {
		target, err := filepath.Abs(e.data.blobPath(d))
		if err != nil {
			return err
		}
		blob := filepath.Join(root, "blobs/sha256", d.Encoded()[:2], d.Encoded())
		link := filepath.Join(repository, kind, "sha256", d.Encoded())
		if err := errors.Join(os.MkdirAll(blob, 0o755), os.MkdirAll(link, 0o755)); err != nil {
			return err
		}
		if err := errors.Join(os.Symlink(target, filepath.Join(blob, "data")), os.WriteFile(filepath.Join(link, "link"), []byte(d), 0o600)); err != nil {
			return err
		}
	}
	return nil
}

// fromMemory has a handler of net/http that does nothing else answer with the manifest
// while something reads from it.
func fromMemory(read reading) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		manifest := e.data.Images[0].Manifest
		data, err := os.ReadFile(e.data.blobPath(manifest.Digest))
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", manifest.MediaType)
			_, _ = w.Write(data) // The client would notice.
		})}
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(listener) }()
		err = read(ctx, e, listener.Addr().String(), registryPath)
		err = errors.Join(err, server.Close())
		if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	}
}

// freeAddress returns an address that nobody listens on, nor is likely to so soon.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// whileRunning runs a server while f runs, from when it listens on.
func whileRunning(ctx context.Context, cmd *exec.Cmd, address string, f func() error) error {
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return err
	}
	err := awaitPort(ctx, address)
	if err == nil {
		err = f()
	}
	err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM))
	if waitErr := cmd.Wait(); cmd.ProcessState.Exited() { // Not everybody catches the signal.
		err = errors.Join(err, waitErr)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, output.Bytes())
	}
	return err
}

// awaitPort waits until somebody listens.
func awaitPort(ctx context.Context, address string) error {
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Millisecond):
		}
	}
}
