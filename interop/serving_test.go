//go:build interop

package interop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The image for tests of pulling, by its names. Its program says hello.
const (
	servedHost = "registry.example.com"
	servedPath = "team/hello"
	servedTag  = "v1"
	hubServed  = "docker.io/library/served-hello:v1"
)

// startServe serves archives and returns the host and the port.
func startServe(t *testing.T, args ...string) string {
	t.Helper()
	address, _ := startServeAs(t, dockerArchive(t), args...)
	return address
}

// startServeAs is startServe of a command that is run in another way.
func startServeAs(t *testing.T, command program, args ...string) (address string, d *daemon) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address = l.Addr().String()
	require.NoError(t, l.Close())
	server := command.with("serve", "--listen", address).with(args...)
	return address, startDaemon(t, daemonDir(t), server, func() error {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// TestServeIdleConnections has skopeo pull while others hold ten thousand connections and ask for
// nothing, also from a server that may open few files.
func TestServeIdleConnections(t *testing.T) {
	const many, maxMemory = 10_000, 64 << 10 // KiB
	command := dockerArchive(t)
	for name, server := range map[string]program{
		"as it is":  command,
		"200 files": {name: command.name, argv: append([]string{"sh", "-c", `ulimit -n 200; exec "$0" "$@"`}, command.argv...)},
	} {
		t.Run(name, func(t *testing.T) {
			address, d := startServeAs(t, server, "--quiet", "../testdata/archives/docker29.tar")
			for range many {
				c, err := net.Dial("tcp", address)
				require.NoError(t, err)
				defer c.Close()
			}
			debian(t, "skopeo").run(t, "copy", "--insecure-policy", "--src-tls-verify=false", "docker://"+address+"/tiny/one:v1", "dir:"+t.TempDir())
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.process.Pid))
			require.NoError(t, err)
			_, peak, _ := strings.Cut(string(status), "VmHWM:")
			var kib int
			_, err = fmt.Sscan(peak, &kib)
			require.NoError(t, err)
			t.Logf("%d KiB", kib)
			assert.Less(t, kib, maxMemory)
		})
	}
}

// TestServeSecured has skopeo pull with a certificate and a user, and not without.
func TestServeSecured(t *testing.T) {
	dir := daemonDir(t)
	certs := filepath.Join(dir, "certs")
	require.NoError(t, os.Mkdir(certs, 0o755))
	certificate, key, users := filepath.Join(certs, "ca.crt"), filepath.Join(dir, "server.key"), filepath.Join(dir, "users")
	writeCertificate(t, certificate, key)
	writeUsers(t, users)
	address := startServe(t, "--tls-cert", certificate, "--tls-key", key, "--htpasswd", users, "../testdata/archives/docker29.tar")
	skopeo := debian(t, "skopeo")
	source := "docker://" + address + "/tiny/one:v1"
	_, err := skopeo.try(t, "inspect", "--no-creds", "--cert-dir", certs, source)
	require.ErrorContains(t, err, "unauthorized")
	_, err = skopeo.try(t, "inspect", "--creds", securedUser+":wrong", "--cert-dir", certs, source)
	require.ErrorContains(t, err, "unauthorized")
	skopeo.run(t, "copy", "--insecure-policy", "--src-cert-dir", certs, "--src-creds", securedUser+":"+securedPassword, source, "dir:"+filepath.Join(dir, "copy"))
}

// A puller pulls an image under a name from a registry, runs it if it can, and returns its
// output, or "" and the digest of the manifest.
type puller struct {
	name string
	pull func(t *testing.T, address string) (output string, manifest digest.Digest)
}

var pullers = []puller{
	{"docker 20.10", func(t *testing.T, address string) (string, digest.Digest) {
		return pullDocker(t, address, debian(t, "dockerd"), startDebianContainerd(t), false)
	}},
	{"docker 29 graphdriver", func(t *testing.T, address string) (string, digest.Digest) {
		return pullDocker(t, address, built(t, "dockerd"), startBuiltContainerd(t), false)
	}},
	{"docker 29 containerd store", func(t *testing.T, address string) (string, digest.Digest) {
		return pullDocker(t, address, built(t, "dockerd"), startBuiltContainerd(t), true)
	}},
	{"containerd 1.6", func(t *testing.T, address string) (string, digest.Digest) {
		return pullContainerd(t, address, startDebianContainerd(t))
	}},
	{"containerd 2.4", func(t *testing.T, address string) (string, digest.Digest) {
		return pullContainerd(t, address, startBuiltContainerd(t))
	}},
	{"podman", pullPodman},
	{"skopeo", func(t *testing.T, address string) (string, digest.Digest) {
		skopeo := debian(t, "skopeo")
		dir := t.TempDir()
		skopeo.run(t, "copy", "--insecure-policy", "--src-tls-verify=false", "docker://"+address+"/"+servedPath+":"+servedTag, "dir:"+dir)
		return "", digest.Digest(strings.TrimSpace(skopeo.run(t, "manifest-digest", filepath.Join(dir, "manifest.json"))))
	}},
	{"crane", func(t *testing.T, address string) (string, digest.Digest) {
		crane := built(t, "crane").withEnv("HOME=" + t.TempDir())
		name := address + "/" + servedHost + "/" + servedPath + ":" + servedTag
		crane.run(t, "pull", "--format", "oci", name, filepath.Join(t.TempDir(), "layout"))
		return "", digest.Digest(strings.TrimSpace(crane.run(t, "digest", name)))
	}},
	{"regctl", func(t *testing.T, address string) (string, digest.Digest) {
		regctl := built(t, "regctl").withEnv("HOME=" + t.TempDir())
		regctl.run(t, "registry", "set", "--tls", "disabled", address)
		name := address + "/" + servedPath + ":" + servedTag
		regctl.run(t, "image", "copy", name, "ocidir://"+filepath.Join(t.TempDir(), "copy")+":"+servedTag)
		return "", digest.Digest(strings.TrimSpace(regctl.run(t, "image", "digest", name)))
	}},
}

// TestServePulls has clients pull from archives of both layouts, directly and as from a mirror,
// and run the image.
func TestServePulls(t *testing.T) {
	dir := t.TempDir()
	layout := helloLayout(t, dir)
	name := servedHost + "/" + servedPath + ":" + servedTag
	kept := filepath.Join(dir, "kept.tar")
	dockerArchive(t).run(t, "copy", "--insecure-policy", "oci:"+layout+":hello", "image-archive:"+kept+":"+name, "--additional-tag", hubServed)
	for _, archive := range []struct {
		name, path string
		manifest   digest.Digest // that of the source
	}{
		{"OCI layout", kept, layoutImage(t, layout, "hello").manifest},
		{"docker layout", copyArchive(t, dir, "oci:"+layout+":hello", name, hubServed), ""},
	} {
		t.Run(archive.name, func(t *testing.T) {
			address := startServe(t, archive.path)
			for _, p := range pullers {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					output, manifest := p.pull(t, address)
					if output != "" {
						assert.Equal(t, helloOutput, strings.TrimSpace(output))
					}
					if archive.manifest != "" && manifest != "" {
						assert.Equal(t, archive.manifest, manifest)
					}
				})
			}
		})
	}
}

// pullDocker has docker pull from the registry itself, and from Docker Hub with the registry as
// its mirror, and run the pulled images.
func pullDocker(t *testing.T, address string, server program, runtime containerd, containerdStore bool) (string, digest.Digest) {
	t.Helper()
	d := startDockerd(t, server.with("--registry-mirror", "http://"+address), runtime, containerdStore)
	name := address + "/" + servedPath + ":" + servedTag
	d.docker.run(t, "pull", name)
	repoDigest := d.docker.run(t, "image", "inspect", "--format", "{{index .RepoDigests 0}}", name)
	_, manifest, _ := strings.Cut(strings.TrimSpace(repoDigest), "@")
	d.docker.run(t, "pull", hubServed)
	output, err := d.runImage(t, archive{}, hubServed)
	require.NoError(t, err)
	return output, digest.Digest(manifest)
}

// pullContainerd has containerd pull from another registry with this one as its mirror.
func pullContainerd(t *testing.T, address string, c containerd) (string, digest.Digest) {
	t.Helper()
	hosts := t.TempDir()
	dir := filepath.Join(hosts, servedHost)
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hosts.toml"), fmt.Appendf(nil, `server = "https://%s"

[host."http://%s"]
  capabilities = ["pull", "resolve"]
`, servedHost, address), 0o600))
	name := servedHost + "/" + servedPath + ":" + servedTag
	c.ctr.run(t, "images", "pull", "--hosts-dir", hosts, name)
	list := c.ctr.run(t, "images", "ls", "name=="+name)
	fields := strings.Fields(strings.Split(strings.TrimSpace(list), "\n")[1])
	output, err := c.runContainer(t, name)
	require.NoError(t, err)
	return output, digest.Digest(fields[2])
}

// pullPodman has podman pull from another registry with this one as its mirror.
func pullPodman(t *testing.T, address string) (string, digest.Digest) {
	t.Helper()
	dir := daemonDir(t)
	config := filepath.Join(dir, "registries.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `[[registry]]
prefix = "%[1]s"
location = "%[1]s"

[[registry.mirror]]
location = "%[2]s/%[1]s"
insecure = true
`, servedHost, address), 0o600))
	podman := podmanIn(t, dir).withEnv("CONTAINERS_REGISTRIES_CONF=" + config)
	name := servedHost + "/" + servedPath + ":" + servedTag
	podman.run(t, "pull", name)
	manifest := podman.run(t, "image", "inspect", "--format", "{{.Digest}}", name)
	monitor := filepath.Join(dir, "monitor.pid")
	output, err := podman.try(t, "run", "--rm", "--network", "none", "--conmon-pidfile", monitor,
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", name)
	require.NoError(t, err)
	require.NoError(t, awaitEnd(monitor))
	return output, digest.Digest(strings.TrimSpace(manifest))
}

// servedDigest returns the digest that a registry has for a tag.
func servedDigest(t *testing.T, address, name, tag string) digest.Digest {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/v2/"+name+"/manifests/"+tag, nil)
	require.NoError(t, err)
	request.Header["Accept"] = []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex}
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode, "%s", body)
	return digest.FromBytes(body)
}
