//go:build interop

package interop

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// allowance is how many bytes may be sent beside layers that are missing.
const allowance = 64 << 10

// A thinImage is an image that a daemon may have in part.
type thinImage struct {
	name        string
	plain, gzip []int64 // sizes of its layers
}

// sizes returns those of the layers in an archive that a transport writes.
func (i thinImage) sizes(transport string) []int64 {
	if transport == "docker-archive" {
		return i.plain
	}
	return i.gzip
}

// archive makes an archive of the image.
func (i thinImage) archive(t *testing.T, layout, transport string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar")
	dockerArchive(t).run(t, "copy", "--insecure-policy", "oci:"+layout+":"+i.name, transport+":"+path+":"+i.name)
	return path
}

// TestLoadThin loads images with docker-archive into every docker, and counts the bytes that it
// sends.
func TestLoadThin(t *testing.T) {
	dir := t.TempDir()
	layout, images := thinLayout(t, dir)
	for _, c := range []struct {
		name  string
		start func(*testing.T) client
	}{
		{"docker 20.10", newDebianDocker},
		{"docker 29 graphdriver", newBuiltDocker(false)},
		{"docker 29 containerd store", newBuiltDocker(true)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, ok := c.start(t).(dockerd)
			require.True(t, ok)
			for _, transport := range []string{"image-archive", "docker-archive"} {
				t.Run(transport, func(t *testing.T) {
					var paths []string
					var sizes [][]int64
					for _, img := range images {
						paths, sizes = append(paths, img.archive(t, layout, transport)), append(sizes, img.sizes(transport))
					}
					loadThin(t, d, images, paths, sizes)
				})
			}
		})
	}
}

// loadThin loads two images with three layers each that differ in the last.
func loadThin(t *testing.T, d dockerd, images []thinImage, paths []string, sizes [][]int64) {
	require.NoError(t, d.removeAll(t))
	proxy := startProxy(t, strings.TrimPrefix(d.docker.argv[2], "unix://"))
	load := func(n int, more ...string) int64 {
		t.Helper()
		proxy.sent.Store(0)
		args := append([]string{"load", "--insecure-policy", "--host", "unix://" + proxy.socket}, more...)
		dockerArchive(t).run(t, append(args, paths[n])...)
		output, err := d.runImage(t, archive{}, images[n].name)
		require.NoError(t, err)
		assert.Equal(t, helloOutput, strings.TrimSpace(output))
		return proxy.sent.Load()
	}
	within(t, "empty", load(0), sum(sizes[0]))
	within(t, "base there", load(1), sizes[1][2])
	within(t, "all there", load(1), 0)

	// The base is removed after the daemon was asked for its layers.
	_, err := d.docker.try(t, "image", "rm", "--force", images[1].name)
	require.NoError(t, err)
	proxy.before.Store(new(sync.OnceFunc(func() { assert.NoError(t, d.removeAll(t)) })))
	sent := load(1)
	proxy.before.Store(nil)
	within(t, "removed meanwhile", sent, sizes[1][2]+sum(sizes[1]))
	within(t, "all there again", load(1), 0)

	if d.store.socket == "" {
		return
	}
	// A layer that is unpacked is removed as it came, after the daemon said that all is there. The
	// image runs, and all is there again when all is sent.
	layer := d.store.layers(t, images[1].name)[1].Digest.String()
	proxy.before.Store(new(sync.OnceFunc(func() { d.store.ctr.run(t, "content", "rm", layer) })))
	within(t, "a layer removed meanwhile", load(1), 0)
	proxy.before.Store(nil)
	assert.NotContains(t, d.store.ctr.run(t, "content", "ls", "--quiet"), layer)
	load(1, "--full")
	assert.Contains(t, d.store.ctr.run(t, "content", "ls", "--quiet"), layer)
}

// within fails if more was sent than was missing, and a little.
func within(t *testing.T, what string, sent, missing int64) {
	t.Helper()
	t.Logf("%s: %d bytes sent, %d missing", what, sent, missing)
	assert.GreaterOrEqual(t, sent, missing, what)
	assert.LessOrEqual(t, sent, missing+missing/50+allowance, what)
}

func sum(sizes []int64) (all int64) {
	for _, s := range sizes {
		all += s
	}
	return all
}

// A proxy passes on bytes from one socket to another, and counts them.
type proxy struct {
	socket string
	sent   atomic.Int64
	before atomic.Pointer[func()] // called before an archive, or a large part of one, is passed on
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	p := &proxy{socket: filepath.Join(daemonDir(t), "proxy.sock")}
	listener, err := net.Listen("unix", p.socket)
	require.NoError(t, err)
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { p.pass(client, to) })
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		connections.Wait()
	})
	return p
}

func (p *proxy) pass(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("unix", to)
	if err != nil {
		return // The client notices.
	}
	defer server.Close()
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if before := p.before.Load(); before != nil && (bytes.HasPrefix(buffer[:n], []byte("POST ")) || n >= 16<<10) {
			(*before)()
		}
		p.sent.Add(int64(n))
		if _, writeErr := server.Write(buffer[:n]); writeErr != nil || err != nil {
			break
		}
	}
	_ = server.Close()
	answers.Wait()
}

// thinLayout makes an OCI image layout of two images that can be run, and share two of three
// layers.
func thinLayout(t *testing.T, dir string) (string, []thinImage) {
	t.Helper()
	layout := filepath.Join(dir, "thin-layout")
	require.NoError(t, os.MkdirAll(filepath.Join(layout, imagespec.ImageBlobsDir, "sha256"), 0o755))
	hello, helloID := helloLayer(t, dir)
	reader, err := gzip.NewReader(bytes.NewReader(hello))
	require.NoError(t, err)
	plainHello, err := io.Copy(io.Discard, reader)
	require.NoError(t, err)
	index := imagespec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageIndex}
	var images []thinImage
	for _, last := range []string{"one", "two"} {
		img := thinImage{name: "example.com/thin:" + last, plain: []int64{plainHello}, gzip: []int64{int64(len(hello))}}
		layers := []imagespec.Descriptor{writeBlob(t, layout, imagespec.MediaTypeImageLayerGzip, hello)}
		diffIDs := []digest.Digest{helloID}
		for _, file := range []string{"shared", last} {
			plain, packed := randomLayer(t, file)
			img.plain, img.gzip = append(img.plain, int64(len(plain))), append(img.gzip, int64(len(packed)))
			layers = append(layers, writeBlob(t, layout, imagespec.MediaTypeImageLayerGzip, packed))
			diffIDs = append(diffIDs, digest.FromBytes(plain))
		}
		config := jsonBlob(t, layout, imagespec.MediaTypeImageConfig, imagespec.Image{
			Platform: imagespec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH},
			Config:   imagespec.ImageConfig{Cmd: []string{"/hello"}},
			RootFS:   imagespec.RootFS{Type: "layers", DiffIDs: diffIDs},
		})
		manifest := jsonBlob(t, layout, imagespec.MediaTypeImageManifest, imagespec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest, Config: config, Layers: layers,
		})
		manifest.Annotations = map[string]string{imagespec.AnnotationRefName: img.name}
		index.Manifests = append(index.Manifests, manifest)
		images = append(images, img)
	}
	writeJSON(t, filepath.Join(layout, imagespec.ImageIndexFile), index)
	writeJSON(t, filepath.Join(layout, imagespec.ImageLayoutFile), imagespec.ImageLayout{Version: imagespec.ImageLayoutVersion})
	return layout, images
}

// randomLayer returns a layer of a megabyte that compression does not make smaller.
func randomLayer(t *testing.T, file string) (plain, packed []byte) {
	t.Helper()
	data := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(file))).Read(data) // It never fails.
	var b, z bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file, Mode: 0o644, Size: int64(len(data))}))
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	compressor := gzip.NewWriter(&z)
	_, err = compressor.Write(b.Bytes())
	require.NoError(t, err)
	require.NoError(t, compressor.Close())
	return b.Bytes(), z.Bytes()
}
