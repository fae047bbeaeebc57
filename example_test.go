package dockerarchive_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/reference"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"

	"github.com/dockerarchive/dockerarchive"
	"github.com/dockerarchive/dockerarchive/internal/imagetest"
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

// Copy several images to one archive, in which they share layers.
func ExampleNewWriter() {
	dir := tempDir()
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "out.tar")
	w, err := dockerarchive.NewWriter(nil, path)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for _, name := range []string{"one", "two"} {
		source, err := ocilayout.NewReference(layoutDir, name)
		if err != nil {
			log.Fatal(err)
		}
		named, err := reference.ParseNormalizedNamed("example.com/" + name + ":1")
		if err != nil {
			log.Fatal(err)
		}
		ref, err := w.NewReference(named.(reference.NamedTagged))
		if err != nil {
			log.Fatal(err)
		}
		if _, err := copy.Image(ctx, acceptAll(), ref, source, nil); err != nil {
			_ = w.Abort() // Without it, Close would keep the images before this one.
			log.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}

	r, err := dockerarchive.NewReader(nil, path)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	images, err := r.List()
	if err != nil {
		log.Fatal(err)
	}
	for _, refs := range images {
		fmt.Println(refs[0].DockerReference())
	}
	// Output:
	// example.com/one:1
	// example.com/two:1
}
