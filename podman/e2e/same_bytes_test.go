package e2e_test

import (
	"context"
	"path/filepath"
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

// archiveSums are the SHA-256 sums of archives of the images in testdata/oci.
// They must not change from one version to the next: people compare archives,
// cache them by their sums, and sign them.
var archiveSums = []struct {
	name      string
	transport types.ImageTransport
	images    []string // NAME=IMAGE; NAME may be empty
	all       bool     // all platforms
	sum       string
}{
	{"single", dockerarchive.Transport, []string{"example.com/one:1=one"}, false, "32336bf5ab51941efa0ff243021aefb5948a0e454f541395032be7fef0a554a8"},
	{"untagged", dockerarchive.Transport, []string{"=one"}, false, "5fcada838d6ac716d4ed103d790eda0bc3ee73b5da58d179b19decc220df643d"},
	{"zstd", dockerarchive.Transport, []string{"zstd:1=zstd"}, false, "5e650f711df00cada666acd76a436938ad87c48821f0746ac1c639b36cb46c28"},
	{"several", dockerarchive.Transport, []string{"one:1=one", "two:2=two"}, false, "82798383533edfcefb91ddd6c453e48c2a4ae498b716dc2cc1b1f16a524efaad"},
	{"shared layers in two compressions", dockerarchive.Transport, []string{"two:2=two", "zstd:1=zstd", "one:1=one"}, false, "029a094bda68e4c5a47f72a29bf8a2104000cbbb0f18146b86f5015796c8588f"},
	{"one image, two names", dockerarchive.Transport, []string{"one:1=one", "uno:1=one"}, false, "448fa4ef19ea3b646d171e5ee875067bd26717a1b836e7e5ab9801978757bf59"},
	{"platform of an index", dockerarchive.Transport, []string{"multi:1=multi"}, false, "9cb6da05cf894b2202aecac9c88b63dead38db2b7c93eaaa49831d2374a9754d"},
	{"single", dockerarchive.ImageTransport, []string{"example.com/one:1=one"}, false, "dcce04e571190cf10f5f6eeea2267f0e51d098c0c3ebe031099073664a9c89a7"},
	{"untagged", dockerarchive.ImageTransport, []string{"=one"}, false, "d8dea9302ddda256db2e2d231de66c60a181a2e55ec18cfec6471e0a04f2976f"},
	{"zstd", dockerarchive.ImageTransport, []string{"zstd:1=zstd"}, false, "69a05ad102a5cd470bb55d5d31f09ab17ce397440bc0859a78e1cfd6f955ada2"},
	{"several", dockerarchive.ImageTransport, []string{"one:1=one", "two:2=two", "zstd:1=zstd"}, false, "039b07939205a1334379f52e1413594996bde17b1cfb50f0e5af9c48da4af188"},
	{"one image, two names", dockerarchive.ImageTransport, []string{"one:1=one", "uno:1=one"}, false, "3e78ba0bb0cdd082cada71a04858401f2fd2881443c33c7f4463c901fdefd0b2"},
	{"platform of an index", dockerarchive.ImageTransport, []string{"multi:1=multi"}, false, "21dd74ae642dc27e9767a74a3b683f2aef3ae2bef76e0db03ea4265b4c0c8333"},
	{"index", dockerarchive.ImageTransport, []string{"multi:1=multi"}, true, "5aaa06122976efb49a60fb435258a7bbd307c25631a44116e5c1e03eeff801e5"},
	{"index and its platform", dockerarchive.ImageTransport, []string{"two:2=two", "multi:1=multi", "=one"}, true, "db28ead6a5afe34182f770769025369441e288ef9ab5e05df1d0f44b4a4137c7"},
}

// Every way to write an archive gives the bytes that it gave before.
func TestBytesAsBefore(t *testing.T) {
	for _, c := range archiveSums {
		t.Run(c.transport.Name()+"/"+c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out.tar")
			w, err := dockerarchive.NewWriterContext(t.Context(), amd64(), path, &dockerarchive.WriterOptions{Transport: c.transport})
			require.NoError(t, err)
			for _, image := range c.images {
				name, source := parsePair(t, image)
				var tagged reference.NamedTagged
				if name != nil {
					tagged = name.(reference.NamedTagged)
				}
				ref, err := w.NewReference(tagged)
				require.NoError(t, err)
				options := &copy.Options{SourceCtx: amd64(), DestinationCtx: amd64()}
				if c.all {
					options.ImageListSelection = copy.CopyAllImages
				}
				_, err = copy.Image(context.Background(), imagetest.Trusting(t), ref, source, options)
				require.NoError(t, err)
			}
			require.NoError(t, w.Close())
			assert.Equal(t, c.sum, imagetest.Sum(imagetest.ReadFile(t, path)), "a Writer and copy.Image")

			path = filepath.Join(t.TempDir(), "saved.tar")
			var images []copying.SaveImage
			for _, image := range c.images {
				name, source := parsePair(t, image)
				images = append(images, copying.SaveImage{Source: source, Name: name})
			}
			_, err = copying.Save(context.Background(), imagetest.Trusting(t), path, images, &copying.SaveOptions{
				Reading:        copying.Reading{SourceCtx: amd64()},
				Selection:      copying.Selection{AllPlatforms: c.all},
				Transport:      c.transport,
				DestinationCtx: amd64(),
			})
			require.NoError(t, err)
			assert.Equal(t, c.sum, imagetest.Sum(imagetest.ReadFile(t, path)), "Save")
		})
	}
}

func parsePair(t *testing.T, pair string) (reference.Named, types.ImageReference) {
	t.Helper()
	name, image, _ := strings.Cut(pair, "=")
	source := imagetest.Saved(t, image)
	if name == "" {
		return nil, source
	}
	named, err := reference.ParseNormalizedNamed(name)
	require.NoError(t, err)
	return named, source
}

func amd64() *types.SystemContext {
	sys := imagetest.Isolated()
	sys.OSChoice, sys.ArchitectureChoice = "linux", "amd64"
	return sys
}
