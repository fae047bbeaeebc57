package copying_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Archives that contradict themselves in any way, of every form, give the image that
// their author meant, or nothing: TestConsistentOrRefused/N is for seed N.
func TestConsistentOrRefused(t *testing.T) {
	quiet(t)
	ways := imagetest.Rounds(t, 1, 4)
	for seed := range imagetest.Rounds(t, 200, 2_000) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m, data := makeArchive(t, uint64(seed))
			c := newTrial(t, m, data)
			c.ways = ways

			c.run()
			if t.Failed() {
				t.Logf("an archive of %s with the faults %q", m.form.name, m.faults)
				for _, r := range c.archive.readings {
					t.Logf("of manifest.json: %v; %q for %s: wrong: %v, mild: %v", r.item, r.names, r.platform, r.wrong, r.mild)
				}
				t.Logf("replay: go test ./copying -run '^%s$/^%d$', in the environment of this test", strings.Split(t.Name(), "/")[0], seed)
			}
		})
	}
}

// trial is one archive that is tried.
type trial struct {
	*testing.T
	*making
	archive   *opened
	dir, path string
	options   *copying.SaveOptions
	ways      int  // in how many ways each image is written
	verified  bool // verify finds nothing wrong
}

func newTrial(t *testing.T, m *making, data []byte) *trial {
	t.Helper()
	c := &trial{T: t, making: m, archive: openArchive(data), dir: t.TempDir(), options: saving(t), ways: 4}
	c.options.DestinationCtx = imagetest.Isolated() // A stream may have to wait on disk.
	c.path = filepath.Join(c.dir, "archive.tar")
	require.NoError(t, os.WriteFile(c.path, data, 0o600))
	return c
}

func (c *trial) run() {
	r, err := dockerarchive.NewReader(nil, c.path)
	if err != nil {
		assert.NotEmpty(c, c.faults, "refused: %v", err)
		assert.NotEmpty(c, c.archive.faults)
		return
	}
	defer func() { assert.NoError(c, r.Close()) }()
	report, err := r.Verify(c.Context(), nil)
	require.NoError(c, err)
	c.verified = len(report.Problems) == 0
	if c.verified {
		assert.Empty(c, c.archive.faults, "verify finds nothing wrong")
	} else {
		assert.NotEmpty(c, c.faults, "%v", report.Problems)
	}
	infos, err := r.Images(c.Context())
	require.NoError(c, err)
	list, err := r.List()
	require.NoError(c, err)
	require.Len(c, list, len(infos))
	for n, refs := range list {
		for _, ref := range refs {
			c.image(ref, infos[n])
		}
	}
	if c.IntN(4) < c.ways {
		c.all(list)
	}
}

// image copies and saves an image.
func (c *trial) image(listed types.ImageReference, info dockerarchive.ImageInfo) {
	ref, err := dockerarchive.ParseReference(listed.StringWithinTransport())
	require.NoError(c, err)
	name := strings.TrimPrefix(ref.StringWithinTransport(), c.path+":")
	want, must := c.meant(name)
	if must {
		assert.Empty(c, info.Error, name)
	}
	must = (must || c.verified) && c.has(name, "amd64")
	asked := *c.options
	source := *c.options.SourceCtx
	if c.form.platforms && c.IntN(3) == 0 && runtime.GOARCH == "amd64" {
		source.OSChoice, source.ArchitectureChoice = "", "" // One that is there.
	}
	asked.SourceCtx = &source
	ways := []struct {
		what  string
		write func() ([]byte, error)
	}{
		{"copied to docker-archive", func() ([]byte, error) { return c.copied(dockerarchive.Transport, ref, &source) }},
		{"copied to image-archive", func() ([]byte, error) { return c.copied(dockerarchive.ImageTransport, ref, &source) }},
		{"saved to docker-archive", func() ([]byte, error) { return c.saved(dockerarchive.Transport, ref, name, asked) }},
		{"saved to image-archive", func() ([]byte, error) { return c.saved(dockerarchive.ImageTransport, ref, name, asked) }},
	}
	c.Shuffle(len(ways), func(i, j int) { ways[i], ways[j] = ways[j], ways[i] })
	for _, way := range ways[:c.ways] {
		data, err := way.write()
		if err != nil {
			assert.False(c, must, "%s is not %s: %v", name, way.what, err)
			continue
		}
		if hidden := c.hidden(name); len(hidden) > 0 && strings.HasSuffix(way.what, "image-archive") {
			continue // Nothing was unpacked.
		}
		got := c.require(data, way.what)
		if !assert.NotEmpty(c, got, way.what) {
			continue
		}
		for _, r := range got {
			assert.Contains(c, want, r.image(), "%s %s", name, way.what)
		}
	}
}

// has reports whether an image is for one platform only, or has a certain one.
func (c *trial) has(name, arch string) bool {
	index, _ := c.archive.called(name)
	return !c.form.platforms || !strings.HasPrefix(name, "@") && slices.ContainsFunc(index, func(r *reading) bool { return r.platform == arch })
}

// hidden returns the readings of a name that only unpacking their layers shows to be
// wrong.
func (c *trial) hidden(name string) []*reading {
	index, _ := c.archive.called(name)
	if strings.HasPrefix(name, "@") {
		index = c.archive.readings
	}
	return slices.DeleteFunc(slices.Clone(index), func(r *reading) bool { return !c.archive.hidden(r) })
}

// meant returns the images that a name may mean, and whether what it means is
// beyond doubt and right.
func (c *trial) meant(name string) (images []string, must bool) {
	index, items := c.archive.called(name)
	if strings.HasPrefix(name, "@") { // Any image in the archive.
		index, items = c.archive.readings, nil
	}
	for _, a := range c.authors {
		if a.name == name || !strings.Contains(name, ":v") {
			images = append(images, a.image()) // The name means this image, however it is found.
		}
	}
	allow := func(readings []*reading) (right int) { // How many of them are right.
		for _, r := range readings {
			if r.wrong == nil {
				images = append(images, r.image())
				if r.mild == nil {
					right++
				}
			}
		}
		return right
	}
	if strings.HasPrefix(name, "@") {
		allow(index)
		return images, false
	}
	if len(index) > 0 {
		tops := map[string]bool{}
		for _, r := range index {
			tops[r.top.String()] = true
		}
		if len(tops) > 1 {
			allow(index) // One of them would be kept.
			return images, false
		}
		if index[0].index { // One for this machine, if it is there.
			right := allow(index)
			for _, r := range items {
				if r.wrong == nil {
					images = append(images, r.image())
				}
			}
			return images, right == len(index)
		}
		if right := allow(index); right > 0 || len(items) == 0 {
			return images, right > 0
		}
		right := allow(items)
		// A blob that is not there may be elsewhere. Another image under the same name
		// is not it.
		partial := !index[0].lost && !index[0].sameConfig(items[0]) && errors.Is(index[0].wrong, fs.ErrNotExist)
		return images, right == 1 && len(items) == 1 && c.archive.readable && !partial && !c.archive.contested
	}
	right := allow(items)
	return images, right == 1 && len(items) == 1 && c.archive.readable
}

func (c *trial) out() string {
	path := filepath.Join(c.dir, "out.tar")
	_ = os.Remove(path)
	return path
}

// copied copies to a file and to a pipe.
func (c *trial) copied(transport types.ImageTransport, src types.ImageReference, sys *types.SystemContext) ([]byte, error) {
	path := c.out()
	write := func(path string) error {
		dest, err := transport.ParseReference(path + ":example.com/out:v1")
		require.NoError(c, err)
		_, err = copying.Copy(c.Context(), imagetest.Trusting(c), dest, src, &copying.CopyOptions{Options: copy.Options{SourceCtx: sys, DestinationCtx: imagetest.Isolated()}})
		return err
	}
	err := write(path)
	if err != nil {
		assert.NoFileExists(c, path)
		return nil, err
	}
	data := imagetest.ReadFile(c, path)
	assert.Equal(c, []string{"example.com/out:v1"}, openArchive(data).names())
	if c.IntN(4) == 0 {
		piped, err := toPipe(c, write)
		require.NoError(c, err)
		assert.Equal(c, imagetest.Sum(data), imagetest.Sum(piped), "a pipe gets other bytes")
	}
	return data, nil
}

// saved saves to a file and to a pipe.
func (c *trial) saved(transport types.ImageTransport, src types.ImageReference, name string, options copying.SaveOptions) ([]byte, error) {
	options.Transport = transport
	path := c.out()
	images := []copying.SaveImage{c.savedAs(src, name)}
	all := c.has(name, "amd64") || c.has(name, "arm64") // Something is there.
	if transport == dockerarchive.ImageTransport && c.form.platforms && all && c.IntN(2) == 0 {
		options.AllPlatforms, options.SkipMissing = true, true
	}
	_, err := copying.Save(c.Context(), imagetest.Trusting(c), path, images, &options)
	if err != nil {
		assert.NoFileExists(c, path)
		return nil, err
	}
	data := imagetest.ReadFile(c, path)
	if c.IntN(4) == 0 {
		var piped bytes.Buffer
		_, err := copying.SaveTo(c.Context(), imagetest.Trusting(c), &piped, images, &options)
		require.NoError(c, err)
		assert.Equal(c, imagetest.Sum(data), imagetest.Sum(piped.Bytes()), "a pipe gets other bytes")
	}
	return data, nil
}

// savedAs returns an image under its own name.
func (c *trial) savedAs(src types.ImageReference, name string) copying.SaveImage {
	img := copying.SaveImage{Source: src}
	if strings.HasPrefix(name, "@") {
		return img
	}
	if named, err := reference.ParseNormalizedNamed(name); err == nil && isReference(name) {
		img.Name = named
		return img
	}
	img.FreeName = name
	return img
}

// all saves all images at once, as far as possible.
func (c *trial) all(list [][]types.ImageReference) {
	options := *c.options
	options.KeepGoing = true
	var images []copying.SaveImage
	for _, refs := range list {
		for _, listed := range refs {
			ref, err := dockerarchive.ParseReference(listed.StringWithinTransport())
			require.NoError(c, err)
			images = append(images, c.savedAs(ref, strings.TrimPrefix(ref.StringWithinTransport(), c.path+":")))
		}
	}
	path := c.out()
	_, err := copying.Save(c.Context(), imagetest.Trusting(c), path, images, &options)
	if err != nil && !errors.Is(err, copying.ErrImagesLeftOut) {
		assert.False(c, c.verified, "%v", err)
		assert.NoFileExists(c, path)
		return
	}
	if _, statErr := os.Stat(path); statErr != nil {
		assert.False(c, c.verified, "%v", err)
		return
	}
	data := imagetest.ReadFile(c, path)
	if len(c.hidden("@")) > 0 {
		return
	}
	for _, r := range c.require(data, "saved together") {
		for _, name := range r.names {
			want, _ := c.meant(name)
			assert.Contains(c, want, r.image(), "%s saved with all others", name)
		}
	}
}

// require returns the readings of an archive of ours, which must have no fault.
func (c *trial) require(data []byte, what string) []*reading {
	o := openArchive(data)
	assert.Empty(c, o.faults, what)
	if o.index != nil {
		for _, r := range o.readings {
			if r.item {
				assert.True(c, slices.ContainsFunc(o.readings, func(other *reading) bool { return !other.item && other.image() == r.image() }), "%s: manifest.json has another image than index.json", what)
			}
		}
		assert.NotEmpty(c, o.items, what)
	}
	r, err := dockerarchive.NewReaderAt(c.Context(), nil, bytes.NewReader(data), int64(len(data)))
	if !assert.NoError(c, err, what) {
		return nil
	}
	report, err := r.Verify(c.Context(), nil)
	require.NoError(c, err)
	assert.Empty(c, report.Problems, "what was %s does not pass verify", what)
	require.NoError(c, r.Close())
	return o.readings
}
