// Command list prints the images of an archive. It is here to be measured.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/dockerarchive/dockerarchive/archive"
)

func main() {
	a, err := archive.Open(context.Background(), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer a.Close()
	for _, img := range a.Images() {
		fmt.Println(img.Position, img.Names)
	}
}
