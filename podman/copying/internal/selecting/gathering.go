package selecting

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// gathering holds the referrers found for the images of a Selection.
type gathering struct {
	selection *Selection
	found     map[string]*Image // by the digest or the full name

	mu sync.Mutex // held for what the Selection has opened
}

// question is a question to the repository of an image.
type question struct {
	about   *Image
	subject digest.Digest
}
