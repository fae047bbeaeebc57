// Command front opens an archive with the package at the module's root, and lists its images.
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/dockerarchive/dockerarchive"
)

func main() {
	r, err := dockerarchive.NewReader(nil, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	list, err := r.List()
	if err != nil {
		log.Fatal(err)
	}
	for _, refs := range list {
		for _, ref := range refs {
			fmt.Println(ref.StringWithinTransport())
		}
	}
}
