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

// fitTargets sees to it that no name has a digest that the image has not got: it is pushed under
// its own then. One that gets a manifest has no digest before.
func (i *pushedImage) fitTargets() error {
	var fitting []reference.Named
	for _, target := range i.result.Image.Targets {
		digested, ok := target.(reference.Digested)
		if !ok || !i.isMade && digested.Digest() == digested.Digest().Algorithm().FromBytes(i.Top().Raw) {
			fitting = append(fitting, target)
			continue
		}
		if i.isMade {
			i.warn("it is not pushed as %s: its archive keeps no manifest, and it gets another digest", target)
			continue
		}
		own, err := reference.WithDigest(reference.TrimNamed(target), i.Digest)
		if err != nil {
			return err
		}
		i.warn("it is not pushed as %s but under its own digest, %s", target, i.Digest)
		fitting = append(fitting, own)
	}
	if len(fitting) == 0 && len(i.result.Image.Targets) > 0 {
		return fmt.Errorf("it cannot be %s: its archive keeps no manifest, and it gets another digest; map it to a name with a tag", i.result.Image.Targets[0])
	}
	i.result.Image.Targets = fitting
	return nil
}

// warn records what else should be known of the image.
func (i *pushedImage) warn(format string, args ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.result.Warnings = append(i.result.Warnings, fmt.Sprintf(format, args...))
}
