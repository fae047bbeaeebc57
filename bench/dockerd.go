package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// dockerDaemon is a Docker daemon on a containerd, both built by "make interop", and what
// counts the bytes that it gets.
type dockerDaemon struct {
	sockets         string // a directory
	data            string // another one, on a disk
	containerdStore bool
}

func (d *dockerDaemon) socket(name string) string { return filepath.Join(d.sockets, name+".sock") }

func (d *dockerDaemon) startContainerd(ctx context.Context) (stop func() error, err error) {
	config := filepath.Join(d.sockets, "containerd.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `version = 2
root = "%[1]s/containerd"
state = "%[2]s/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "%[3]s"
[ttrpc]
  address = "%[3]s.ttrpc"
`, d.data, d.sockets, d.socket("containerd")), 0o600); err != nil {
		return nil, err
	}
	return d.startDaemon(ctx, "containerd", "--config", config)
}

func (d *dockerDaemon) startDockerd(ctx context.Context) (stop func() error, err error) {
	config := filepath.Join(d.sockets, "daemon.json")
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"features": {"containerd-snapshotter": %t}}`, d.containerdStore), 0o600); err != nil {
		return nil, err
	}
	return d.startDaemon(ctx, "dockerd", "--config-file", config, "--host", "unix://"+d.socket("dockerd"),
		"--data-root", filepath.Join(d.data, "docker"), "--exec-root", filepath.Join(d.sockets, "exec"), "--pidfile", filepath.Join(d.sockets, "docker.pid"),
		"--containerd", d.socket("containerd"),
		"--iptables=false", "--ip6tables=false", "--bridge=none") // The network of the machine stays as it is.
}

// startDaemon starts a daemon and waits until its socket answers.
func (d *dockerDaemon) startDaemon(ctx context.Context, name string, args ...string) (stop func() error, err error) {
	dir, err := filepath.Abs(clientsDir)
	if err != nil {
		return nil, err
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(dir, name), args...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if c, err := net.Dial("unix", d.socket(name)); err == nil {
			return func() error { return errors.Join(cmd.Process.Signal(syscall.SIGTERM), <-ended) }, c.Close()
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("%s has ended: %w: %s", name, err, &log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// startProxy starts what passes on to the daemon what comes to the socket "proxy".
func (d *dockerDaemon) startProxy(sent *atomic.Int64) func(context.Context) (func() error, error) {
	return func(context.Context) (func() error, error) {
		listener, err := net.Listen("unix", d.socket("proxy"))
		if err != nil {
			return nil, err
		}
		var passing sync.WaitGroup
		passing.Go(func() {
			for {
				client, err := listener.Accept()
				if err != nil {
					return // It is closed.
				}
				passing.Go(func() { d.pass(client, sent) })
			}
		})
		return func() error {
			err := listener.Close()
			passing.Wait()
			return err
		}, nil
	}
}

// pass passes on what a client says, and then what the daemon answers. Whose end is
// gone, the other notices.
func (d *dockerDaemon) pass(client net.Conn, sent *atomic.Int64) {
	defer client.Close()
	server, err := net.Dial("unix", d.socket("dockerd"))
	if err != nil {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.CopyBuffer(countedWriter{server, sent}, struct{ io.Reader }{client}, make([]byte, 1<<20))
	_ = server.Close()
	answers.Wait()
}

// countedWriter adds what is written to a total.
type countedWriter struct {
	io.Writer
	total *atomic.Int64
}

// Write implements io.Writer.
func (c countedWriter) Write(p []byte) (int, error) {
	c.total.Add(int64(len(p)))
	return c.Writer.Write(p)
}
