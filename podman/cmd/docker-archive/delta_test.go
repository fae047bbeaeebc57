package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// treeLayer returns a layer of files, each of its own seed.
func treeLayer(t testing.TB, level int, seeds ...uint64) imagetest.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for n, seed := range seeds {
		data := make([]byte, 8_000)
		rng := rand.New(rand.NewPCG(seed, 1))
		for i := range data {
			data[i] = "etaoinshrdlu \n<>"[min(rng.IntN(16), rng.IntN(16))]
		}
		require.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/file-%d", n), Mode: 0o644, Size: int64(len(data)), Format: tar.FormatUSTAR}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, level)
	require.NoError(t, err)
	_, err = z.Write(b.Bytes())
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return imagetest.NewLayer(b.Bytes(), packed.Bytes(), v1.MediaTypeImageLayerGzip)
}

// seeds returns numbers from 0 on, and others in some places.
func seeds(n int, other uint64, at ...int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i)
	}
	for _, i := range at {
		all[i] = other
	}
	return all
}

// saved saves an image to an archive by the name of app:TAG.
func saved(t testing.TB, path, tag string, layers ...imagetest.Layer) {
	t.Helper()
	img := copying.SaveImage{Source: imagetest.NewImage(t, tag, layers...), Name: imagetest.Tagged(t, "example.com/app:"+tag)}
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, []copying.SaveImage{img}, &copying.SaveOptions{Transport: dockerarchive.ImageTransport})
	require.NoError(t, err)
}

// months are archives in a directory: January, February and both, saved in one go.
type months struct{ dir, january, february, both, delta string }

func newMonths(t *testing.T, level int) *months {
	t.Helper()
	dir := t.TempDir()
	m := &months{dir, filepath.Join(dir, "january.tar"), filepath.Join(dir, "february.tar"), filepath.Join(dir, "both.tar"), filepath.Join(dir, "delta.tar")}
	same := imagetest.Gzip(99, 5000)
	saved(t, m.january, "1", treeLayer(t, level, seeds(40, 0)...), same)
	saved(t, m.february, "2", treeLayer(t, level, seeds(40, 1000, 7, 23)...), same)
	m.run(t, 0, "save", "-q", "-o", m.both, "image-archive:"+m.january, "image-archive:"+m.february)
	return m
}

func (m *months) run(t *testing.T, status int, args ...string) (out, errOut string) {
	t.Helper()
	out, errOut, got := runCommand(t, append([]string{"--insecure-policy"}, args...)...)
	require.Equal(t, status, got, "%v: %s%s", args, out, errOut)
	return out, errOut
}

func (m *months) path(name string) string { return filepath.Join(m.dir, name) }

func sizeOf(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

func assertSame(t testing.TB, want, got string) {
	t.Helper()
	a, err := os.ReadFile(want)
	require.NoError(t, err)
	b, err := os.ReadFile(got)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(a, b), "%s differs from %s", got, want)
}

// A delta is small, every command says that it is one, and every command makes the same
// archive of it as one save.
func TestSaveDelta(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	t.Chdir(m.dir)
	out, _ := m.run(t, 0, "save", "--delta", "image-archive:january.tar", "-o", m.delta, "image-archive:"+m.february)
	assert.Contains(t, out, "in january.tar")
	assert.Less(t, sizeOf(t, m.delta), sizeOf(t, m.february)/4)

	out, _ = m.run(t, exitLeftOut, "verify", m.delta)
	assert.Contains(t, out, "made from layers of january.tar")
	out, _ = m.run(t, 0, "list", m.delta)
	assert.Contains(t, out, "made from layers of january.tar")
	out, _ = m.run(t, 0, "verify", "--base", m.january, m.delta)
	assert.Contains(t, out, ": OK (")

	_, errOut := m.run(t, exitFailure, "save", "-o", m.path("none.tar"), "image-archive:"+m.delta)
	assert.Contains(t, errOut, "--base FULL.tar")
	assert.NoFileExists(t, m.path("none.tar"))

	m.run(t, 0, "save", "-q", "--base", m.january, "-o", m.path("again.tar"), "image-archive:"+m.delta)
	assertSame(t, m.february, m.path("again.tar"))
	m.run(t, 0, "copy", "-q", "--base", m.january, "image-archive:"+m.delta, "image-archive:"+m.path("copied.tar")+":example.com/app:2")
	assertSame(t, m.february, m.path("copied.tar"))
	m.run(t, 0, "save", "-q", "--base", m.january, "-o", m.path("both2.tar"), "image-archive:"+m.january, "image-archive:"+m.delta)
	assertSame(t, m.both, m.path("both2.tar"))

	reg := imagetest.NewRegistry(t)
	m.run(t, 0, "push", "-q", "--tls-verify=false", "--base", m.january, m.delta, reg.Address+"/new")
	m.run(t, 0, "save", "-q", "--tls-verify=false", "--name", "example.com/app:2", "-o", m.path("pulled.tar"), "docker://"+reg.Address+"/new/app:2")
	assertSame(t, m.february, m.path("pulled.tar"))

	m.run(t, 0, "add", "-q", m.january, "image-archive:"+m.delta)
	m.run(t, 0, "verify", m.january)
	m.run(t, 0, "compact", m.january)
	assertSame(t, m.both, m.january)
}

// A delta is the same however it is written.
func TestSaveDeltaWays(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	february := "image-archive:" + m.february
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, february)
	m.run(t, 0, "save", "-q", "--resume", "--delta", m.january, "-o", m.path("resumed.tar"), february)
	assertSame(t, m.delta, m.path("resumed.tar"))
	m.run(t, 0, "save", "-q", "--split", "1MiB", "--delta", m.january, "-o", m.path("parts.tar"), february)
	m.run(t, 0, "verify", "--base", m.january, m.path("parts.tar.000"))
	m.run(t, 0, "save", "-q", "--all-platforms", "--delta", m.january, "-o", m.path("platforms.tar"), february)
	assertSame(t, m.delta, m.path("platforms.tar"))

	out, _ := m.run(t, 0, "save", "--dry-run", "--delta", m.january, february)
	assert.Contains(t, out, fmt.Sprintf("size of the archive: %d bytes", sizeOf(t, m.delta)))
	assert.Contains(t, out, "made from layers of january.tar")

	// A compacted delta is the same delta.
	m.run(t, 0, "compact", m.delta)
	assertSame(t, m.path("resumed.tar"), m.delta)
}

// An archive with uncompressed layers is as good a base, and is completed.
func TestSaveDeltaOfDockerLayout(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	docker := m.path("docker.tar")
	m.run(t, 0, "save", "-q", "--layout", "docker", "-o", docker, "image-archive:"+m.january)
	m.run(t, 0, "save", "-q", "--delta", docker, "-o", m.delta, "image-archive:"+m.february)
	assert.Less(t, sizeOf(t, m.delta), sizeOf(t, m.february)/4)
	m.run(t, 0, "verify", "--base", m.january, m.delta)
	m.run(t, 0, "save", "-q", "--layout", "docker", "-o", m.path("want.tar"), "image-archive:"+m.both)
	m.run(t, 0, "add", "-q", docker, "image-archive:"+m.delta)
	m.run(t, 0, "verify", docker)
	m.run(t, 0, "compact", docker)
	assertSame(t, m.path("want.tar"), docker)
}

// March is made from February, which is itself made from January.
func TestSaveDeltaOfDelta(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	march, second := m.path("march.tar"), m.path("second.tar")
	saved(t, march, "3", treeLayer(t, gzip.DefaultCompression, seeds(40, 1000, 7, 23, 31)...), imagetest.Gzip(99, 5000))
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	m.run(t, 0, "save", "-q", "--delta", m.january, "--delta", m.delta, "-o", second, "image-archive:"+march)
	m.run(t, 0, "save", "-q", "--delta", m.delta, "--delta", m.january, "-o", m.path("other.tar"), "image-archive:"+march)
	assertSame(t, second, m.path("other.tar"))
	m.run(t, 0, "verify", "--base", m.delta, "--base", m.january, second)
	m.run(t, exitLeftOut, "verify", "--base", m.delta, second)
	m.run(t, 0, "add", "-q", m.january, "image-archive:"+m.delta)
	m.run(t, 0, "add", "-q", m.january, "image-archive:"+second)
	m.run(t, 0, "verify", m.january)
}

// An encoder without a model needs the base as it was compressed, and says so in time.
func TestSaveDeltaOfUnknownEncoder(t *testing.T) {
	m := newMonths(t, gzip.HuffmanOnly)
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	assert.Less(t, sizeOf(t, m.delta), sizeOf(t, m.february)/2)
	m.run(t, 0, "verify", "--base", m.january, m.delta)
	docker := m.path("docker.tar")
	m.run(t, 0, "save", "-q", "--layout", "docker", "-o", docker, "image-archive:"+m.january)
	_, errOut := m.run(t, exitFailure, "save", "--base", docker, "-o", m.path("none.tar"), "image-archive:"+m.delta)
	assert.Contains(t, errOut, "made from compressed layers of")
	assert.Contains(t, errOut, "docker.tar has it in another form")
	assert.NotContains(t, errOut, "FULL.tar")

	// A daemon has no compressed layers, so it cannot be the base of such a delta: load sends nothing.
	t.Setenv("DOCKER_HOST", imagetest.Daemon(t, map[string][]byte{"example.com/app:1": imagetest.ReadFile(t, docker)}))
	to := imagetest.NewLoadDaemon(t)
	var sent atomic.Int32
	to.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/images/load" {
			sent.Add(1)
		}
		return false
	})
	_, errOut = m.run(t, exitFailure, "load", "--host", to.Host, "--base", "docker-daemon:example.com/app:1", m.delta)
	assert.Contains(t, errOut, "made from compressed layers of")
	assert.Zero(t, sent.Load())
	m.run(t, 0, "load", "-q", "--host", to.Host, "--base", m.january, m.delta)
	assert.EqualValues(t, 1, sent.Load())

	m.run(t, 0, "save", "-q", "--text-only", "--delta", m.january, "-o", m.path("text.tar"), "image-archive:"+m.february)
	assert.Greater(t, sizeOf(t, m.path("text.tar")), sizeOf(t, m.delta), "no delta at all")
}

// A delta that is damaged, or of another base, changes nothing and is named.
func TestDamagedDelta(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	data, err := os.ReadFile(m.delta)
	require.NoError(t, err)
	at := bytes.Index(data, []byte("layerdlt"))
	require.Positive(t, at)
	data[at+2000] ^= 1
	require.NoError(t, os.WriteFile(m.delta, data, 0o600))
	before, err := os.ReadFile(m.january)
	require.NoError(t, err)
	_, errOut := m.run(t, exitFailure, "add", m.january, "image-archive:"+m.delta)
	assert.Contains(t, errOut, "damaged delta")
	after, err := os.ReadFile(m.january)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(before, after))
	m.run(t, exitFailure, "verify", m.delta)
	m.run(t, exitFailure, "verify", "--base", m.january, m.delta)
}

// A delta that no base would help says so, and why.
func TestDeltaOfNoUse(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	whole := imagetest.ReadFile(t, m.delta)
	at := bytes.Index(whole, []byte("layerdlt"))
	require.Positive(t, at)
	for why, change := range map[string]int{"version": at + 8, "damaged delta: checksum": at + 20} {
		data := bytes.Clone(whole)
		data[change] ^= 3
		require.NoError(t, os.WriteFile(m.delta, data, 0o600))
		for _, args := range [][]string{
			{"save", "--base", m.january, "-o", m.path("none.tar"), "image-archive:" + m.delta},
			{"copy", "--base", m.january, "image-archive:" + m.delta, "image-archive:" + m.path("none.tar")},
			{"add", m.january, "image-archive:" + m.delta},
		} {
			_, errOut := m.run(t, exitFailure, args...)
			assert.Contains(t, errOut, why, args[0])
			assert.NotContains(t, errOut, "FULL.tar", args[0])
		}
		out, errOut := m.run(t, exitFailure, "verify", "--base", m.january, m.delta)
		assert.Contains(t, out+errOut, why)
	}
}

func TestDeltaUsage(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	list, _ := m.run(t, 0, "list", "--json", m.january)
	require.NoError(t, os.WriteFile(m.path("list.json"), []byte(list), 0o600))
	_, errOut := m.run(t, exitUsage, "save", "--layout", "docker", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	assert.Contains(t, errOut, "--delta is for the others")
	m.run(t, exitUsage, "save", "--text-only", "-o", m.delta, "image-archive:"+m.february)
	_, errOut = m.run(t, exitFailure, "save", "--delta", m.path("list.json"), "-o", m.delta, "image-archive:"+m.february)
	assert.Contains(t, errOut, "--delta: ")
	assert.NoFileExists(t, m.delta)
}

// Bases need not be archives: a registry, and a daemon that has layers uncompressed.
func TestBasesElsewhere(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	reg := imagetest.NewRegistry(t)
	m.run(t, 0, "push", "-q", "--tls-verify=false", m.january, reg.Address)
	m.run(t, 0, "verify", "--base", "docker://"+reg.Address+"/app:1", m.delta)

	docker := m.path("docker.tar")
	m.run(t, 0, "save", "-q", "--layout", "docker", "-o", docker, "image-archive:"+m.january)
	t.Setenv("DOCKER_HOST", imagetest.Daemon(t, map[string][]byte{"example.com/app:1": imagetest.ReadFile(t, docker)}))
	// The daemon has no layer as it was compressed, so layers that the delta leaves out
	// whole are missing.
	m.run(t, exitLeftOut, "verify", "--base", "docker-daemon:example.com/app:1", m.delta)
	whole := m.path("whole.tar")
	saved(t, whole, "2", treeLayer(t, gzip.DefaultCompression, seeds(40, 1000, 7, 23)...))
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.path("other.tar"), "image-archive:"+whole)
	m.run(t, 0, "save", "-q", "--base", "docker-daemon:example.com/app:1", "-o", m.path("again.tar"), "image-archive:"+m.path("other.tar"))
	assertSame(t, whole, m.path("again.tar"))
	m.run(t, exitFailure, "verify", "--base", "docker-daemon:example.com/none:1", m.delta)
}

// serve makes a layer once, and sends any range of it.
func TestServeDelta(t *testing.T) {
	m := newMonths(t, gzip.DefaultCompression)
	m.run(t, 0, "save", "-q", "--delta", m.january, "-o", m.delta, "image-archive:"+m.february)
	stderr := &started{address: make(chan string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		root := newRootCommand()
		root.SetOut(&buffer{})
		root.SetErr(stderr)
		root.SetArgs([]string{"serve", "--listen", "127.0.0.1:0", "--base", m.january, m.delta})
		assert.NoError(t, root.ExecuteContext(ctx))
	})
	address := strings.TrimPrefix(<-stderr.address, "http://")
	layer := treeLayer(t, gzip.DefaultCompression, seeds(40, 1000, 7, 23)...)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/v2/app/blobs/"+layer.Digest.String(), nil)
	require.NoError(t, err)
	request.Header.Set("Range", "bytes=1000-1999")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusPartialContent, response.StatusCode)
	assert.Equal(t, layer.Blob[1000:2000], body)
	m.run(t, 0, "save", "-q", "--tls-verify=false", "--name", "example.com/app:2", "-o", m.path("pulled.tar"), "docker://"+address+"/app:2")
	assertSame(t, m.february, m.path("pulled.tar"))
	cancel()
	done.Wait()
}
