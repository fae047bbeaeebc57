//go:build interop

package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// months are two images that differ in two of forty files of a layer, and their archives:
// January's, February's, and February's as a delta of January's.
type months struct{ dir, january, february, delta string }

const (
	januaryName  = "example.com/month:1"
	februaryName = "example.com/month:2"
)

func newMonths(t *testing.T) months {
	t.Helper()
	dir := t.TempDir()
	m := months{dir, filepath.Join(dir, "january.tar"), filepath.Join(dir, "february.tar"), filepath.Join(dir, "delta.tar")}
	da := dockerArchive(t)
	layout, images := thinLayout(t, dir) // Its images run.
	for path, changed := range map[string][]int{m.january: nil, m.february: {7, 23}} {
		name := januaryName
		if changed != nil {
			name = februaryName
		}
		files := filepath.Join(dir, "files-"+filepath.Base(path))
		require.NoError(t, os.Mkdir(files, 0o755))
		for n := range 40 {
			seed := uint64(n)
			for _, c := range changed {
				if c == n {
					seed += 1000
				}
			}
			require.NoError(t, os.WriteFile(filepath.Join(files, fmt.Sprint(n)), words(seed), 0o600))
		}
		da.run(t, "make", "--insecure-policy", "--base", "oci:"+layout+":"+images[0].name, "--timestamp", "0", "--add", files+":/data", "-t", name, "-o", path)
	}
	da.run(t, "save", "--insecure-policy", "-q", "--text-only", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	size := func(path string) int64 {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Size()
	}
	t.Logf("February has %d bytes, and as a delta %d", size(m.february), size(m.delta))
	return m
}

// words returns 20,000 bytes that compress to about half.
func words(seed uint64) []byte {
	data := make([]byte, 20_000)
	rng := mathrand.New(mathrand.NewPCG(seed, 3))
	for i := range data {
		data[i] = "etaoinshrdlu \n<>"[rng.IntN(16)]
	}
	return data
}

// TestLoadLayerDelta loads January's archive into every docker, and then February's delta: made
// from the archive, and from the daemon's own layers.
func TestLoadLayerDelta(t *testing.T) {
	m := newMonths(t)
	for name, start := range map[string]func(*testing.T) client{
		"docker 20.10": newDebianDocker, "docker 29 graphdriver": newBuiltDocker(false), "docker 29 containerd store": newBuiltDocker(true),
	} {
		t.Run(name, func(t *testing.T) {
			d, ok := start(t).(dockerd)
			require.True(t, ok)
			host := d.docker.argv[2]
			for _, base := range []string{m.january, "docker-daemon:" + januaryName} {
				require.NoError(t, d.removeAll(t))
				d.docker.run(t, "load", "--input", m.january)
				da := dockerArchive(t).withEnv("DOCKER_HOST=" + host)
				da.run(t, "load", "--insecure-policy", "--host", host, "--base", base, m.delta)
				output, err := d.runImage(t, archive{}, februaryName)
				require.NoError(t, err)
				assert.Equal(t, helloOutput, strings.TrimSpace(output))
				if d.store.socket != "" { // It keeps the registry's digest.
					want := strings.Fields(da.run(t, "save", "--insecure-policy", "--dry-run", "image-archive:"+m.february))[1]
					assert.Equal(t, want, strings.TrimSpace(d.docker.run(t, "image", "inspect", "--format", "{{.Id}}", februaryName)))
				}
			}
		})
	}
}

// TestImportLayerDelta does the same with containerd and with podman.
func TestImportLayerDelta(t *testing.T) {
	m := newMonths(t)
	da := dockerArchive(t)
	want := strings.Fields(da.run(t, "save", "--insecure-policy", "--dry-run", "image-archive:"+m.february))[1]
	for name, start := range map[string]func(*testing.T) containerd{"1.6": startDebianContainerd, "2": startBuiltContainerd} {
		t.Run(name, func(t *testing.T) {
			c := start(t).namespace("months")
			c.ctr.run(t, "images", "import", m.january)
			for _, base := range []string{"containerd:" + januaryName, m.january} {
				output := da.run(t, "load", "--insecure-policy", "--address", c.socket, "--namespace", "months", "--base", base, m.delta)
				assert.Equal(t, februaryName+" "+want, strings.TrimSpace(output))
				complete(t, c, februaryName, want, true)
				output, err := c.runContainer(t, februaryName)
				require.NoError(t, err)
				assert.Equal(t, helloOutput, strings.TrimSpace(output))
				c.ctr.run(t, "images", "rm", "--sync", februaryName)
			}
		})
	}
	t.Run("podman", func(t *testing.T) {
		dir := daemonDir(t)
		podman := podmanIn(t, dir)
		storage := "containers-storage:[vfs@" + filepath.Join(dir, "root") + "+" + filepath.Join(dir, "run") + "]"
		podman.run(t, "load", "--input", m.january)
		for _, base := range []string{m.january, storage + januaryName} {
			da.run(t, "load", "--insecure-policy", "--to", storage, "--base", base, m.delta)
			assert.Equal(t, want, strings.TrimSpace(podman.run(t, "image", "inspect", "--format", "{{.Digest}}", februaryName)))
			podman.run(t, "image", "rm", februaryName)
		}
	})
}

// TestPushLayerDelta pushes February's delta, with its signature, to a registry that has January,
// and cosign verifies it there.
func TestPushLayerDelta(t *testing.T) {
	m := newMonths(t)
	da := dockerArchive(t)
	near, far := startRegistry(t), startRegistry(t)
	da.run(t, "push", "--insecure-policy", "--tls-verify=false", m.january, m.february, near)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s := newSigner(t, built(t, "cosign"), m.dir, key, "--use-signing-config=false")
	digest := strings.TrimSpace(built(t, "crane").withEnv("HOME="+m.dir).run(t, "digest", "--insecure", near+"/month:2"))
	s.sign(t, near+"/month@"+digest)

	signed := filepath.Join(m.dir, "signed.tar")
	da.run(t, "save", "--insecure-policy", "-q", "--tls-verify=false", "--referrers", "--delta", m.january, "-o", signed, near+"/month:2")
	da.run(t, "verify", "--key", s.public, "--base", m.january, signed)
	da.run(t, "push", "--insecure-policy", "--tls-verify=false", m.january, far)
	da.run(t, "push", "--insecure-policy", "--tls-verify=false", "--base", "docker://"+far+"/month:1", signed, far)
	s.cosign.run(t, "verify", "--key", s.public, "--insecure-ignore-tlog=true", "--allow-insecure-registry", "--allow-http-registry", far+"/month@"+digest)
}
