//go:build unix

package writing

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
)

// usualImages returns images of 2 to 6 layers, some of them shared, with configs of about 5 KB.
func usualImages(t testing.TB, n int) []*testImage {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(size int) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	layer := func(size int) testLayer {
		data := noise(size)
		beginAsTar(data)
		return testLayer{gzipped(data), data, v1.MediaTypeImageLayerGzip}
	}
	bases := make([]testLayer, 10)
	for i := range bases {
		bases[i] = layer(8192)
	}
	images := make([]*testImage, n)
	for i := range images {
		layers := slices.Clone(bases[i%5*2 : i%5*2+1+i%2])
		for range 1 + i%4 {
			layers = append(layers, layer(2048))
		}
		images[i] = newImage(t, fmt.Sprintf("team%d/app%d", i%20, i), layers...)
		images[i].explain(t, noise(2400))
	}
	return images
}

// explain gives an image a config as long as usual.
func (m *testImage) explain(t testing.TB, text []byte) {
	t.Helper()
	var config map[string]any
	require.NoError(t, json.Unmarshal(m.config, &config))
	config["config"] = map[string]any{"Labels": map[string]string{"text": fmt.Sprintf("%x", text)}}
	var err error
	m.config, err = json.Marshal(config)
	require.NoError(t, err)
	var manifest v1.Manifest
	require.NoError(t, json.Unmarshal(m.Top().Raw, &manifest))
	manifest.Config.Digest, manifest.Config.Size = digest.FromBytes(m.config), int64(len(m.config))
	raw, err := json.Marshal(manifest)
	require.NoError(t, err)
	d, err := image.ParseDocument(raw, "")
	require.NoError(t, err)
	m.Documents, m.Configs = []*image.Document{d}, map[digest.Digest][]byte{manifest.Config.Digest: m.config}
}

// addUnsynced adds images to an archive, without waiting for the disk.
func addUnsynced(ctx context.Context, path string, l layout.Layout, images ...*testImage) error {
	out, err := output.Open(ctx, path, false)
	if err != nil {
		return err
	}
	out.NoSync()
	e, err := ReadExisting(ctx, out, []layout.Layout{l})
	if err != nil {
		return err
	}
	a, err := New(ctx, out, path, Options{Layout: l, Existing: e})
	if err != nil {
		return err
	}
	return write(a, images...)
}

// BenchmarkAdds adds 500 images to an archive, each by itself, and reports what the first, the
// median and the last take of processor time, each the mean of 10 adds.
func BenchmarkAdds(b *testing.B) {
	const count, mean = 500, 10
	images := usualImages(b, count+1)
	for _, name := range []string{"oci", "docker"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				path := filepath.Join(b.TempDir(), "archive.tar")
				out, err := output.Create(b.Context(), path)
				require.NoError(b, err)
				a, err := New(b.Context(), out, path, Options{Layout: layouts[name]})
				require.NoError(b, err)
				require.NoError(b, write(a, images[count]))
				var times []time.Duration
				for added := range slices.Chunk(images[:count], mean) {
					begin := processorTime(b)
					for _, m := range added {
						require.NoError(b, addUnsynced(b.Context(), path, layouts[name], m))
					}
					times = append(times, (processorTime(b)-begin)/mean)
				}
				last := len(times) - 1
				b.ReportMetric(float64(times[0].Microseconds()), "first-µs")
				b.ReportMetric(float64(times[last/2].Microseconds()), "median-µs")
				b.ReportMetric(float64(times[last].Microseconds()), "last-µs")
				b.ReportMetric(float64(times[last])/float64(times[0]), "last/first")
			}
		})
	}
}

// processorTime returns what the process has taken so far.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
