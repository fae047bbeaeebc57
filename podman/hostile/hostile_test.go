// Package hostile_test runs commands on archives that no tool would write, and compares what
// they say and write with a reader of its own.
package hostile_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/hostile"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// longest is how much processor time the commands may take with a small hostile archive:
// they take a hundredth of it. DOCKERARCHIVE_TEST_LONGEST is for slow machines.
var longest = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("DOCKERARCHIVE_TEST_LONGEST")); err == nil {
		return d
	}
	return 5 * time.Second
}()

// hangs is the time after which a command that does nothing counts as hanging, also on a
// busy machine.
const hangs = 5 * time.Minute

// most is how much memory the process may hold behind an archive, in bytes. Memory that a
// command has taken goes back to the system slowly, so that this is about the most that it
// took.
const most = 128 << 20

// found are archives that once failed.
var found = []int{20232, 84977, 94385}

// TestHostileArchives runs commands on archives that no tool would write.
// DOCKERARCHIVE_TEST_HOSTILE=FIRST,COUNT chooses which.
func TestHostileArchives(t *testing.T) {
	first, count := 0, imagetest.Rounds(t, 300, 3000)
	if chosen := os.Getenv("DOCKERARCHIVE_TEST_HOSTILE"); chosen != "" {
		_, err := fmt.Sscanf(chosen, "%d,%d", &first, &count)
		require.NoError(t, err)
	}
	x := newHostileTest(t)
	var numbers []int
	for n := range count {
		numbers = append(numbers, first+n)
	}
	for _, n := range append(numbers, found...) {
		decisions := make([]byte, 8+n%160)
		random := rand.New(rand.NewPCG(uint64(n), 0))
		for i := range decisions {
			decisions[i] = byte(random.Uint32())
		}
		decisions[0] = byte(n)
		if !x.run(t, decisions) {
			t.Fatalf("archive %d: DOCKERARCHIVE_TEST_HOSTILE=%d,1 makes it again", n, n)
		}
	}
}

// FuzzHostileArchives looks for such archives.
func FuzzHostileArchives(f *testing.F) {
	for n := range byte(4) {
		f.Add([]byte{n})
		f.Add(binary.BigEndian.AppendUint64([]byte{n, 1, 1, 1}, 0x0102030405060708))
	}
	x := newHostileTest(f)
	x.fuzzing = true
	f.Fuzz(func(t *testing.T, decisions []byte) {
		if len(decisions) < 1000 {
			x.run(t, decisions)
		}
	})
}

// hostileTest runs commands on hostile archives.
type hostileTest struct {
	dir    string
	sys    *types.SystemContext
	failed bool
	// fuzzing is when the process has 150 MB of the fuzzer's before it begins.
	fuzzing bool
}

func newHostileTest(t testing.TB) *hostileTest {
	was, out := logrus.GetLevel(), logrus.StandardLogger().Out
	logrus.SetOutput(io.Discard)
	debug.SetTraceback("all") // The goroutine that hangs is another than the one that reports it.
	t.Cleanup(func() { debug.SetTraceback("single"); logrus.SetLevel(was); logrus.SetOutput(out) })
	return &hostileTest{dir: t.TempDir(), sys: imagetest.Isolated()}
}

// run reads, writes and changes an archive, and reports whether no check failed.
func (x *hostileTest) run(t testing.TB, decisions []byte) bool {
	x.failed = false
	data := hostile.Archive(decisions)
	wrong := func(format string, args ...any) {
		x.failed = true
		t.Errorf("%v: %s", decisions, fmt.Sprintf(format, args...))
	}
	file := filepath.Join(x.dir, "archive.tar")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	defer watch(decisions)()
	ctx := t.Context()

	theirs := independent(data)
	r, err := dockerarchive.NewReaderContext(ctx, x.sys, file)
	if err == nil {
		x.read(ctx, r, theirs, wrong)
		x.write(ctx, t, r, file, theirs, wrong)
		require.NoError(t, r.Close())
	}
	x.change(ctx, t, file, wrong)
	if held := memory(); held > most && !x.fuzzing {
		wrong("%d bytes of memory", held)
	}
	return !x.failed
}

// watch ends the process if an archive takes too long, until the returned function is called.
func watch(decisions []byte) (stop func()) {
	begun, before, stopped := time.Now(), processorTime(), make(chan struct{})
	go func() {
		look := time.NewTicker(longest / 5)
		defer look.Stop()
		for {
			select {
			case <-stopped:
				return
			case <-look.C:
				if took := processorTime() - before; took > longest || time.Since(begun) > hangs {
					panic(fmt.Sprintf("%v: takes more than %v of processor time, or %v", decisions, longest, hangs))
				}
			}
		}
	}()
	return func() { close(stopped) }
}

// memory returns how many bytes the process has from the system.
func memory() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// read lists, inspects and verifies.
func (x *hostileTest) read(ctx context.Context, r *dockerarchive.Reader, theirs *plainArchive, wrong func(string, ...any)) {
	infos, err := r.Images(ctx)
	if err != nil {
		wrong("list: %v", err)
		return
	}
	for _, info := range infos {
		for _, name := range info.Names {
			if info.Error == "" && info.Config != "" && len(theirs.configs[name]) > 0 && !slices.Contains(theirs.configs[name], info.Config) {
				wrong("list: %q is %s, and not one of %v", name, info.Config, theirs.configs[name])
			}
		}
		for _, ref := range info.References {
			inspectReference(ctx, x.sys, ref)
		}
	}
	report, err := r.Verify(ctx, nil)
	if err != nil {
		wrong("verify: %v", err)
		return
	}
	if len(report.Problems) == 0 && len(report.LeftOut) == 0 {
		for _, problem := range theirs.problems {
			wrong("verify has nothing to say, but %s", problem)
		}
	}
}

// inspectReference does what inspect does. It must come to an end, with any result.
func inspectReference(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) {
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return
	}
	defer src.Close() // It is only read.
	instance, err := copying.ChoosePlatform(ctx, sys, src)
	if err != nil {
		return
	}
	if img, err := image.FromUnparsedImage(ctx, sys, image.UnparsedInstance(src, instance)); err == nil {
		_, _ = img.Inspect(ctx)
		_, _ = img.ConfigBlob(ctx)
	}
}

// write copies and saves. Verify must accept the written archives, and their images must
// be those of the archive.
func (x *hostileTest) write(ctx context.Context, t testing.TB, r *dockerarchive.Reader, file string, theirs *plainArchive, wrong func(string, ...any)) {
	trust := imagetest.Trusting(t)
	out := filepath.Join(x.dir, "out.tar")
	for _, transport := range []types.ImageTransport{dockerarchive.ImageTransport, dockerarchive.Transport} {
		var images []copying.SaveImage
		infos, err := r.Images(ctx)
		require.NoError(t, err)
		for n, info := range infos {
			ref, err := r.IndexReference(n)
			require.NoError(t, err)
			saved := copying.SaveImage{Source: ref, Whole: true}
			if len(info.References) > 0 {
				saved.Name = info.References[0].DockerReference()
			}
			images = append(images, saved)
			if n > 0 {
				continue
			}
			dest, err := transport.ParseReference(out + ":example.com/copied:1")
			require.NoError(t, err)
			if _, err := copying.Copy(ctx, trust, dest, ref, &copying.CopyOptions{NoSync: true}); err == nil {
				x.check(ctx, t, "copy", out, theirs, wrong)
			}
			_ = os.Remove(out)
		}
		options := &copying.SaveOptions{Reading: copying.Reading{SourceCtx: x.sys}, Transport: transport, DestinationCtx: x.sys, NoSync: true, KeepGoing: true}
		_, err = copying.Save(ctx, trust, out, images, options)
		if err == nil || errors.Is(err, copying.ErrImagesLeftOut) {
			x.check(ctx, t, "save", out, theirs, wrong)
		}
		_ = os.Remove(out)
	}
}

// check verifies a written archive, and compares its images with those that were read.
func (x *hostileTest) check(ctx context.Context, t testing.TB, what, file string, theirs *plainArchive, wrong func(string, ...any)) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	require.NoError(t, err)
	r, err := dockerarchive.NewReaderContext(ctx, x.sys, file)
	if err != nil {
		wrong("%s wrote what cannot be read: %v", what, err)
		return
	}
	defer r.Close() // It is only read.
	report, err := r.Verify(ctx, nil)
	if err != nil {
		wrong("verifying what %s wrote: %v", what, err)
		return
	}
	for _, problem := range report.Problems {
		wrong("%s wrote what verify does not accept: %v", what, problem)
	}
	written := independent(data)
	for _, problem := range written.problems {
		wrong("%s wrote something where %s", what, problem)
	}
	for name, configs := range written.configs {
		if was := theirs.configs[name]; len(was) > 0 {
			for _, config := range configs {
				if !slices.Contains(was, config) {
					wrong("%s made of %q %s, and it was one of %v", what, name, config, was)
				}
			}
		}
	}
}

// change removes and compacts.
func (x *hostileTest) change(ctx context.Context, t testing.TB, file string, wrong func(string, ...any)) {
	options := &copying.ChangeOptions{Ctx: x.sys, NoSync: true}
	if _, err := copying.Remove(ctx, file, []string{"@0"}, &copying.RemoveOptions{ChangeOptions: *options}); err == nil {
		if r, err := dockerarchive.NewReaderContext(ctx, x.sys, file); err != nil {
			wrong("what remove left cannot be read: %v", err)
		} else {
			require.NoError(t, r.Close())
		}
	}
	if err := copying.Compact(ctx, imagetest.Trusting(t), file, options); err == nil {
		x.check(ctx, t, "compact", file, &plainArchive{}, wrong)
	}
}

// plainArchive is an archive as an independent reader finds it, which shares no code with
// the tested one: it takes the tables of contents at their word.
type plainArchive struct {
	files    map[string][]byte
	configs  map[string][]digest.Digest // that a name may mean
	problems []string
}

// independent reads an archive.
func independent(data []byte) *plainArchive {
	a := &plainArchive{files: map[string][]byte{}, configs: map[string][]digest.Digest{}}
	links := map[string]string{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if err != nil {
			break
		}
		name := path.Clean("/" + h.Name)
		delete(a.files, name)
		delete(links, name)
		switch h.Typeflag {
		case tar.TypeReg:
			a.files[name], _ = io.ReadAll(r)
		case tar.TypeSymlink:
			links[name] = path.Join("/", path.Dir(name), h.Linkname)
		case tar.TypeLink:
			if content, ok := a.files[path.Clean("/"+h.Linkname)]; ok {
				a.files[name] = content
			} else {
				links[name] = path.Clean("/" + h.Linkname)
			}
		}
	}
	for range len(links) {
		for name, target := range links {
			if content, ok := a.files[target]; ok {
				a.files[name] = content
			}
		}
	}
	a.readManifestJSON()
	a.readIndex()
	return a
}

func (a *plainArchive) problem(format string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

func (a *plainArchive) readManifestJSON() {
	raw, ok := a.files["/manifest.json"]
	if !ok {
		return
	}
	var items []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(raw, &items); err != nil {
		a.problem("manifest.json is none: %v", err)
		return
	}
	for _, item := range items {
		config, ok := a.files[path.Clean("/"+item.Config)]
		if !ok {
			a.problem("config %q is missing", item.Config)
			continue
		}
		for _, tag := range item.RepoTags {
			a.configs[tag] = append(a.configs[tag], digest.FromBytes(config))
		}
		var layers [][]byte
		for _, name := range item.Layers {
			if layer, ok := a.files[path.Clean("/"+name)]; ok {
				layers = append(layers, layer)
			}
		}
		if len(layers) == len(item.Layers) {
			a.compare("manifest.json", config, layers)
		}
	}
}

// compare compares layers with the config.
func (a *plainArchive) compare(what string, config []byte, layers [][]byte) {
	var fields struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &fields); err != nil {
		a.problem("%s: the config is none: %v", what, err)
		return
	}
	if len(fields.RootFS.DiffIDs) != len(layers) {
		a.problem("%s: %d diff IDs of %d layers", what, len(fields.RootFS.DiffIDs), len(layers))
		return
	}
	for n, layer := range layers {
		content, err := decompressed(layer)
		if err != nil {
			a.problem("%s: layer %d: %v", what, n, err)
		} else if got := digest.FromBytes(content).String(); got != fields.RootFS.DiffIDs[n] && len(fields.RootFS.DiffIDs[n]) == len(got) {
			a.problem("%s: layer %d is %s, and not %s", what, n, got, fields.RootFS.DiffIDs[n])
		}
	}
}

func decompressed(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case bytes.HasPrefix(data, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	return data, nil
}

func (a *plainArchive) readIndex() {
	raw, ok := a.files["/index.json"]
	if !ok {
		return
	}
	var index struct{ Manifests []v1.Descriptor }
	if err := json.Unmarshal(raw, &index); err != nil {
		a.problem("index.json is none: %v", err)
		return
	}
	for n, d := range index.Manifests {
		configs := a.readManifest(d, 0, "manifest "+strconv.Itoa(n))
		if name := cmp.Or(d.Annotations["io.containerd.image.name"], d.Annotations[v1.AnnotationRefName]); name != "" {
			a.configs[name] = append(a.configs[name], configs...)
		}
	}
}

// blob returns a blob that is there and matches its digest.
func (a *plainArchive) blob(d v1.Descriptor, what string) ([]byte, bool) {
	if d.Digest.Validate() != nil {
		a.problem("%s: %q is no digest", what, d.Digest)
		return nil, false
	}
	data, ok := a.files["/blobs/"+d.Digest.Algorithm().String()+"/"+d.Digest.Encoded()]
	if !ok {
		return nil, false
	}
	if d.Digest.Algorithm().FromBytes(data) != d.Digest || int64(len(data)) != d.Size {
		a.problem("%s: %s is not what it should be", what, d.Digest)
	}
	return data, d.Digest.Algorithm().FromBytes(data) == d.Digest
}

// readManifest returns the configs that a descriptor leads to.
func (a *plainArchive) readManifest(d v1.Descriptor, depth int, what string) (configs []digest.Digest) {
	raw, ok := a.blob(d, what)
	if !ok || depth > 5 {
		return nil
	}
	var m struct {
		Manifests []v1.Descriptor
		Config    *v1.Descriptor
		Layers    []v1.Descriptor
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		a.problem("%s: %v", what, err)
		return nil
	}
	for _, child := range m.Manifests {
		configs = append(configs, a.readManifest(child, depth+1, what)...)
	}
	if m.Config == nil {
		return configs
	}
	config, ok := a.blob(*m.Config, what)
	var layers [][]byte
	for _, l := range m.Layers {
		if layer, ok := a.blob(l, what); ok {
			layers = append(layers, layer)
		}
	}
	isImage := m.Config.MediaType == v1.MediaTypeImageConfig || m.Config.MediaType == "application/vnd.docker.container.image.v1+json"
	if ok && isImage && len(layers) == len(m.Layers) && !slices.ContainsFunc(m.Layers, func(l v1.Descriptor) bool { return !isPlainLayer(l.MediaType) }) {
		a.compare(what, config, layers)
	}
	if ok { // Digested by any algorithm.
		configs = append(configs, digest.FromBytes(config))
	}
	if m.Config.Digest.Validate() != nil {
		return configs
	}
	return append(configs, m.Config.Digest)
}

func isPlainLayer(mediaType string) bool {
	return slices.Contains([]string{
		v1.MediaTypeImageLayer, v1.MediaTypeImageLayerGzip, v1.MediaTypeImageLayerZstd,
		"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip",
	}, mediaType)
}
