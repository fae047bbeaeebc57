package copying_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/progress"
)

// layoutDir is an OCI image layout.
var layoutDir = imagetest.MustTestdata("oci")

// acceptAll is the policy of programs that trust their sources.
func acceptAll() *signature.PolicyContext {
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		log.Fatal(err)
	}
	return policy
}

func tempDir() string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	return dir
}

// Copy one image to an archive and look at it.
func ExampleCopy() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	source, err := ocilayout.NewReference(layoutDir, "one")
	if err != nil {
		log.Fatal(err)
	}
	archive, err := dockerarchive.ParseReference(filepath.Join(dir, "out.tar") + ":example.com/one:1")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, err := copying.Copy(ctx, acceptAll(), archive, source, nil); err != nil {
		log.Fatal(err)
	}
	image, err := archive.NewImage(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer image.Close()
	fmt.Println(image.ConfigInfo().Digest)
	fmt.Println(len(image.LayerInfos()), "layers")
	// Output:
	// sha256:a73d52a29d77d467d588c0b3658e4940f790b512e6fed231d944f72d0d42f80a
	// 4 layers
}

// Save two images to one archive, and print what is read. Layers that they share are read once.
func ExampleSave() {
	dir, ctx := tempDir(), context.Background()
	defer os.RemoveAll(dir)
	images, release, err := copying.Images(ctx, nil, "oci:"+layoutDir+":one", "oci:"+layoutDir+":two")
	if err != nil {
		log.Fatal(err)
	}
	defer release()
	show := func(e progress.Event) {
		if e.Kind == progress.Planned {
			fmt.Println(e.Kind, e.Blobs, "blobs")
		}
	}
	options := &copying.SaveOptions{Reading: copying.Reading{Progress: show}}
	_, err = copying.Save(ctx, acceptAll(), filepath.Join(dir, "out.tar"), images, options)
	fmt.Println(err)
	// Output:
	// planned 6 blobs
	// <nil>
}

// Save an image of a registry to a file, under the policy of this system.
func ExampleImages() {
	save := func(ctx context.Context) error {
		images, release, err := copying.Images(ctx, nil, "registry.example.com/app:1")
		if err != nil {
			return err
		}
		defer release()
		_, err = copying.Save(ctx, nil, "app.tar", images, nil)
		return err
	}
	_ = save
}

// Push all images of an archive to a registry, under their own names there.
func ExamplePush() {
	push := func(ctx context.Context) error {
		images, release, err := copying.Images(ctx, nil, "image-archive:app.tar")
		if err != nil {
			return err
		}
		defer release()
		to, err := copying.PushTo("registry.example.com/mirror", images)
		if err != nil {
			return err
		}
		_, err = copying.Push(ctx, nil, to, nil)
		return err
	}
	_ = push
}

// Load all images of an archive into the Docker daemon of this machine.
func ExampleLoad() {
	load := func(ctx context.Context) error {
		images, release, err := copying.Images(ctx, nil, "image-archive:app.tar")
		if err != nil {
			return err
		}
		defer release()
		_, err = copying.Load(ctx, nil, images, nil)
		return err
	}
	_ = load
}

// Add an image to an archive that is there.
func ExampleAdd() {
	add := func(ctx context.Context) error {
		images, release, err := copying.Images(ctx, nil, "registry.example.com/app:2")
		if err != nil {
			return err
		}
		defer release()
		_, err = copying.Add(ctx, nil, "app.tar", images, nil)
		return err
	}
	_ = add
}

// Merge archives: all images of each, with their names and platforms.
func ExampleImages_merge() {
	dir, ctx := tempDir(), context.Background()
	defer os.RemoveAll(dir)
	images, release, err := copying.Images(ctx, nil,
		"docker-archive:"+imagetest.MustTestdata("archives/ctr24.tar"), "docker-archive:"+imagetest.MustTestdata("cases/digest-name.tar"))
	if err != nil {
		log.Fatal(err)
	}
	defer release()
	results, err := copying.Save(ctx, acceptAll(), filepath.Join(dir, "merged.tar"), images, nil)
	for _, r := range results {
		fmt.Println(r.Name, r.Digest.Encoded()[:12], err)
	}
	// Output:
	// 127.0.0.1:5111/tiny/multi:v1 45d2602b3445 <nil>
	// 127.0.0.1:5111/tiny/one:v1 cbd2ddd5b036 <nil>
	// docker.io/library/busybox@sha256:45d2602b344571424277f0ae5515e160520a245712357743d45b1e1e3095c07e 45d2602b3445 <nil>
}
