package copying_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	ocilayout "go.podman.io/image/v5/oci/layout"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// Serve an archive over HTTP while it is made, and read it from the response: neither
// side needs a file of its own.
func ExampleSaveTo() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source, err := ocilayout.NewReference(layoutDir, "one")
		if err != nil {
			log.Fatal(err)
		}
		name, err := reference.ParseNormalizedNamed("example.com/one:1")
		if err != nil {
			log.Fatal(err)
		}
		images := []copying.SaveImage{{Source: source, Name: name}}
		if _, err := copying.SaveTo(r.Context(), acceptAll(), w, images, nil); err != nil {
			panic(http.ErrAbortHandler) // So that the client sees that the end is missing.
		}
	}))
	defer server.Close()

	response, err := http.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	r, err := dockerarchive.NewReaderFrom(context.Background(), nil, response.Body)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	images, err := r.Images(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(images[0].Names, images[0].Layers, "layers")
	// Output: [example.com/one:1] 4 layers
}

// Keep an archive within a zip file, and read it there: where it is stored without
// compression, nothing is unpacked.
func ExampleSaveTo_zip() {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.CreateHeader(&zip.FileHeader{Name: "images.tar", Method: zip.Store})
	if err != nil {
		log.Fatal(err)
	}
	source, err := ocilayout.NewReference(layoutDir, "multi")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	images := []copying.SaveImage{{Source: source, FreeName: "V1.0_RC"}}
	if _, err := copying.SaveTo(ctx, acceptAll(), w, images, &copying.SaveOptions{Selection: copying.Selection{AllPlatforms: true}}); err != nil {
		log.Fatal(err)
	}
	if err := z.Close(); err != nil {
		log.Fatal(err)
	}

	in, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		log.Fatal(err)
	}
	offset, err := in.File[0].DataOffset()
	if err != nil {
		log.Fatal(err)
	}
	size := int64(in.File[0].UncompressedSize64)
	r, err := dockerarchive.NewReaderAt(ctx, nil, io.NewSectionReader(bytes.NewReader(b.Bytes()), offset, size), size)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	list, err := r.Images(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(list[0].Names, len(list[0].Manifests), "manifests")
	// Output: [V1.0_RC] 3 manifests
}

// Write an archive to anything that can be written to, with copy.Image.
func ExampleCopy_toWriter() {
	var b bytes.Buffer
	ctx := context.Background()
	w, err := dockerarchive.NewWriterTo(ctx, nil, &b, nil)
	if err != nil {
		log.Fatal(err)
	}
	named, err := reference.ParseNormalizedNamed("example.com/one:1")
	if err != nil {
		log.Fatal(err)
	}
	to, err := w.NewReference(named.(reference.NamedTagged))
	if err != nil {
		log.Fatal(err)
	}
	source, err := ocilayout.NewReference(layoutDir, "one")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := copy.Image(ctx, acceptAll(), to, source, nil); err != nil {
		log.Fatal(err)
	}
	if err := w.CloseContext(ctx); err != nil {
		log.Fatal(err)
	}

	r, err := dockerarchive.NewReaderAt(ctx, nil, bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	images, err := r.Images(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(images[0].Names, images[0].Layers, "layers")
	// Output: [example.com/one:1] 4 layers
}
