package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// packedImage is an image with its layers as they are in registries.
var packedImage = input{"packed.tar", saveImages(1, ociSource, false)}

// pushCases send the image of an archive to a registry that keeps nothing.
var pushCases = []benchCase{
	{
		name: "push", title: "archive → push ÷ skopeo copy oci-archive:", goal: 0.8, input: &packedImage, moved: &packedImage, differ: true, client: "skopeo",
		ours: emptied(pushOurs), theirs: emptied(pushSkopeo),
	},
	{
		name: "push-crane", title: "archive → push ÷ crane push", goal: 0.8, input: &packedImage, moved: &packedImage, differ: true, client: "crane",
		ours: emptied(pushOurs), theirs: emptied(pushCrane),
	},
	{
		name: "push-regctl", title: "archive → push ÷ regctl image import", goal: 0.8, input: &packedImage, moved: &packedImage, differ: true, client: "regctl",
		ours: emptied(pushOurs), theirs: emptied(pushRegctl),
	},
	{
		name: "push-again", title: "archive → push again ÷ skopeo copy again", input: &packedImage, differ: true, client: "skopeo",
		start: pushedBefore, ours: pushOurs, theirs: pushSkopeo,
	},
	{
		name: "push-20", title: "archive of 20 images that share layers → push ÷ skopeo copy of each", input: &twentyImages, moved: &twentyImages, differ: true, client: "skopeo",
		ours: emptied(pushTwenty), theirs: emptied(twentyTimes(skopeoCopy)),
	},
	{
		name: "push-20-regctl", title: "archive of 20 images that share layers → push ÷ regctl image import of each", input: &twentyImages, moved: &twentyImages, differ: true, client: "regctl",
		ours: emptied(pushTwenty), theirs: emptied(twentyTimes(regctlImport)),
	},
}

// twentyImages is an archive of images that share three layers, and have one of their own.
// crane pushes no image of several.
var twentyImages = input{"twenty.tar", saveTwenty}

const twenty = 20

func saveTwenty(ctx context.Context, e *env) (err error) {
	dir := e.output + "-layout"
	images, err := newGrown(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for range twenty {
		if err := images.add(e.data, []int{0, 1, 3}, 5e6); err != nil {
			return err
		}
	}
	if err := images.close(); err != nil {
		return err
	}
	from := func(_ *env, image int) (types.ImageReference, error) { return layout.NewReference(dir, ociName(image)) }
	return saveImages(twenty, from, false)(ctx, e)
}

// pushedName is the name under which an image is pushed.
func (e *env) pushedName() string { return e.registry + "/" + sinkRepository + ":1" }

// pushedNameOf is that of one image of several. Each has a repository of its own.
func (e *env) pushedNameOf(image int) string {
	return fmt.Sprintf("%s/%s/app%d:1", e.registry, sinkRepository, image)
}

func pushOurs(ctx context.Context, e *env) error { return e.push(ctx, packedImage, e.pushedName()) }

func pushTwenty(ctx context.Context, e *env) error {
	var names []string
	for image := range twenty {
		names = append(names, e.pushedNameOf(image))
	}
	return e.push(ctx, twentyImages, names...)
}

// push pushes the images of an archive as the command does.
func (e *env) push(ctx context.Context, in input, names ...string) (err error) {
	ref, err := dockerarchive.ImageTransport.ParseReference(e.inputPath(in))
	if err != nil {
		return err
	}
	images, release, err := copying.AllImages(ctx, e.system(), ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if len(images) != len(names) {
		return fmt.Errorf("%s has %d images, not %d", in.name, len(images), len(names))
	}
	var pushed []copying.PushImage
	for n, img := range images {
		name, err := reference.ParseNormalizedNamed(names[n])
		if err != nil {
			return err
		}
		pushed = append(pushed, copying.PushImage{SaveImage: img, Targets: []reference.Named{name}})
	}
	policy, err := acceptAnything()
	if err != nil {
		return err
	}
	_, err = copying.Push(ctx, policy, pushed, &copying.PushOptions{SourceCtx: e.system(), DestinationCtx: e.system()})
	return errors.Join(err, policy.Destroy())
}

// pushedBefore pushes once, so that each run finds all there.
func pushedBefore(ctx context.Context, e *env) (func() error, error) {
	return func() error { return nil }, emptied(pushOurs)(ctx, e)
}

// twentyTimes pushes each image of the archive of twenty.
func twentyTimes(push func(ctx context.Context, e *env, archive, tag, name string) error) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		for image := range twenty {
			if err := push(ctx, e, e.inputPath(twentyImages), ociName(image), e.pushedNameOf(image)); err != nil {
				return err
			}
		}
		return nil
	}
}

func pushSkopeo(ctx context.Context, e *env) error {
	return skopeoCopy(ctx, e, e.inputPath(packedImage), ociName(0), e.pushedName())
}

func skopeoCopy(ctx context.Context, e *env, archive, tag, name string) error {
	return runSkopeo(ctx, e, "--dest-tls-verify=false", "oci-archive:"+archive+":"+tag, "docker://"+name)
}

// pushCrane pushes the archive, which is Docker's to crane, and gives it a manifest of its own.
func pushCrane(ctx context.Context, e *env) error {
	return runClient(ctx, "crane", "push", "--insecure", e.inputPath(packedImage), e.pushedName())
}

func pushRegctl(ctx context.Context, e *env) error {
	return regctlImport(ctx, e, e.inputPath(packedImage), ociName(0), e.pushedName())
}

func regctlImport(ctx context.Context, e *env, archive, tag, name string) error {
	if err := e.configureRegctl(); err != nil {
		return err
	}
	return runClient(ctx, "regctl", "image", "import", "--name", tag, name, archive)
}

// distinct returns the bytes of the blobs of an archive that another has not got.
func (e *env) distinct(ctx context.Context, in, without *input) (total int64, err error) {
	sizes := map[digest.Digest]int64{}
	each := func(in *input, do func(imgspecv1.Descriptor)) error {
		if in == nil {
			return nil
		}
		a, err := archive.Open(ctx, e.inputPath(*in))
		if err != nil {
			return err
		}
		defer a.Close() // It was only read.
		for _, img := range a.Images() {
			m, err := img.Manifest(ctx)
			if err != nil {
				return err
			}
			var blobs imgspecv1.Manifest
			if err := json.Unmarshal(m.Data, &blobs); err != nil {
				return err
			}
			for _, b := range append(blobs.Layers, blobs.Config) {
				do(b)
			}
		}
		return nil
	}
	err = errors.Join(each(in, func(b imgspecv1.Descriptor) { sizes[b.Digest] = b.Size }),
		each(without, func(b imgspecv1.Descriptor) { delete(sizes, b.Digest) }))
	for _, size := range sizes {
		total += size
	}
	return total, err
}
