package pushing

import (
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
)

// maxTargets bounds the names that an image gets because of what it is about.
const maxTargets = 4096

// addTarget adds a name, unless the image has it or there is none.
func (i *pushedImage) addTarget(target reference.Named, err error) {
	has := func(t reference.Named) bool { return t.String() == target.String() }
	if err == nil && len(i.result.Image.Targets) < maxTargets && !slices.ContainsFunc(i.result.Image.Targets, has) {
		i.result.Image.Targets = append(i.result.Image.Targets, target)
	}
}

// Wanted is an image that is to be pushed. What its fields mean says copying.PushImage.
type Wanted struct {
	selecting.Wanted
	Targets   []reference.Named
	Otherwise reference.Named
}

// Result is what became of an image. What its fields mean says copying.PushResult.
type Result struct {
	Image       Wanted
	Digest      digest.Digest
	UpToDate    bool
	Sent, There int64
	Warnings    []string
	Err         error
}

// pushedImage is an image that Push puts somewhere.
type pushedImage struct {
	*selecting.Image
	isMade bool // its manifest is
	about  []digest.Digest

	mu     sync.Mutex // guards what blobs sent side by side change
	result Result
}

func (i *pushedImage) count(sent, there int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.result.Sent += sent
	i.result.There += there
}

// warn records what else should be known of the image.
func (i *pushedImage) warn(format string, args ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.result.Warnings = append(i.result.Warnings, fmt.Sprintf(format, args...))
}
