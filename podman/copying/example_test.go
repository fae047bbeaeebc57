package copying_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"go.podman.io/image/v5/docker/reference"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
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

// Save several images to one archive; what they share is read once.
func ExampleSave() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	var images []copying.SaveImage
	for _, tag := range []string{"one", "two"} {
		source, err := ocilayout.NewReference(layoutDir, tag)
		if err != nil {
			log.Fatal(err)
		}
		name, err := reference.ParseNormalizedNamed("example.com/" + tag + ":1")
		if err != nil {
			log.Fatal(err)
		}
		images = append(images, copying.SaveImage{Source: source, Name: name})
	}
	results, err := copying.Save(context.Background(), acceptAll(), filepath.Join(dir, "out.tar"), images, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range results {
		fmt.Println(r.Name, r.Digest.Encoded()[:12])
	}
	// Output:
	// example.com/one:1 cbd2ddd5b036
	// example.com/two:1 291aaf079eab
}

// Merge archives: all images of each, with their names and platforms.
func ExampleAllImages() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	ctx := context.Background()
	var images []copying.SaveImage
	for _, name := range []string{"archives/ctr24.tar", "cases/digest-name.tar"} {
		archive, err := dockerarchive.ParseReference(imagetest.MustTestdata(name))
		if err != nil {
			log.Fatal(err)
		}
		all, release, err := copying.AllImages(ctx, nil, archive)
		if err != nil {
			log.Fatal(err)
		}
		defer release()
		images = append(images, all...)
	}
	results, err := copying.Save(ctx, acceptAll(), filepath.Join(dir, "merged.tar"), images, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range results {
		fmt.Println(r.Name, r.Digest.Encoded()[:12])
	}
	// Output:
	// 127.0.0.1:5111/tiny/multi:v1 45d2602b3445
	// 127.0.0.1:5111/tiny/one:v1 cbd2ddd5b036
	// docker.io/library/busybox@sha256:45d2602b344571424277f0ae5515e160520a245712357743d45b1e1e3095c07e 45d2602b3445
}
