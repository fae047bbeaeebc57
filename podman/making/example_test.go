package making_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"testing/fstest"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

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

// Put files upon a base, straight into an archive.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	// A base is any image that containers/image can read: of a registry, say.
	from, err := ocilayout.NewReference(imagetest.MustTestdata("oci"), "one")
	if err != nil {
		log.Fatal(err)
	}
	base, err := making.OpenBase(ctx, nil, acceptAll(), from)
	if err != nil {
		log.Fatal(err)
	}
	defer base.Close()

	files := fstest.MapFS{"app": {Data: []byte("#!/bin/sh\necho hello\n"), Mode: 0o755}}
	img := &compose.Image{
		Base: base, BaseName: "example.com/one:1",
		Layers: []compose.Layer{{
			Content: compose.FS("app", files, compose.PackOptions{Prefix: "/usr/bin"}),
			History: imgspecv1.History{CreatedBy: "add the app"},
		}},
		Change:  func(c *compose.Config) error { return making.Apply(c, "ENV MODE=fast", `CMD ["app"]`) },
		Created: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	name, err := reference.ParseNormalizedNamed("example.com/app:1")
	if err != nil {
		log.Fatal(err)
	}
	made, err := making.WriteArchive(ctx, filepath.Join(dir, "app.tar"), img, &making.ArchiveOptions{Names: []reference.Named{name}})
	if err != nil {
		log.Fatal(err)
	}

	// Or to anywhere else: the image has the same digest everywhere.
	to, err := ocilayout.NewReference(filepath.Join(dir, "layout"), "app")
	if err != nil {
		log.Fatal(err)
	}
	raw, err := copy.Image(ctx, acceptAll(), to, making.Reference(img, name), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("same digest:", digest.FromBytes(raw) == made.Digest())
	copied, err := to.NewImage(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer copied.Close()
	config, err := copied.OCIConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(config.Config.Env, config.Config.Cmd)
	// Output:
	// same digest: true
	// [PATH=/bin GREETING=hi MODE=fast] [app]
}

// Make an image of a directory, and write it to an archive.
func ExampleWriteArchive() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	files := compose.Dir("..", compose.PackOptions{Prefix: "/srv", Exclude: []string{"*", "!go.mod"}})
	img := &compose.Image{Layers: []compose.Layer{{Content: files}}}
	made, err := making.WriteArchive(context.Background(), filepath.Join(dir, "app.tar"), img, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(made.MediaType)
	// Output: application/vnd.oci.image.manifest.v1+json
}
