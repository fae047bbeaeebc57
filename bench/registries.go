//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// registry is a registry as people run it.
type registry struct {
	name, title string
	needs       string  // programs
	run         string  // the lines that run it at $ADDRESS
	fill        string  // those that then put there what it has not, bench/app:v0 and :v1
	goal        float64 // of save ÷ crane pull where nothing is slow
}

// debian returns the lines that make a configuration of Debian's registry.
func debian(address, root string) string {
	return `cat >$TMPDIR/origin.yml <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {cache: {blobdescriptor: inmemory}, filesystem: {rootdirectory: ` + root + `}}
http: {` + address + `}
END
`
}

const (
	runDebian = "exec docker-registry serve $TMPDIR/origin.yml"
	fillAll   = "docker-archive push -q packed.tar $ADDRESS/bench; docker-archive copy -q oci:oci:v1 docker://$ADDRESS/bench/app:v1"
)

// Those that most cases use: pulled keeps what it has, empty is so at first.
var (
	pulled = &registry{name: "docker-registry", title: "Debian's docker-registry", needs: "docker-registry", goal: 0.8,
		run: debian("addr: $ADDRESS", "$DATA/docker-registry") + runDebian, fill: fillAll}
	// parted has an image of many layers of 10 MB.
	parted = &registry{needs: "docker-registry", run: debian("addr: $ADDRESS", "$DATA/docker-registry") + runDebian, fill: fillParts}
	empty  = &registry{needs: "docker-registry", run: debian("addr: $ADDRESS", "$TMPDIR/registry") + runDebian}
	// secure is pulled over TLS, with a certificate that verifying has for its own.
	secure = &registry{needs: "docker-registry", fill: fillAll,
		run: "bench certificate $TMPDIR/tls.crt $TMPDIR/tls.key\n" +
			debian("addr: $ADDRESS, tls: {certificate: $TMPDIR/tls.crt, key: $TMPDIR/tls.key}", "$DATA/docker-registry") + runDebian}
	emptyCrane = &registry{needs: "crane", run: "mkdir $TMPDIR/registry; exec crane registry serve --disk $TMPDIR/registry --address $ADDRESS"}
	// Behind cache, the origin sends its bytes to the cache.
	cache = &registry{name: "cache", title: "nginx with proxy_cache and no slices", needs: "nginx docker-registry", fill: fillAll,
		run: debian("net: unix, addr: $SOCKETS/origin.sock", "$DATA/docker-registry") +
			`rm -f $SOCKETS/origin.sock
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
      # To ask whether a blob is there is not to fetch it, so that filling caches nothing.
      proxy_cache blobs; proxy_cache_valid 200 1h; proxy_cache_convert_head off; proxy_cache_key \$request_method\$uri;
    }
  }
}
END
trap 'kill -QUIT $nginx; wait $nginx; kill $origin; wait || true; exit 0' TERM
nginx -e stderr -p $TMPDIR -c $TMPDIR/nginx.conf & nginx=$!
wait $nginx`}
)

// verifying has a side trust only the certificate of secure.
const verifying = "export SSL_CERT_FILE=$TMPDIR/tls.crt; "

// registries are those that are behind each of the networks. Only bytes that the origin sends
// count as moved.
var registries = []*registry{
	pulled,
	{name: "crane-registry", title: "crane registry serve --disk", needs: "crane", goal: 0.75, fill: fillAll,
		run: "mkdir -p $DATA/crane-registry; exec crane registry serve --disk $DATA/crane-registry --address $ADDRESS"},
	{name: "serve-save", title: "docker-archive serve", run: "exec docker-archive serve -q --listen $ADDRESS packed.tar"},
	cache,
}

// realNetworks are the networks of the registries, by the names of their cases.
var realNetworks = []struct {
	index       networkIndex
	name, title string
	goal        float64 // of save ÷ crane pull
}{
	{fast, "", "", 0}, {slow, "-slow", " at 20 MB/s a connection", 0.2}, {narrow, "-narrow", " at 50 MB/s in sum", 0},
	{distant, "-distant", " with 50 ms of delay a request", 0}, {failing, "-failing", " that breaks every 10 MB", 0},
}

// realCases are the pulls from each registry in each network by each client, and pushes.
func realCases() (all []benchCase) {
	clients := []struct{ name, title, run string }{
		{"crane", "crane pull", "crane pull --insecure $REGISTRY/bench/app:v0 $OUT"},
		{"regctl", "regctl image export", regctl + "export $REGISTRY/bench/app:v0 $OUT"},
		{"skopeo", "skopeo copy to oci-archive:", skopeo + image0 + " oci-archive:$OUT"},
	}
	for _, r := range registries {
		for _, n := range realNetworks {
			for _, client := range clients {
				c := benchCase{
					givesUp: n.index == failing,
					name:    r.name + n.name + "-" + client.name, title: r.title + n.title + " → save ÷ " + client.title,
					registry: r, network: n.index, distinct: image, needs: client.name, varies: client.name == "skopeo" || n.index == failing,
					ours: side{run: save}, theirs: side{run: client.run},
				}
				if client.name == "crane" {
					if c.goal = n.goal; n.index == fast {
						c.goal = r.goal
					}
				}
				if r.fill == "" { // It has the name of the archive.
					c.ours.run, c.theirs.run = strings.ReplaceAll(c.ours.run, "bench/app", "app"), strings.ReplaceAll(c.theirs.run, "bench/app", "app")
				}
				all = append(all, c)
			}
		}
	}
	return append(all, pushCases()...)
}

// pushCases are the pushes to crane's registry, as cases has those to Debian's, and to a second
// repository of each.
func pushCases() []benchCase {
	name, title := "crane-registry-", "archive → push to crane's own registry ÷ "
	second := func(r *registry, name, title string) benchCase {
		return benchCase{
			name: name, title: title + ", which has all in another repository → push ÷ skopeo copy", goal: 1.1, registry: r, varies: true, needs: "skopeo",
			ours:   side{run: "docker-archive push packed.tar $REGISTRY/ours$$", prepare: "docker-archive push -q packed.tar $REGISTRY/bench"},
			theirs: side{prepare: skopeo + "oci-archive:packed.tar:v0 docker://$REGISTRY/skopeo/app:v0", run: skopeo + "oci-archive:packed.tar:v0 docker://$REGISTRY/skopeo/second$$:v0"},
		}
	}
	return []benchCase{
		second(pulled, "push-second-repository", pulled.title),
		{name: name + "push", title: title + "skopeo copy oci-archive:", goal: 0.8, registry: emptyCrane, distinct: image, needs: "skopeo",
			ours: side{run: push}, theirs: side{run: pushSkopeo}},
		{name: name + "push-crane", title: title + "crane push", goal: 0.8, registry: emptyCrane, distinct: image,
			ours: side{run: push}, theirs: side{run: pushCrane}},
		{name: name + "push-regctl", title: title + "regctl image import", goal: 0.8, registry: emptyCrane, distinct: image, needs: "regctl",
			ours: side{run: push}, theirs: side{run: pushRegctl}},
		second(emptyCrane, name+"push-second-repository", "crane's own registry"),
	}
}

// direct reports whether clients reach the registry of a case without this process between,
// as users do. Else its network is there, and counts.
func (c benchCase) direct() bool { return c.registry != nil && networks[c.network] == (network{}) }

// startRegistry runs and fills the registry of a case, and has $REGISTRY lead to it: straight,
// or through the network of the case, which counts the bytes that pass.
func (r *runner) startRegistry(ctx context.Context, c benchCase, straight bool) (stop func() error, err error) {
	// The address of clients is the same in all runs: it is in the names of images.
	if err := os.Setenv("REGISTRY", r.front); err != nil {
		return nil, err
	}
	address := ""
	if straight {
		address = r.front
	}
	stopServer, err := r.startServer(ctx, false, c.registry.run, address)
	if err != nil {
		return nil, err
	}
	stopAll := func() error { _, err := stopServer(); return err }
	if cmd, said := r.shell(ctx, c.registry.fill); c.registry.fill != "" {
		if err := cmd.Run(); err != nil {
			return nil, errors.Join(fmt.Errorf("filling the registry: %w: %s", err, said), stopAll())
		}
	}
	if straight {
		return stopAll, nil
	}
	stopLine, err := r.startLine(networks[c.network])
	if err != nil {
		return nil, errors.Join(err, stopAll())
	}
	return func() error { return errors.Join(stopLine(), stopAll()) }, nil
}

// startLine leads from the address of clients to $ADDRESS through a network, and counts the
// bytes that pass.
func (r *runner) startLine(n network) (stop func() error, err error) {
	target := os.Getenv("ADDRESS")
	listener, err := n.listen(r.front)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // It is closed.
			}
			r.passing.Go(func() {
				server, err := net.Dial("tcp", target)
				if err != nil {
					_ = client.Close() // The client notices.
					return
				}
				r.passing.Go(func() { r.pass(server, client) })
				r.pass(client, server)
			})
		}
	}()
	return listener.Close, nil
}

// pass passes on what comes from one side, by the kernel alone where the network is fast, and
// then closes both: a side that has sent everything closes its end only when it has the
// answer.
func (r *runner) pass(to, from net.Conn) {
	n, _ := io.Copy(to, from) // The other end notices a lost one.
	r.moved.Add(n)
	_, _ = to.Close(), from.Close()
}

// movedNow returns how many bytes have moved when the line is idle: the sum of a server that
// has a line of its own behind it, else what passed.
func (r *runner) movedNow() (n int64, err error) {
	r.passing.Wait()
	f, err := os.Open(filepath.Join(r.scratch, "moved"))
	if errors.Is(err, fs.ErrNotExist) {
		return r.moved.Load(), nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close() // It was only read.
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var moved int64
		if _, err := fmt.Sscan(lines.Text(), &moved); err == nil { // Cached data has moved nothing.
			n += moved
		}
	}
	return n, lines.Err()
}
