package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/browsing"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/serving"
)

const (
	// watchInterval is how often archives are looked at for changes.
	watchInterval = 2 * time.Second
	// stopGrace is how long clients have to end what they are pulling.
	stopGrace = 30 * time.Second
	// maxKept is how many bytes of made layers are kept for further requests.
	maxKept = 4 << 30
)

// serveOptions are the flags of the serve command.
type serveOptions struct {
	global   *globalOptions
	listen   string
	tlsCert  string
	tlsKey   string
	htpasswd string
	metrics  string
	cache    string
	cacheMax string
	certDir  string
	base     baseOptions
	quiet    bool
	noWeb    bool
}

func newServeCommand(g *globalOptions) *cobra.Command {
	o := &serveOptions{global: g}
	cmd := &cobra.Command{
		Use:   "serve ARCHIVE|DIRECTORY|s3://BUCKET/PREFIX...",
		Short: "Serve the images in archives as a read-only registry",
		Long: `Serve the images of archives as a read-only registry, and as pages for
browsers. Nothing is unpacked or written. A DIRECTORY is an OCI layout, or
holds archives and OCI layouts. Archives in buckets, and at https://, are read
in place; --cache keeps what is pulled.

registry.example.com/team/app:1 is pulled as HOST:PORT/team/app:1, or as
HOST:PORT/registry.example.com/team/app:1. An image without a name is named
after its file. Changed archives are noticed within seconds.

Requests are logged on standard output in the Common Log Format. SIGTERM ends
it after the running requests, or after 30 seconds.`,
		Example: `  docker-archive serve images.tar
  docker-archive serve --listen :5000 --htpasswd users /srv/archives
  docker-archive serve --tls-cert cert.pem --tls-key key.pem images.tar
  docker-archive serve --cache cache --cache-size 50G s3://images/prod`,
		Args: atLeast(1, "archives or directories"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:5000", "listen on `[HOST]:PORT`, without HOST on all addresses")
	f.StringVar(&o.tlsCert, "tls-cert", "", "`FILE` with the certificate chain for HTTPS")
	f.StringVar(&o.tlsKey, "tls-key", "", "`FILE` with the key of the certificate")
	f.StringVar(&o.htpasswd, "htpasswd", "", "`FILE` of users, as 'htpasswd -B' writes it")
	f.StringVar(&o.metrics, "metrics", "", "serve /metrics, /healthz and /readyz at `[HOST]:PORT`")
	f.StringVar(&o.cache, "cache", "", "keep blobs of buckets and servers in `DIRECTORY`")
	f.StringVar(&o.cacheMax, "cache-size", "10G", "keep at most `SIZE` there")
	f.StringVar(&o.certDir, "cert-dir", "", "`DIRECTORY` with certificates (*.crt, *.cert, *.key) for stores")
	o.base.register(f)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "do not log requests")
	f.BoolVar(&o.noWeb, "no-web", false, "serve no pages for browsers")
	return cmd
}

func (o *serveOptions) run(ctx context.Context, stdout, stderr io.Writer, args []string) (err error) {
	if (o.tlsCert == "") != (o.tlsKey == "") {
		return usagef("--tls-cert and --tls-key are given together or not at all")
	}
	counted := serveMetrics{metrics.NewSet()}
	options := serving.Options{Log: slog.New(counted.countErrors(slog.NewTextHandler(stderr, nil)))}
	logged := accessLog(stdout)
	options.Access = func(a serving.Access) {
		counted.count(a)
		if !o.quiet {
			logged(a)
		}
	}
	if o.htpasswd != "" {
		users, err := serving.OpenHtpasswd(o.htpasswd, options.Log)
		if err != nil {
			return err
		}
		options.Authorize = users.Authorize
	}
	options.TempDir = o.global.tmpdir
	sys, err := o.global.systemContext()
	if err == nil {
		err = o.base.open(ctx, o.global, sys, maxKept)
	}
	if err != nil {
		return err
	}
	defer o.base.close()
	options.Bases = o.base.bases
	paths := servedPaths(args)
	if err := o.stores(&options, paths, accessTo(sys)); err != nil {
		return err
	}
	// The ports are taken first, so that a port in use is found before archives are
	// unpacked.
	l, metricsListener, err := o.listeners(ctx)
	if err != nil {
		return err
	}
	health := &health{}
	servers, ctx := errgroup.WithContext(ctx)
	if metricsListener != nil {
		fmt.Fprintf(stderr, "docker-archive: metrics at http://%s/metrics\n", metricsListener.Addr())
		// It answers before all archives are open, and until all requests have ended.
		observed, end := context.WithCancel(context.WithoutCancel(ctx))
		defer end()
		done := make(chan error, 1)
		go func() { done <- serving.Serve(observed, metricsListener, counted.handler(health), "", "", 0) }()
		defer func() { end(); err = errors.Join(err, <-done) }()
	}
	s, err := serving.New(ctx, paths, options)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer s.Close()
	if !o.noWeb {
		pages := browsing.New(s, browsing.Options{Log: options.Log, TLS: o.tlsCert != "", TempDir: options.TempDir})
		defer pages.Close()
		s.Handle(pages)
	}
	go s.Watch(ctx, watchInterval)
	scheme := "http"
	if o.tlsCert != "" {
		scheme = "https"
	}
	counted.add(s)
	health.ready(ctx, s)
	fmt.Fprintf(stderr, "docker-archive: serving at %s://%s\n", scheme, l.Addr())
	servers.Go(func() error { return serving.Serve(ctx, l, s, o.tlsCert, o.tlsKey, stopGrace) })
	return servers.Wait()
}

// servedPaths returns the paths and addresses of the arguments.
func servedPaths(args []string) []string {
	paths := make([]string, len(args))
	for n, arg := range args {
		paths[n] = archivePath(arg)
		if _, ok := naming.Scheme(paths[n]); !ok {
			paths[n] = filepath.Clean(paths[n])
		}
	}
	return paths
}

// stores sets the options for stores: how to reach them, and their cache.
func (o *serveOptions) stores(options *serving.Options, paths []string, access archive.Access) error {
	if o.certDir != "" {
		access.CertDir = o.certDir
	}
	options.Stores = access
	if o.cache == "" {
		return nil
	}
	if !slices.ContainsFunc(paths, func(path string) bool { _, ok := naming.Scheme(path); return ok }) {
		return usagef("--cache is for archives in buckets and on servers: no argument is one")
	}
	size, err := parseSize(o.cacheMax)
	if err != nil || size <= 0 {
		return usagef("--cache-size %q is not a size such as 50G", o.cacheMax)
	}
	options.CacheDir, options.CacheSize = o.cache, size
	return nil
}

// listeners returns the listeners for images and for metrics, nil if metrics are
// not served.
func (o *serveOptions) listeners(ctx context.Context) (images, metrics net.Listener, err error) {
	images, err = listen(ctx, "--listen", o.listen)
	if err != nil || o.metrics == "" {
		return images, nil, err
	}
	metrics, err = listen(ctx, "--metrics", o.metrics)
	if err != nil {
		return nil, nil, errors.Join(err, images.Close())
	}
	return images, metrics, nil
}

func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, usagef("%s %q is not of the form [HOST]:PORT", flag, address)
	}
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", address)
}

// accessLog returns a function that writes a line for each request to w.
func accessLog(w io.Writer) func(serving.Access) {
	var mu sync.Mutex
	return func(a serving.Access) {
		host, _, err := net.SplitHostPort(a.Remote)
		if err != nil {
			host = a.Remote
		}
		user := "-"
		if a.User != "" {
			user = printable.String(a.User)
		}
		line := fmt.Sprintf("%s - %s [%s] \"%s %s\" %d %d %.3fs\n", host, user, a.Begun.Format("02/Jan/2006:15:04:05 -0700"),
			printable.String(a.Method), printable.String(a.Target), a.Status, a.Bytes, a.Duration.Seconds())
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, line) // Serving goes on without a log.
	}
}
