package e2e_test

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/fronttest"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// known returns a layer that is known by a digest of another algorithm.
func known(l imagetest.Layer, by digest.Algorithm) imagetest.Layer {
	l.Digest = by.FromBytes(l.Blob)
	return l
}

// Every directory that blobs are in is there once, behind the blobs of the image that
// is the first to need it, whoever writes the archive and in whatever order.
func TestDirectoriesOfAlgorithms(t *testing.T) {
	shared := known(imagetest.Gzip(2, 60_000), digest.SHA512)
	images := []*imagetest.Image{
		imagetest.NewImage(t, "none", imagetest.Gzip(1, 3000)),
		imagetest.NewImage(t, "one", imagetest.Gzip(1, 3000), shared, known(imagetest.Plain(3, 100), digest.SHA384)),
		imagetest.NewImage(t, "two", known(imagetest.Zstd(4, 2000), digest.SHA384), shared),
	}
	want := sequentialArchive(t, images...)
	files, names := imagetest.Files(t, want)
	var others []string
	for _, name := range names {
		if matched, _ := filepath.Match("blobs/sha256/*", name); !matched || name == "blobs/sha256/" {
			others = append(others, filepath.Dir(name)+" "+filepath.Base(name))
		}
	}
	path := func(l imagetest.Layer) string {
		return "blobs/" + l.Digest.Algorithm().String() + " " + l.Digest.Encoded()
	}
	assert.Equal(t, []string{
		". oci-layout", "blobs blobs", "blobs/sha256 sha256",
		path(shared), path(images[1].Layers[2]), "blobs/sha512 sha512", "blobs/sha384 sha384",
		path(images[2].Layers[0]), ". index.json", ". manifest.json",
	}, others)
	assert.True(t, bytes.Equal(shared.Blob, files["blobs/sha512/"+shared.Digest.Encoded()]))

	for i := range imagetest.Rounds(t, 8, 100) {
		options := &dockerarchive.WriterOptions{}
		if i%2 == 0 {
			options = fronttest.Plan(t, images...)
		}
		options.Transport = dockerarchive.ImageTransport
		w, path := fronttest.New(t, options)
		var stream bytes.Buffer
		if i%4 == 0 { // Only with a plan is its order known.
			var err error
			w, err = dockerarchive.NewWriterTo(t.Context(), imagetest.Isolated(), &stream, options)
			require.NoError(t, err)
		}
		refs := []types.ImageReference{fronttest.Reference(t, w, ""), fronttest.Reference(t, w, ""), fronttest.Reference(t, w, "")}
		var wg sync.WaitGroup
		for _, k := range rand.Perm(len(images)) {
			images[k].Disturb = imagetest.Jitter
			wg.Go(func() {
				assert.NoError(t, imagetest.Copy(t, refs[k], images[k], &copy.Options{MaxParallelDownloads: 6}))
			})
		}
		wg.Wait()
		require.NoError(t, w.Close())
		got := stream.Bytes()
		if i%4 != 0 {
			got = imagetest.ReadFile(t, path)
		}
		require.True(t, bytes.Equal(want, got), "run %d", i)
	}
}

// An image whose place was planned and that does not come leaves its directory to the
// next one.
func TestDirectoryOfAnImageThatFails(t *testing.T) {
	gone := imagetest.NewImage(t, "gone", known(imagetest.Gzip(1, 3000), digest.SHA512))
	next := imagetest.NewImage(t, "next", known(imagetest.Gzip(2, 3000), digest.SHA512))
	last := imagetest.NewImage(t, "last", imagetest.Gzip(3, 3000))
	want := sequentialArchive(t, next, last)
	options := fronttest.Plan(t, gone, next, last)
	options.Transport = dockerarchive.ImageTransport
	w, path := fronttest.New(t, options)
	fronttest.Reference(t, w, "")
	refs := []types.ImageReference{fronttest.Reference(t, w, ""), fronttest.Reference(t, w, "")}
	require.NoError(t, imagetest.Copy(t, refs[1], last, nil))
	require.NoError(t, imagetest.Copy(t, refs[0], next, nil))
	require.NoError(t, w.Close())
	assert.True(t, bytes.Equal(want, imagetest.ReadFile(t, path)))
}

// An archive that was made without the directory is saved again with it.
func TestDirectoryIsAdded(t *testing.T) {
	source, err := dockerarchive.ImageTransport.ParseReference(imagetest.Testdata(t, "cases", "sha512.tar"))
	require.NoError(t, err)
	saved := filepath.Join(t.TempDir(), "saved.tar")
	options := &copying.SaveOptions{Reading: copying.Reading{SourceCtx: amd64()}, Transport: dockerarchive.ImageTransport, DestinationCtx: amd64()}
	images := []copying.SaveImage{{Source: source}}
	_, err = copying.Save(t.Context(), imagetest.Trusting(t), saved, images, options)
	require.NoError(t, err)
	plan, err := copying.PlanSave(t.Context(), imagetest.Trusting(t), images, options)
	require.NoError(t, err)
	data := imagetest.ReadFile(t, saved)
	_, names := imagetest.Files(t, data)
	assert.Contains(t, names, "blobs/sha512/")
	assert.EqualValues(t, len(data), plan.Size)
}
