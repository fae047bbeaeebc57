//go:build linux

package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Registries as people run them, each behind each of the networks. What moves is what the
// origin sends: behind a cache, that to the cache.

// realRegistry is a registry that a case starts, and that has bench/app:v0 once it has been
// pushed there.
type realRegistry struct {
	name, title string
	needs       string
	server      string
	goal        float64 // of save ÷ crane pull where nothing is slow
}

const debianRegistry = `cat >$TMPDIR/origin.yml <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: $DATA/docker-registry}}
http: {addr: ORIGIN}
END
`

var realRegistries = []realRegistry{
	{name: "docker-registry", title: "Debian's docker-registry", needs: "docker-registry", goal: 0.8,
		server: strings.Replace(debianRegistry, "ORIGIN", "$ADDRESS", 1) + "exec docker-registry serve $TMPDIR/origin.yml"},
	{name: "crane-registry", title: "crane registry serve --disk", needs: "crane", goal: 0.75,
		server: "mkdir -p $DATA/crane-registry; exec crane registry serve --disk $DATA/crane-registry --address $ADDRESS"},
	{name: "serve-save", title: "docker-archive serve", server: "exec docker-archive serve -q --listen $ADDRESS packed.tar"},
	{name: "cache", title: "nginx with proxy_cache and no slices", needs: "nginx docker-registry", server: strings.Replace(debianRegistry, "ORIGIN", "unix", 1) +
		// It takes any free port, and says to nobody which.
		`sed -i "s#addr: unix#net: unix, addr: $SOCKETS/origin.sock#" $TMPDIR/origin.yml
rm -f $SOCKETS/origin.sock
docker-registry serve $TMPDIR/origin.yml & origin=$!
cat >$TMPDIR/nginx.conf <<END
daemon off; user root; worker_processes auto; pid $TMPDIR/nginx.pid;
events { worker_connections 768; }
http {
  log_format moved '\$upstream_bytes_received'; access_log $TMPDIR/moved moved;
  proxy_cache_path $TMPDIR/cache keys_zone=blobs:10m max_size=10g inactive=1h;
  client_body_temp_path $TMPDIR/body; proxy_temp_path $TMPDIR/proxy; fastcgi_temp_path $TMPDIR/fastcgi;
  uwsgi_temp_path $TMPDIR/uwsgi; scgi_temp_path $TMPDIR/scgi;
  server {
    listen $ADDRESS; client_max_body_size 0;
    location / { proxy_pass http://unix:$SOCKETS/origin.sock; proxy_set_header Host \$http_host; }
    location ~ /blobs/sha256 {
      proxy_pass http://unix:$SOCKETS/origin.sock; proxy_set_header Host \$http_host;
      proxy_cache blobs; proxy_cache_valid 200 1h;
    }
  }
}
END
trap 'kill $nginx $origin; wait || true; exit 0' TERM
nginx -e stderr -p $TMPDIR -c $TMPDIR/nginx.conf & nginx=$!
wait $nginx`},
}

// realNetworks are those in which the registries are, by what their cases are called.
var realNetworks = []struct {
	index       networkIndex
	name, title string
	goal        float64 // of save ÷ crane pull
}{
	{fast, "", "", 0}, {slow, "-slow", " at 20 MB/s a connection", 0.2}, {narrow, "-narrow", " at 50 MB/s in sum", 0},
	{distant, "-distant", " with 50 ms of delay a request", 0}, {failing, "-failing", " that breaks every 10 MB", 0},
}

// realCases are the pulls from each registry in each network by each client, and the pushes
// to the registries that take one. Those of clients that cannot go on where a connection
// broke are left out.
func realCases() (all []benchCase) {
	clients := []struct{ name, title, run string }{
		{"crane", "crane pull", "crane pull --insecure $REGISTRY/bench/app:v0 $OUT"},
		{"regctl", "regctl image export", regctl + "export $REGISTRY/bench/app:v0 $OUT"},
		{"skopeo", "skopeo copy to oci-archive:", skopeo + registry + " oci-archive:$OUT"},
	}
	for _, r := range realRegistries {
		there := "docker-archive push -q --tls-verify=false packed.tar $ADDRESS/bench"
		if r.name == "serve-save" {
			there = ""
		}
		for _, n := range realNetworks {
			for _, client := range clients {
				if n.index == failing && client.name != "regctl" {
					continue
				}
				c := benchCase{
					name: r.name + n.name + "-" + client.name, title: r.title + n.title + " → save ÷ " + client.title,
					network: n.index, behind: true, distinct: image, needs: strings.TrimSpace(r.needs + " " + client.name), varies: client.name == "skopeo",
					ours:   side{server: r.server, prepare: there, run: strings.Replace(save, "save", "save --tls-verify=false", 1)},
					theirs: side{server: r.server, prepare: there, run: client.run},
				}
				if client.name == "crane" {
					if c.goal = n.goal; n.index == fast {
						c.goal = r.goal
					}
				}
				if r.name == "serve-save" {
					c.ours.run, c.theirs.run = strings.ReplaceAll(c.ours.run, "bench/app", "app"), strings.ReplaceAll(c.theirs.run, "bench/app", "app")
				}
				all = append(all, c)
			}
		}
		if r.name == "docker-registry" {
			all = append(all, benchCase{
				name: "push-second-repository", title: r.title + ", which has all in another repository → push ÷ skopeo copy", goal: 1.1, behind: true, varies: true, needs: r.needs + " skopeo",
				ours:   side{server: r.server, prepare: there, run: "docker-archive push --tls-verify=false packed.tar $ADDRESS/ours$$"},
				theirs: side{server: r.server, prepare: skopeo + "oci-archive:packed.tar:v0 docker://$ADDRESS/skopeo/app:v0", run: skopeo + "oci-archive:packed.tar:v0 docker://$ADDRESS/skopeo/second$$:v0"},
			})
		}
	}
	return all
}

// startLine has $REGISTRY lead to $ADDRESS in a network, and counts what comes back.
func (r *runner) startLine(n network) (stop func() error, err error) {
	target := os.Getenv("ADDRESS")
	// The same in all runs: it is in the names of images.
	listener, err := n.listen(cmp.Or(r.front, anyPort))
	if err != nil {
		return nil, err
	}
	r.front = listener.Addr().String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // It is closed.
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("tcp", target)
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(struct{ io.Writer }{server}, struct{ io.Reader }{client}) // Whose end is gone, the other notices.
					_ = server.Close()
				}()
				_, _ = io.CopyBuffer(countedWriter{struct{ io.Writer }{client}, &r.registry.moved}, struct{ io.Reader }{server}, make([]byte, 256<<10))
			}()
		}
	}()
	return listener.Close, os.Setenv("REGISTRY", r.front)
}

// movedBefore returns what a server says that it has moved in front of the line, which
// counts instead of what came over that; false if it says nothing.
func (r *runner) movedBefore() (n int64, ok bool, err error) {
	f, err := os.Open(filepath.Join(r.scratch, "moved"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close() // It was only read.
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var moved int64
		if _, err := fmt.Sscan(lines.Text(), &moved); err == nil { // What is cached has moved nothing.
			n += moved
		}
	}
	return n, true, lines.Err()
}
