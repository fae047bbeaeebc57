package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
)

func Example() {
	a, err := archive.Open(context.Background(), "../testdata/archives/podman-multi.tar")
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	for _, img := range a.Images() {
		fmt.Println(img.Position, img.Names)
	}
	// Output:
	// 0 [127.0.0.1:5111/tiny/one:v1 127.0.0.1:5111/tiny/one:again]
	// 1 [127.0.0.1:5111/tiny/two:v1]
}

// The files of the image for one platform, as a scanner wants them.
func ExampleImage_ForPlatform() {
	ctx := context.Background()
	a, err := archive.Open(ctx, "../testdata/archives/ctr24.tar")
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	img, err := a.Find("127.0.0.1:5111/tiny/multi:v1")
	if err != nil {
		log.Fatal(err)
	}
	m, err := img.ForPlatform(ctx, v1.Platform{OS: "linux", Architecture: "arm64"})
	if err != nil {
		log.Fatal(err)
	}
	layers, err := m.Layers(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, layer := range layers {
		if err := list(ctx, layer); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// etc/
	// etc/base
	// etc/hard
	// bin/
	// bin/tool
	// bin/alias
	// opt/
	// opt/arch
}

// list prints the names of a layer's files.
func list(ctx context.Context, layer archive.Layer) error {
	stream, err := layer.Open(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	files := tar.NewReader(stream)
	for {
		header, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		fmt.Println(header.Name)
	}
	_, err = io.Copy(io.Discard, stream) // At its very end it has been verified.
	return err
}

// Read a file of an image, as the image has it.
func ExampleManifest_Files() {
	ctx := context.Background()
	a, err := archive.Open(ctx, "../testdata/archives/podman-multi.tar")
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	m, err := a.Images()[0].Manifest(ctx)
	if err != nil {
		log.Fatal(err)
	}
	data, err := read(ctx, m, "etc/two")
	fmt.Printf("%q %v\n", data, err)
	// Output: "two\n" <nil>
}

// read returns the content of one file of an image.
func read(ctx context.Context, m *archive.Manifest, name string) ([]byte, error) {
	files, err := m.Files(ctx, archive.FilesOptions{})
	if err != nil {
		return nil, err
	}
	defer files.Close()
	return fs.ReadFile(files.FS(ctx), name)
}

// A layer is sent as it is in the file, as a server does it.
func ExampleBlob_Section() {
	ctx := context.Background()
	file, err := os.Open("../testdata/archives/docker29.tar")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		log.Fatal(err)
	}
	a, err := archive.New(ctx, file, info.Size())
	if err != nil {
		log.Fatal(err)
	}
	m, err := a.Images()[0].Manifest(ctx)
	if err != nil {
		log.Fatal(err)
	}
	layers, err := m.Layers(ctx)
	if err != nil {
		log.Fatal(err)
	}
	blob, err := layers[0].Blob(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if section := blob.Section(); section != nil {
		_, offset, size := section.Outer()
		fmt.Printf("%d bytes of %s are at offset %d\n", size, blob.Digest.Encoded()[:12], offset)
	}
	// Output: 209 bytes of 9760d92f292f are at offset 3584
}

// Errors can be told apart.
func ExampleNew_errors() {
	text := []byte("This is not an archive.")
	_, err := archive.New(context.Background(), bytes.NewReader(text), int64(len(text)))
	switch {
	case errors.Is(err, errdef.ErrNoImageArchive):
		fmt.Println("next file, please")
	case errors.Is(err, errdef.ErrDamaged):
		fmt.Println("fetch it again")
	}
	// Output: next file, please
}
