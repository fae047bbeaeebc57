package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/serving"
)

const (
	serveConnections = 8
	serveRequests    = 10_000
	servedPath       = "/v2/app/"
)

// serveCases read from a server, which is in the process of ours, so that its memory is
// seen with that of the reading, and in one of its own for theirs.
var serveCases = []benchCase{
	{
		name: "serve", title: "8 connections read all layers: serve ÷ nginx", goal: 1 / 0.9, input: &packedImage, differ: true, client: "nginx",
		ours: served(readLayers), theirs: nginx(readLayers),
	},
	{
		name: "serve-manifests", title: "8 connections read 10,000 manifests: serve ÷ nginx", input: &packedImage, differ: true, client: "nginx",
		ours: served(readManifests), theirs: nginx(readManifests),
	},
	{
		name: "serve-start", title: "serve 500 images, first answer ÷ opening them", input: &manyImages, differ: true,
		ours: serveMany, theirs: listTheirs,
	},
}

// reading reads from a server. url returns where a blob is there.
type reading func(ctx context.Context, e *env, url func(kind string, d digest.Digest) string) error

// served serves the archive while something reads from it.
func served(read reading) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		return whileServing(ctx, e.inputPath(packedImage), func(base string) error {
			return read(ctx, e, func(kind string, d digest.Digest) string { return base + servedPath + kind + "/" + d.String() })
		})
	}
}

// whileServing serves an archive while f runs.
func whileServing(ctx context.Context, path string, f func(base string) error) (err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s, err := serving.New(ctx, []string{path}, serving.Options{})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- serving.Serve(ctx, listener, s, "", "", time.Second) }()
	err = f("http://" + listener.Addr().String())
	stop()
	return errors.Join(err, <-ended)
}

// nginx has nginx serve the files of the layout while something reads from it.
func nginx(read reading) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) (err error) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		address := listener.Addr().String()
		if err := listener.Close(); err != nil { // Nobody else takes the port so soon.
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
		if err := cmd.Start(); err != nil {
			return err
		}
		err = errors.Join(awaitPort(ctx, address), read(ctx, e, func(_ string, d digest.Digest) string {
			return "http://" + address + "/blobs/" + d.Algorithm().String() + "/" + d.Encoded()
		}))
		return errors.Join(err, cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
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

// readLayers reads all layers over each connection, each from another on.
func readLayers(ctx context.Context, e *env, url func(string, digest.Digest) string) error {
	layers := e.data.Images[0].Layers
	return connected(ctx, func(ctx context.Context, n int, client *http.Client) error {
		for i := range layers {
			layer := e.data.Layers[layers[(i+n)%len(layers)]]
			if err := readAll(ctx, client, url("blobs", layer.Digest)); err != nil {
				return err
			}
		}
		return nil
	})
}

// readManifests reads a manifest again and again.
func readManifests(ctx context.Context, e *env, url func(string, digest.Digest) string) error {
	return connected(ctx, func(ctx context.Context, _ int, client *http.Client) error {
		for range serveRequests / serveConnections {
			if err := readAll(ctx, client, url("manifests", e.data.Images[0].Manifest.Digest)); err != nil {
				return err
			}
		}
		return nil
	})
}

// connected does something over several connections at once.
func connected(ctx context.Context, f func(ctx context.Context, n int, client *http.Client) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for n := range serveConnections {
		g.Go(func() error {
			transport := &http.Transport{DisableCompression: true, MaxConnsPerHost: 1}
			defer transport.CloseIdleConnections()
			return f(ctx, n, &http.Client{Transport: transport})
		})
	}
	return g.Wait()
}

func readAll(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() // It has been read.
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, response.Body, make([]byte, 256<<10))
	return err
}

// serveMany serves an archive of many images until it has answered once.
func serveMany(ctx context.Context, e *env) error {
	return whileServing(ctx, e.inputPath(manyImages), func(base string) error {
		return readAll(ctx, http.DefaultClient, base+"/v2/")
	})
}
