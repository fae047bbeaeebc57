// Package reading compares reading archives here with containers/image's own
// docker/archive. Both do the same work in one run, in turns; what is reported
// is the ratio of the fastest runs.
package reading

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// item is an image of manifest.json.
type item struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archiveOf writes an archive of images that have the given layers, by their
// number, and returns its path.
func archiveOf(b *testing.B, images [][]int, layer func(n int) (content []byte, diffID digest.Digest)) string {
	f, err := os.Create(filepath.Join(b.TempDir(), "archive.tar"))
	must(b, err)
	defer f.Close()
	w := tar.NewWriter(f)
	add := func(name string, content []byte) {
		must(b, w.WriteHeader(&tar.Header{Name: name, Mode: 0o444, Size: int64(len(content))}))
		_, err := w.Write(content)
		must(b, err)
	}
	diffIDs := map[int]digest.Digest{}
	var items []item
	for i, layers := range images {
		it := item{RepoTags: []string{fmt.Sprintf("example.com/image/%d:v1", i)}}
		var ids []digest.Digest
		for _, n := range layers {
			if _, ok := diffIDs[n]; !ok {
				content, diffID := layer(n)
				add(diffID.Encoded()+".tar", content)
				diffIDs[n] = diffID
			}
			ids = append(ids, diffIDs[n])
			it.Layers = append(it.Layers, diffIDs[n].Encoded()+".tar")
		}
		config, err := json.Marshal(map[string]any{
			"architecture": "amd64", "os": "linux",
			"config": map[string]any{"Labels": map[string]string{"number": fmt.Sprint(i)}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
		})
		must(b, err)
		it.Config = digest.FromBytes(config).Encoded() + ".json"
		add(it.Config, config)
		items = append(items, it)
	}
	manifest, err := json.Marshal(items)
	must(b, err)
	add("manifest.json", manifest)
	must(b, w.Close())
	return f.Name()
}

// content returns size bytes that compress to about a third.
func content(n, size int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	data := make([]byte, size)
	for i := 0; i < size; i += 96 {
		_, _ = r.Read(data[i:min(i+32, size)])
	}
	return data
}

func uncompressed(size int) func(int) ([]byte, digest.Digest) {
	return func(n int) ([]byte, digest.Digest) {
		data := content(n, size)
		return data, digest.FromBytes(data)
	}
}

func compressed(size int) func(int) ([]byte, digest.Digest) {
	return func(n int) ([]byte, digest.Digest) {
		data := content(n, size)
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		_, _ = w.Write(data)
		_ = w.Close()
		return buf.Bytes(), digest.FromBytes(data)
	}
}

func must(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

// compare runs both in turns and reports the fastest of each, and their ratio.
func compare(b *testing.B, ours, theirs func()) {
	fastest := [2]time.Duration{1 << 62, 1 << 62}
	for b.Loop() {
		for i, f := range []func(){ours, theirs} {
			start := time.Now()
			f()
			fastest[i] = min(fastest[i], time.Since(start))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(fastest[0].Seconds(), "ours-s")
	b.ReportMetric(fastest[1].Seconds(), "theirs-s")
	b.ReportMetric(fastest[0].Seconds()/fastest[1].Seconds(), "ratio")
}

func BenchmarkCopyToDir(b *testing.B) {
	const layers, size = 12, 100 << 20
	for name, layer := range map[string]func(int) ([]byte, digest.Digest){"uncompressed": uncompressed(size), "gzip": compressed(size)} {
		b.Run(name, func(b *testing.B) {
			var all []int
			for n := range layers {
				all = append(all, n)
			}
			path := archiveOf(b, [][]int{all}, layer)
			ours, err := dockerarchive.NewReference(path, nil)
			must(b, err)
			theirs, err := archive.NewReference(path, nil)
			must(b, err)
			compare(b, func() { copyToDir(b, ours) }, func() { copyToDir(b, theirs) })
		})
	}
}

func copyToDir(b *testing.B, src types.ImageReference) {
	dir := b.TempDir()
	dest, err := directory.NewReference(dir)
	must(b, err)
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	must(b, err)
	_, err = copy.Image(context.Background(), policy, dest, src, nil)
	must(b, err)
	must(b, os.RemoveAll(dir))
}

// BenchmarkOpenEvery opens every image of an archive, as a registry mirror or a
// scanner does.
func BenchmarkOpenEvery(b *testing.B) {
	const images, layers = 500, 20
	sets := make([][]int, images)
	for i := range sets {
		for n := range layers - 1 { // Shared by ten images at least.
			sets[i] = append(sets[i], i/10*layers+n)
		}
		sets[i] = append(sets[i], images*layers+i)
	}
	path := archiveOf(b, sets, uncompressed(1024))
	compare(b, func() {
		r, err := dockerarchive.NewReader(nil, path)
		must(b, err)
		openEvery(b, r)
	}, func() {
		r, err := archive.NewReader(nil, path)
		must(b, err)
		openEvery(b, r)
	})
}

func openEvery(b *testing.B, r interface {
	List() ([][]types.ImageReference, error)
	Close() error
}) {
	list, err := r.List()
	must(b, err)
	for _, refs := range list {
		src, err := refs[0].NewImageSource(context.Background(), nil)
		must(b, err)
		_, _, err = src.GetManifest(context.Background(), nil)
		must(b, err)
		must(b, src.Close())
	}
	must(b, r.Close())
}

// BenchmarkVerify compares with hashing the bytes of the archive on as many
// processors.
func BenchmarkVerify(b *testing.B) {
	const layers, size = 12, 100 << 20
	var all []int
	for n := range layers {
		all = append(all, n)
	}
	path := archiveOf(b, [][]int{all}, uncompressed(size))
	compare(b, func() {
		r, err := dockerarchive.NewReader(nil, path)
		must(b, err)
		report, err := r.Verify(context.Background(), nil)
		must(b, err)
		if len(report.Problems) > 0 {
			b.Fatal(report.Problems)
		}
		must(b, r.Close())
	}, func() {
		f, err := os.Open(path)
		must(b, err)
		info, err := f.Stat()
		must(b, err)
		var wg sync.WaitGroup
		half := info.Size() / 2
		for i := range int64(2) {
			wg.Go(func() {
				_, _ = io.CopyBuffer(struct{ io.Writer }{sha256.New()}, io.NewSectionReader(f, i*half, half), make([]byte, 256<<10))
			})
		}
		wg.Wait()
		must(b, f.Close())
	})
}
