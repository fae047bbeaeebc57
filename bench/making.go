package main

import (
	"context"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/compose"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// makingCases make an image of tars that are not compressed, upon nothing. The sides
// compress them each in their own way, and write other archives.
var makingCases = []benchCase{
	{
		name: "make", title: "tars → make, OCI layout ÷ crane append", goal: 0.5, differ: true, client: "crane",
		ours: makeImage(dockerarchive.ImageTransport), theirs: craneAppend,
	},
	{
		name: "make-docker", title: "tars → make, docker layout ÷ crane append", goal: 0.5, differ: true, client: "crane",
		ours: makeImage(dockerarchive.Transport), theirs: craneAppend,
	},
}

// plainLayers returns the layers of image 0, not compressed.
func (e *env) plainLayers() []string {
	var paths []string
	for _, i := range e.data.Images[0].Layers {
		paths = append(paths, e.data.layerPath(e.data.Layers[i]))
	}
	return paths
}

func makeImage(transport types.ImageTransport) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		img := &compose.Image{
			TempDir: e.scratch,
			Change: func(c *compose.Config) error {
				c.SetPlatform(imgspecv1.Platform{OS: "linux", Architecture: "amd64"})
				return nil
			},
		}
		for _, path := range e.plainLayers() {
			img.Layers = append(img.Layers, compose.Layer{Content: compose.Tar(path)})
		}
		_, err := making.WriteArchive(ctx, e.output, img, &making.ArchiveOptions{Transport: transport})
		return err
	}
}

func craneAppend(ctx context.Context, e *env) error {
	args := []string{"append", "--oci-empty-base", "--new_tag", "bench:1", "--output", e.output}
	for _, path := range e.plainLayers() {
		args = append(args, "--new_layer", path)
	}
	return runClient(ctx, "crane", args...)
}
