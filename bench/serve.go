package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
		name: "serve-registry", title: "8 connections read all layers: serve ÷ distribution's registry", goal: 1.0 / 2, input: &packedImage, differ: true, client: "registry",
		ours: served(readLayers), theirs: distribution(readLayers),
	},
	{
		name: "serve-manifests", title: "8 connections read 10,000 manifests: serve ÷ nginx", input: &packedImage, differ: true, client: "nginx",
		ours: served(readManifests), theirs: nginx(readManifests),
	},
	{
		name: "serve-manifests-registry", title: "8 connections read 10,000 manifests: serve ÷ distribution's registry", input: &packedImage, differ: true, client: "registry",
		ours: served(readManifests), theirs: distribution(readManifests),
	},
	{
		// What net/http allows.
		name: "serve-manifests-http", title: "8 connections read 10,000 manifests: serve ÷ net/http alone", input: &packedImage, differ: true,
		ours: served(readManifests), theirs: fromMemory(readManifests),
	},
	{
		name: "serve-start", title: "serve 500 images, first answer ÷ opening them", input: &manyImages, differ: true,
		ours: serveMany, theirs: listTheirs,
	},
}

// reading reads from a server at an address. path returns where a blob is there.
type reading func(ctx context.Context, e *env, address string, path blobPath) error

type blobPath func(kind string, d digest.Digest) string

// registryPath is where a registry has a blob.
func registryPath(kind string, d digest.Digest) string { return servedPath + kind + "/" + d.String() }

// served serves the archive while something reads from it.
func served(read reading) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		return whileServing(ctx, e.inputPath(packedImage), func(address string) error {
			return read(ctx, e, address, registryPath)
		})
	}
}

// whileServing serves an archive while f runs.
func whileServing(ctx context.Context, path string, f func(address string) error) (err error) {
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
	err = f(listener.Addr().String())
	stop()
	return errors.Join(err, <-ended)
}

// readLayers reads all layers over each connection, each from another on.
func readLayers(ctx context.Context, e *env, address string, path blobPath) error {
	layers := e.data.Images[0].Layers
	return connected(ctx, address, func(n int, c *connection) error {
		for i := range layers {
			layer := e.data.Layers[layers[(i+n)%len(layers)]]
			if err := c.read(path("blobs", layer.Digest)); err != nil {
				return err
			}
		}
		return nil
	})
}

// readManifests reads a manifest again and again.
func readManifests(ctx context.Context, e *env, address string, path blobPath) error {
	return connected(ctx, address, func(_ int, c *connection) error {
		for range serveRequests / serveConnections {
			if err := c.read(path("manifests", e.data.Images[0].Manifest.Digest)); err != nil {
				return err
			}
		}
		return nil
	})
}

// connected does something over several connections at once.
func connected(ctx context.Context, address string, f func(n int, c *connection) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for n := range serveConnections {
		g.Go(func() error {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // Others have failed.
			return errors.Join(f(n, &connection{conn, bufio.NewReader(conn)}), conn.Close())
		})
	}
	return g.Wait()
}

// connection is an HTTP client that does little, so that it is the server that is measured:
// it does not even look at what it gets.
type connection struct {
	net.Conn
	reader *bufio.Reader
}

// read reads what is at a path.
func (c *connection) read(path string) error {
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: bench\r\nAccept: application/vnd.oci.image.manifest.v1+json, */*\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	// The body is not closed, which would read it.
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	if response.ContentLength < 0 {
		return fmt.Errorf("%s: the length is not known", path)
	}
	buffered, err := c.reader.Discard(int(min(response.ContentLength, int64(c.reader.Buffered()))))
	if err != nil {
		return err
	}
	return discard(c.Conn, response.ContentLength-int64(buffered))
}

// serveMany serves an archive of many images until it has answered once.
func serveMany(ctx context.Context, e *env) error {
	return whileServing(ctx, e.inputPath(manyImages), func(address string) error {
		return connected(ctx, address, func(_ int, c *connection) error { return c.read("/v2/") })
	})
}
