//go:build interop && interopall

package interop

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// TestReplicas pulls 60 images of 8 MB with docker, containerd and skopeo, through nginx, from three replicas of serve
// that share only a bucket. One replica is killed while it sends.
func TestReplicas(t *testing.T) {
	const images, killAt = 60, 15
	store, dir := startVersitygw(t), t.TempDir()
	local := filepath.Join(dir, "archives")
	require.NoError(t, os.Mkdir(local, 0o755))
	for n := range images {
		content, archive := filepath.Join(dir, "content"), filepath.Join(local, fmt.Sprintf("%02d.tar", n))
		data := make([]byte, 8<<20)
		_, _ = rand.Read(data) // Never fails.
		require.NoError(t, os.WriteFile(content, data, 0o600))
		dockerArchive(t).run(t, "make", "-q", "--add", content+":/data", "--set-platform", "linux/amd64", "-t", servedHost+"/team/"+fmt.Sprintf("app:%d", n), "-o", archive)
		store.put(t, fmt.Sprintf("prod/%02d.tar", n), archive)
	}
	want := make([]digest.Digest, images)
	file := startServe(t, "--quiet", local)
	for n := range want {
		want[n] = servedDigest(t, file, "team/app", fmt.Sprint(n))
	}
	var replicas []*daemon
	var addresses []string
	for n := range 3 {
		address, d := startServeAs(t, store.command(t), "--quiet", "--cache", filepath.Join(dir, fmt.Sprint("cache", n)), store.path("prod"))
		addresses, replicas = append(addresses, address), append(replicas, d)
	}
	balancer := startNginx(t, addresses)
	runtime, docker := startBuiltContainerd(t), startDockerd(t, debian(t, "dockerd"), startDebianContainerd(t), false)
	skopeo := debian(t, "skopeo")
	pulls := []func(name string) (digest.Digest, error){
		func(name string) (digest.Digest, error) {
			if _, err := runtime.ctr.try(t, "images", "pull", "--plain-http", name); err != nil {
				return "", err
			}
			list, err := runtime.ctr.try(t, "images", "ls", "name=="+name)
			lines := strings.Split(strings.TrimSpace(list), "\n")
			return digest.Digest(strings.Fields(lines[len(lines)-1])[2]), err
		},
		func(name string) (digest.Digest, error) {
			if _, err := docker.docker.try(t, "pull", name); err != nil {
				return "", err
			}
			repo, err := docker.docker.try(t, "image", "inspect", "--format", "{{index .RepoDigests 0}}", name)
			_, d, _ := strings.Cut(strings.TrimSpace(repo), "@")
			return digest.Digest(d), err
		},
		func(name string) (digest.Digest, error) {
			out, err := os.MkdirTemp(dir, "skopeo")
			if err == nil {
				_, err = skopeo.try(t, "copy", "--insecure-policy", "--src-tls-verify=false", "docker://"+name, "dir:"+out)
			}
			if err != nil {
				return "", err
			}
			d, err := skopeo.try(t, "manifest-digest", filepath.Join(out, "manifest.json"))
			return digest.Digest(strings.TrimSpace(d)), err
		},
	}
	var clients errgroup.Group
	clients.SetLimit(6)
	var begun atomic.Int32
	var kill sync.Once
	start := time.Now()
	for n := range images {
		clients.Go(func() error {
			if begun.Add(1) > killAt {
				kill.Do(func() { replicas[1].die(t) }) // Others are in the middle of an image.
			}
			d, err := pulls[n%len(pulls)](fmt.Sprintf("%s/team/app:%d", balancer, n))
			if assert.NoError(t, err, "client %d", n%len(pulls)) {
				assert.Equal(t, want[n], d)
			}
			return nil
		})
	}
	require.NoError(t, clients.Wait())
	t.Logf("%d pulls of 8 MiB in %v", images, time.Since(start).Round(time.Millisecond))
}

// startNginx starts Debian's nginx before the replicas, and returns its address. It passes on 8 MB a second for each
// connection.
func startNginx(t *testing.T, replicas []string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	dir := daemonDir(t)
	var servers bytes.Buffer
	for _, r := range replicas {
		fmt.Fprintf(&servers, "server %s max_fails=1 fail_timeout=5s; ", r)
	}
	config := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `daemon off;
pid %[1]s/nginx.pid;
error_log stderr;
user root;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  upstream replicas { %[2]s}
  server {
    listen %[3]s;
    location / {
      proxy_pass http://replicas;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_buffering off;
      proxy_next_upstream error timeout http_503;
      limit_rate 8m;
    }
  }
}
`, dir, servers.String(), address), 0o600))
	nginx := debian(t, "nginx").with("-c", config, "-p", dir)
	startDaemon(t, dir, nginx, func() error {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		return c.Close()
	})
	return address
}
