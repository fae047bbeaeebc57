//go:build interop && interopall

package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// packagedImage pushes an image with a Debian package that scanners find.
func packagedImage(t *testing.T, registry string) (name string) {
	t.Helper()
	dir, name := t.TempDir(), registry+"/deb:1"
	shell(t, `cd "$1"; mkdir -p root/var/lib/dpkg root/etc
		printf 'Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2.15-2\n\n' >root/var/lib/dpkg/status
		printf 'ID=debian\nVERSION_ID="12"\n' >root/etc/os-release`, dir)
	path := filepath.Join(dir, "made.tar")
	da := dockerArchive(t)
	da.run(t, "make", "-q", "--add", filepath.Join(dir, "root")+":/", "--set-platform", "linux/amd64", "-t", name, "-o", path)
	da.run(t, "push", "-q", "--tls-verify=false", path, registry)
	return name
}

// servedAt serves an archive and returns the address.
func servedAt(t *testing.T, archive string) string {
	t.Helper()
	da := dockerArchive(t)
	cmd := exec.CommandContext(t.Context(), da.argv[0], "serve", "--listen", "127.0.0.1:0", archive)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() }) // The test's context has ended it.
	said := make([]byte, 0, 4096)
	for buffer := make([]byte, 4096); ; {
		n, err := stderr.Read(buffer)
		require.NoError(t, err, "%s", said)
		said = append(said, buffer[:n]...)
		if found := regexp.MustCompile(`serving at http://(\S+)`).FindSubmatch(said); found != nil {
			go func() { // It must not wait for a reader of its log.
				for err == nil {
					_, err = stderr.Read(buffer)
				}
			}()
			return string(found[1])
		}
	}
}

// TestScanners has syft and dive read all kinds of archives, as docs/works-with.md says.
func TestScanners(t *testing.T) {
	registry := startRegistry(t)
	name, dir, da := packagedImage(t, registry), t.TempDir(), dockerArchive(t)
	signer := cosigns(t)["cosign3"]
	signer.sign(t, registry+"/deb@"+strings.TrimSpace(built(t, "crane").run(t, "digest", "--insecure", name)))
	syft := built(t, "syft").withEnv("HOME="+dir, "SYFT_CHECK_FOR_APP_UPDATE=false")
	for kind, args := range map[string][]string{
		"default.tar": nil, "docker.tar": {"--layout", "docker"}, "oci.tar": {"--layout", "oci"},
		"referrers.tar": {"--referrers"}, "oci-referrers.tar": {"--layout", "oci", "--referrers"}, "gz.tar.gz": nil, "zst.tar.zst": nil,
	} {
		path := filepath.Join(dir, kind)
		da.run(t, append([]string{"save", "-q", "--insecure-policy", "--tls-verify=false", "-o", path, name}, args...)...)
		compressed := strings.HasSuffix(kind, "z") || strings.HasSuffix(kind, "zst")
		// syft takes a compressed archive for any file, finds nothing, and exits
		// with 0.
		found := syft.run(t, "-q", "scan", path, "-o", "syft-text")
		assert.Equal(t, !compressed, strings.Contains(found, "[bash]"), "%s: %s", kind, found)
		found = syft.run(t, "-q", "scan", "registry:"+servedAt(t, path)+"/deb:1", "-o", "syft-text")
		assert.Contains(t, found, "[bash]", kind)
		_, err := built(t, "dive").withEnv("CI=true").try(t, "--source", "docker-archive", path)
		assert.Equal(t, compressed, err != nil, "%s: %v", kind, err)
	}
}

// TestTrivy has trivy list the packages of an image in each kind of archive that it reads, and in
// the unpacked directory of one that it does not.
func TestTrivy(t *testing.T) {
	name, dir, da := packagedImage(t, startRegistry(t)), t.TempDir(), dockerArchive(t)
	trivy := built(t, "trivy").with("image", "--quiet", "--cache-dir", filepath.Join(dir, "cache"), "--offline-scan", "--format", "cyclonedx", "--input")
	for kind, c := range map[string]struct {
		args []string
		read bool
	}{
		"default.tar": {nil, true}, "docker.tar": {[]string{"--layout", "docker"}, true}, "oci.tar": {[]string{"--layout", "oci"}, false},
		"gz.tar.gz": {nil, true}, "zst.tar.zst": {nil, false},
	} {
		path := filepath.Join(dir, kind)
		da.run(t, append([]string{"save", "-q", "--insecure-policy", "--tls-verify=false", "-o", path, name}, c.args...)...)
		found, err := trivy.try(t, path)
		assert.Equal(t, c.read, err == nil && strings.Contains(found, `"bash"`), "%s: %v", kind, err)
	}
	extract(t, filepath.Join(dir, "oci.tar"), filepath.Join(dir, "oci"))
	assert.Contains(t, trivy.run(t, filepath.Join(dir, "oci")), `"bash"`)
}

// TestBuildKit builds upon an unpacked archive, and reads BuildKit's output.
func TestBuildKit(t *testing.T) {
	name, dir, da := packagedImage(t, startRegistry(t)), daemonDir(t), dockerArchive(t)
	base := filepath.Join(dir, "base")
	da.run(t, "save", "-q", "--insecure-policy", "--tls-verify=false", "-o", base+".tar", name)
	extract(t, base+".tar", base)
	image, _ := listNeighbour(t, base+".tar")
	writeText(t, filepath.Join(dir, "Dockerfile"), "FROM base\nCOPY Dockerfile /x\n")
	address := "unix://" + filepath.Join(dir, "s")
	buildctl := built(t, "buildctl").with("--addr", address)
	startDaemon(t, dir, built(t, "buildkitd").with("--root", filepath.Join(dir, "root"), "--addr", address, "--containerd-worker=false",
		"--oci-worker-binary", built(t, "runc").argv[0], "--oci-worker-net", "host", "--oci-worker-snapshotter", "native"), func() error {
		_, err := buildctl.try(t, "debug", "workers")
		return err
	})
	for _, kind := range []string{"docker", "oci"} {
		path := filepath.Join(dir, kind+".tar")
		buildctl.run(t, "build", "--frontend", "dockerfile.v0", "--local", "context="+dir, "--local", "dockerfile="+dir,
			"--oci-layout", "base="+base, "--opt", "context:base=oci-layout://base@"+image.Digest, "--output", "type="+kind+",dest="+path+",name=example.com/app:1")
		da.run(t, "verify", path)
		made, _ := listNeighbour(t, path)
		assert.Equal(t, []string{"example.com/app:1"}, made.Names)
		assert.Contains(t, da.run(t, "files", path), "var/lib/dpkg/status")
	}
}

// TestHelm carries a chart from registry to registry, and serves it.
func TestHelm(t *testing.T) {
	registry, dir, da := startRegistry(t), t.TempDir(), dockerArchive(t)
	helm := built(t, "helm").withEnv("HOME=" + dir)
	helm.run(t, "create", filepath.Join(dir, "hello"))
	helm.run(t, "package", filepath.Join(dir, "hello"), "-d", dir)
	helm.run(t, "push", "--plain-http", filepath.Join(dir, "hello-0.1.0.tgz"), "oci://"+registry+"/charts")
	path := filepath.Join(dir, "chart.tar")
	da.run(t, "save", "-q", "--insecure-policy", "--tls-verify=false", "-o", path, registry+"/charts/hello:0.1.0")
	da.run(t, "verify", path)
	da.run(t, "push", "-q", "--tls-verify=false", path, registry+"/other/hello:0.1.0")
	for n, from := range []string{registry + "/other", servedAt(t, path) + "/charts"} {
		to := filepath.Join(dir, "pulled"+string(rune('0'+n)))
		require.NoError(t, os.Mkdir(to, 0o700))
		helm.run(t, "pull", "--plain-http", "oci://"+from+"/hello", "--version", "0.1.0", "-d", to)
		require.FileExists(t, filepath.Join(to, "hello-0.1.0.tgz"))
	}
}

// TestKo has ko build upon an archive that is served, and reads its output.
func TestKo(t *testing.T) {
	name, dir, da := packagedImage(t, startRegistry(t)), t.TempDir(), dockerArchive(t)
	base := filepath.Join(dir, "base.tar")
	da.run(t, "save", "-q", "--insecure-policy", "--tls-verify=false", "-o", base, name)
	writeText(t, filepath.Join(dir, "go.mod"), "module example.com/hello\n\ngo 1.26\n")
	writeText(t, filepath.Join(dir, "main.go"), "package main\n\nfunc main() { println(\"hello\") }\n")
	shell(t, `cd "$1"; export KO_DOCKER_REPO=example.com/hello KO_DEFAULTBASEIMAGE=$2/deb:1 GOFLAGS=-buildvcs=false
		"$3" build --push=false --bare --insecure-registry --platform linux/amd64 --tarball ko.tar --oci-layout-path layout .`, dir, servedAt(t, base), built(t, "ko").argv[0])
	for _, written := range []string{"ko.tar", "layout"} {
		da.run(t, "verify", filepath.Join(dir, written))
		listNeighbour(t, filepath.Join(dir, written))
	}
	assert.Contains(t, da.run(t, "files", filepath.Join(dir, "ko.tar")), "var/lib/dpkg/status")
}
