//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The data directory has:
//
//	layers/      layers, as tars and compressed by the library and level of docker and BuildKit
//	oci/         an OCI layout of images: v0, which most cases use, v1, which shares all but
//	             the topmost layer with it, like versions of an application, and t1 to t20
//	plain/       v0 as a dir: with uncompressed layers
//	*.tar        archives of these, and many.tar of 500 small images
//	complete     written last
const prepareAll = `
app=example.com/app
image() { tag=$1; shift; docker-archive make "$@" --set-platform linux/amd64 -t $app:$tag -o new.tar; docker-archive copy -q image-archive:new.tar oci:oci:$tag; rm new.tar; }
layer() { for l; do echo "--layer layers/$l.tar.gz"; done; }
image v0 $(layer 0 1 2 3 4 5)
image v1 $(layer 0 1 2 3 4 next)
for i in $(seq 20); do image t$i $(layer 0 1 3 small$i); done
docker-archive save -o packed.tar oci:oci:v0=$app:v0
docker-archive save -o second.tar oci:oci:v1=$app:v0
docker-archive save -o twenty.tar $(for i in $(seq 20); do echo oci:oci:t$i=$app$i:t$i; done)
bench copy oci:oci:v0 docker-archive:one.tar:$app:v0
docker-archive copy -q --dest-decompress oci:oci:v0 dir:plain
mkdir many
for i in $(seq 500); do docker-archive make -q --layer layers/small1.tar.gz --add /etc/hostname:/$i --set-platform linux/amd64 -t $app:m$i -o many/$i.tar; done
docker-archive save --layout docker -o many.tar $(seq -f docker-archive:many/%g.tar 500)
rm -r many
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/store/root"\nrunroot = "%s/store/run"\n' $DATA $DATA >storage.conf
touch complete`

// fillParts puts an image of thirty layers into a registry, and makes it before the first time.
const fillParts = `if [ ! -e parts.tar ]; then
rm -rf parts; bench parts parts
docker-archive make -q $(for i in $(seq 30); do echo --layer parts/part$i.tar.gz; done) --set-platform linux/amd64 -t example.com/parts:v0 -o parts.new
rm -r parts; mv parts.new parts.tar
fi
docker-archive push -q parts.tar $ADDRESS/bench`

// addTo adds ten small images to a copy of an archive, each by itself. Before the first time it makes
// these images, and the archives: young.tar, and grown.tar by 489 adds to that.
func addTo(archive string) side {
	return side{
		run: "for i in $(seq 491 500); do docker-archive add -q $OUT docker-archive:more/$i.tar; done",
		prepare: `if [ ! -e grown.tar ]; then
rm -rf more; mkdir more
for i in $(seq 500); do docker-archive save -q --layout docker --no-sync -o more/$i.tar docker-archive:many.tar:example.com/app:m$i; done
docker-archive save -q -o young.tar docker-archive:more/1.tar
cp young.tar growing.tar
for i in $(seq 2 490); do docker-archive add -q --no-sync growing.tar docker-archive:more/$i.tar; rm more/$i.tar; done
mv growing.tar grown.tar
fi
cp ` + archive + " $OUT; sync $OUT",
	}
}

// layerSizes are those of an image that installs a distribution, a few tools, a large set
// of dependencies, and an application: 1.2 GB, lowest layer first.
var layerSizes = []int64{120e6, 35e6, 870e6, 95e6, 65e6, 15e6}

// prepare makes the data unless they are there.
func (r *runner) prepare(ctx context.Context) (err error) {
	if _, err := os.Stat(filepath.Join(r.data, "complete")); err != nil {
		fmt.Fprintf(os.Stderr, "generating images in %s; this takes some minutes, once\n", r.data)
		for _, old := range []string{"layers", "oci", "plain", "many", "store"} { // Left by an earlier attempt.
			if err := os.RemoveAll(filepath.Join(r.data, old)); err != nil {
				return err
			}
		}
		// A process of its own makes the layers: the peak memory of this one counts for every
		// process it starts.
		if cmd, said := r.shell(ctx, "bench layers layers; rm -f *.tar"+prepareAll); true {
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("making images: %w: %s", err, said)
			}
		}
	}
	r.images = map[string][]blob{}
	for _, tag := range append([]string{"v0", "v1"}, tags("t", 20)...) {
		if r.images[tag], err = blobsOf(r.data, tag); err != nil {
			return err
		}
	}
	var half int64
	for _, b := range r.images["v0"] {
		half += b.Size / 2
	}
	return os.Setenv("HALF", fmt.Sprint(half>>10))
}

func tags(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(prefix, i+1))
	}
	return all
}

// writeLayers writes the layers to a directory.
func writeLayers(ctx context.Context, args []string) error {
	dir := args[0]
	sources, err := newCorpus(dir, 1)
	if err != nil {
		return err
	}
	for i, size := range layerSizes {
		if err := writeLayer(ctx, filepath.Join(dir, fmt.Sprint(i)), size, sources.next); err != nil {
			return err
		}
	}
	if err := writeLayer(ctx, filepath.Join(dir, "next"), layerSizes[len(layerSizes)-1], sources.next); err != nil {
		return err
	}
	for _, name := range tags("small", 20) {
		if err := writeLayer(ctx, filepath.Join(dir, name), 5e6, sources.noise); err != nil {
			return err
		}
	}
	return nil
}

// writeParts writes the layers of an image of thirty to a directory, as tools make it that put
// each package into a layer of its own.
func writeParts(ctx context.Context, args []string) error {
	dir := args[0]
	sources, err := newCorpus(dir, 3)
	if err != nil {
		return err
	}
	for _, name := range tags("part", 30) {
		if err := writeLayer(ctx, filepath.Join(dir, name), 26e6, sources.next); err != nil {
			return err
		}
	}
	return nil
}

// writeLayer writes a tar of the next files, of about a size, in both forms.
func writeLayer(ctx context.Context, name string, size int64, next func() (string, []byte)) error {
	plain, err := os.Create(name + ".tar")
	if err != nil {
		return err
	}
	defer plain.Close()
	packed, err := os.Create(name + ".tar.gz")
	if err != nil {
		return err
	}
	defer packed.Close()
	z := gzip.NewWriter(packed)
	w := tar.NewWriter(io.MultiWriter(plain, z))
	for written := int64(0); written < size && ctx.Err() == nil; {
		name, content := next()
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644, ModTime: time.Unix(1700000000, 0)})
		if err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
		written += int64(len(content))
	}
	return errors.Join(ctx.Err(), w.Close(), z.Close(), plain.Close(), packed.Close())
}

// corpus hands out the files that layers are made of: sources, programs and libraries, as
// any machine with a Go toolchain has them. Those that do not compress, such as pictures
// and packages, are left to chance on each machine, so random bytes, a fixed share of the
// whole, stand for them; that makes layers compressible to about the same degree everywhere.
type corpus struct {
	files        []string
	used         int
	random       *rand.ChaCha8
	total, noisy int64 // bytes handed out, and how many of them are random
}

// noiseShare is about what the archives, pictures and compiled caches in popular images
// come to.
const noiseShare = 0.19

// newCorpus returns one whose noise begins with a seed, for layers that are written to a directory,
// which it makes.
func newCorpus(dir string, seed byte) (*corpus, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	files, err := listFiles()
	if err != nil {
		return nil, err
	}
	return &corpus{files: files, random: rand.NewChaCha8([32]byte{seed})}, nil
}

func (c *corpus) next() (name string, content []byte) {
	if float64(c.noisy) < noiseShare*float64(c.total) {
		name, content = c.noise()
		c.noisy += int64(len(content))
	}
	for content == nil {
		path := c.files[c.used%len(c.files)]
		name = fmt.Sprint(c.used/len(c.files), path) // A machine may have too few files.
		c.used++
		if data, err := os.ReadFile(path); err == nil && compressible(data) {
			content = data
		}
	}
	c.total += int64(len(content))
	return name, content
}

func (c *corpus) noise() (name string, content []byte) {
	content = make([]byte, 256<<10)
	_, _ = c.random.Read(content) // Never fails.
	return fmt.Sprintf("srv/%x", content[:8]), content
}

// listFiles lists files of the machine, in an order that mixes them and depends on nothing
// but their paths.
func listFiles() (files []string, err error) {
	out, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE").Output()
	if err != nil {
		return nil, fmt.Errorf("asking go for its directories: %w", err)
	}
	for _, root := range append(strings.Fields(string(out)), "/usr/bin", "/usr/lib", "/usr/share") {
		err = errors.Join(err, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil // Missing or unreadable: there are others.
			}
			if entry.IsDir() && entry.Name() == "cache" {
				return filepath.SkipDir // The module cache has compressed copies of the rest here.
			}
			// A single larger one would be most of a layer.
			if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && info.Size() > 0 && info.Size() < 48<<20 {
				files = append(files, path)
			}
			return nil
		}))
	}
	slices.Sort(files)
	rand.New(rand.NewChaCha8([32]byte{2})).Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	return files, err
}

// compressible reports whether content gets smaller, judging by its beginning.
func compressible(content []byte) bool {
	content = content[:min(len(content), 64<<10)]
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return false
	}
	_, err = w.Write(content)
	return errors.Join(err, w.Close()) == nil && (len(content) < 1024 || out.Len() < len(content)*9/10)
}

// blob is a layer or config of an image.
type blob = imgspecv1.Descriptor

// manifestDigest returns the digest of the image in the layout that has a tag, or is meant
// by its digest.
func manifestDigest(data, name string) (digest.Digest, error) {
	var index imgspecv1.Index
	if err := readJSON(filepath.Join(data, "oci", imgspecv1.ImageIndexFile), &index); err != nil {
		return "", err
	}
	for _, m := range index.Manifests {
		if m.Annotations[imgspecv1.AnnotationRefName] == name || m.Digest.String() == name {
			return m.Digest, nil
		}
	}
	return "", fmt.Errorf("there is no image %s", name)
}

func blobPath(data string, d digest.Digest) string {
	return filepath.Join(data, "oci/blobs", d.Algorithm().String(), d.Encoded())
}

// blobsOf returns the blobs of an image in the layout, the config last.
func blobsOf(data, tag string) ([]blob, error) {
	d, err := manifestDigest(data, tag)
	if err != nil {
		return nil, err
	}
	var m imgspecv1.Manifest
	err = readJSON(blobPath(data, d), &m)
	return append(m.Layers, m.Config), err
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// blobs says which blobs are to be moved: those of images, without those of another.
type blobs struct {
	of      []string
	without string
}

var (
	image  = blobs{of: []string{"v0"}}
	images = blobs{of: []string{"v0", "v1"}}
	second = blobs{of: []string{"v1"}, without: "v0"}
	twenty = blobs{of: tags("t", 20)}
)

// size returns the total size of distinct blobs, in bytes.
func (r *runner) size(b blobs) (total int64) {
	sizes := map[digest.Digest]int64{}
	for _, tag := range b.of {
		for _, blob := range r.images[tag] {
			sizes[blob.Digest] = blob.Size
		}
	}
	for _, blob := range r.images[b.without] {
		delete(sizes, blob.Digest)
	}
	for _, size := range sizes {
		total += size
	}
	return total
}

// describe describes v0.
func (r *runner) describe(w io.Writer) error {
	var plain int64
	var list strings.Builder
	layers := r.images["v0"][:len(layerSizes)]
	for i, l := range layers {
		info, err := os.Stat(filepath.Join(r.data, "layers", fmt.Sprint(i)+".tar"))
		if err != nil {
			return err
		}
		plain += info.Size()
		fmt.Fprintf(&list, " %.0f", mb(l.Size))
	}
	_, err := fmt.Fprintf(w, "image: %d layers, %.0f MB compressed (gzip), %.0f MB uncompressed:%s\n", len(layers), mb(r.size(image)), mb(plain), &list)
	return err
}
