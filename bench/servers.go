//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// The servers of cases, with as little configuration as they run with.

// read reads the blobs of the image from the server of a side, over 8 connections.
func read(what, path string) string { return "bench read $ADDRESS " + path + " 8 " + what }

func serve(what string) side {
	return side{server: "exec docker-archive serve -q --listen $ADDRESS packed.tar", run: read(what, "/v2/app/"+kind(what)+"/")}
}

// nginx serves the files of the layout. The configuration is Debian's, as far as it matters.
func nginx(what string) side {
	return side{run: read(what, "/blobs/sha256/"), server: `cat >$TMPDIR/nginx.conf <<END
daemon off; user root; worker_processes auto; pid $TMPDIR/nginx.pid;
events { worker_connections 768; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path $TMPDIR/body; proxy_temp_path $TMPDIR/proxy; fastcgi_temp_path $TMPDIR/fastcgi;
  uwsgi_temp_path $TMPDIR/uwsgi; scgi_temp_path $TMPDIR/scgi;
  server { listen $ADDRESS; root $DATA/oci; }
}
END
exec nginx -e stderr -p $TMPDIR -c $TMPDIR/nginx.conf`}
}

// distribution is the registry of the distribution project, with its own example.
func distribution(what string) side {
	return side{run: read(what, "/v2/app/"+kind(what)+"/"), prepare: "docker-archive push packed.tar $ADDRESS", server: `cat >$TMPDIR/registry.yml <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: $TMPDIR/registry}}
http: {addr: $ADDRESS}
END
OTEL_TRACES_EXPORTER=none exec registry serve $TMPDIR/registry.yml`}
}

// kind is where a registry has something.
func kind(what string) string {
	if what == "manifests" {
		return what
	}
	return "blobs"
}

const dockerNeeds = "docker dockerd containerd containerd-shim-runc-v2 runc"

// dockerSide loads into a daemon that has the first image, with the containerd store or
// without. The first image stays when the second gets its name.
func dockerSide(containerdStore, run string) side {
	return side{run: run, prepare: "docker load --quiet --input packed.tar; docker tag example.com/app:v0 first:1", server: `cat >$TMPDIR/containerd.toml <<END
version = 2
root = "$TMPDIR/containerd"
state = "$SOCKETS/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$SOCKETS/containerd.sock"
[ttrpc]
  address = "$SOCKETS/containerd.ttrpc"
END
echo '{"features": {"containerd-snapshotter": ` + containerdStore + `}}' >$TMPDIR/daemon.json
containerd --config $TMPDIR/containerd.toml & containerd=$!
until [ -S $SOCKETS/containerd.sock ]; do sleep 0.05; done
# The network of the machine stays as it is.
dockerd --config-file $TMPDIR/daemon.json --host unix://$SOCKETS/dockerd.sock --data-root $TMPDIR/docker \
  --exec-root $SOCKETS/exec --pidfile $SOCKETS/docker.pid --containerd $SOCKETS/containerd.sock \
  --iptables=false --ip6tables=false --bridge=none & dockerd=$!
trap 'kill $dockerd; wait $dockerd; kill $containerd; wait $containerd; exit 0' TERM
wait $dockerd`}
}

// container makes a container whose root file system is that of the image, in a store of
// its own, unless there is one; and removes the leftovers of a commit.
const container = `[ -d store ] || { buildah from --name bench scratch; buildah add -q bench $DATA/layers/?.tar /; }
buildah rmi --all --force`

// startServer starts the server of a side and waits until it listens: on $ADDRESS, which is
// address or, if that is "", a free one; or on the socket of a Docker daemon, before which then
// stands what counts what it gets. The returned function ends it and returns its usage.
func (r *runner) startServer(ctx context.Context, docker bool, lines, address string) (stop func() (measurement, error), err error) {
	network, counted := "tcp", func() error { return nil }
	if docker {
		network, address = "unix", filepath.Join(r.sockets, "dockerd.sock")
		if counted, err = r.startProxy(address); err != nil {
			return nil, err
		}
	} else {
		if address == "" {
			if address, err = freeAddress(); err != nil {
				return nil, err
			}
		}
		if err := os.Setenv("ADDRESS", address); err != nil {
			return nil, err
		}
	}
	cmd, said := r.shell(ctx, lines)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, counted())
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if c, err := net.Dial(network, address); err == nil {
			return func() (measurement, error) {
				err := cmd.Process.Signal(syscall.SIGTERM)
				if endErr := <-ended; cmd.ProcessState.Exited() { // Not every server catches the signal.
					err = errors.Join(err, endErr)
				}
				if err = errors.Join(err, counted()); err != nil {
					err = fmt.Errorf("ending the server: %w: %s", err, said)
				}
				return used(cmd), err
			}, c.Close()
		}
		select {
		case err := <-ended:
			return nil, errors.Join(fmt.Errorf("the server has ended: %w: %s", err, said), counted())
		case <-time.After(time.Millisecond):
		}
	}
}

// freeAddress returns an address of this machine where nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", anyPort)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// startProxy passes on bytes from a socket for clients to the daemon's socket, and counts
// them.
func (r *runner) startProxy(daemon string) (stop func() error, err error) {
	path := filepath.Join(r.sockets, "proxy.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // It is closed.
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("unix", daemon)
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(client, server) // The other end notices a lost one.
					_ = client.Close()
				}()
				_, _ = io.CopyBuffer(countedWriter{server, &r.moved}, struct{ io.Reader }{client}, make([]byte, 1<<20))
				_ = server.Close()
			}()
		}
	}()
	return listener.Close, os.Setenv("DOCKER_HOST", "unix://"+path)
}

// countedWriter adds written bytes to a total.
type countedWriter struct {
	io.Writer
	total *atomic.Int64
}

// Write implements io.Writer.
func (c countedWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.total.Add(int64(n))
	return n, err
}
