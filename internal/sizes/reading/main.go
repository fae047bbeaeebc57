// Command reading opens an archive with what the module's packages read archives with, and
// lists its images.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

func main() {
	if err := list(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func list(ctx context.Context, path string) error {
	file, err := input.Open(ctx, path, input.Options{})
	if err != nil {
		return err
	}
	defer file.Close()
	index, err := tarfile.NewIndex(ctx, file, file.Size())
	if err != nil {
		return err
	}
	images, err := catalog.Load(ctx, index)
	if err != nil {
		return err
	}
	for _, image := range images.Images() {
		fmt.Println(image.Names)
	}
	return nil
}
