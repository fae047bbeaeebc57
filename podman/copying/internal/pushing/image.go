package pushing

import (
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
)

// maxTargets bounds the names that a referrer gets because of its subjects.
const maxTargets = 4096

// addTarget adds a name, unless the image has it or there is none.
func (i *pushedImage) addTarget(target reference.Named, err error) {
	has := func(t reference.Named) bool { return t.String() == target.String() }
	if err == nil && len(i.result.Image.Targets) < maxTargets && !slices.ContainsFunc(i.result.Image.Targets, has) {
		i.result.Image.Targets = append(i.result.Image.Targets, target)
	}
}

// Wanted is an image that is to be pushed. See copying.PushImage for the fields.
type Wanted struct {
	selecting.Wanted
	Targets   []reference.Named
	Otherwise reference.Named
}

// Result is the result for an image. See copying.PushResult for the fields.
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

	mu     sync.Mutex // guards the fields that blobs sent side by side change
	result Result
}

func (i *pushedImage) count(sent, there int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.result.Sent += sent
	i.result.There += there
}

// fitTargets replaces a digest in a name that the image has not got: the image is pushed under
// its own. The digest of an image that gets a manifest is known only afterwards; nameMade sets
// it.
func (i *pushedImage) fitTargets() error {
	i.warnOfDigests()
	var fitting, unknown []reference.Named
	for _, target := range i.result.Image.Targets {
		digested, ok := target.(reference.Digested)
		switch {
		case !ok || !i.isMade && digested.Digest() == digested.Digest().Algorithm().FromBytes(i.Top().Raw):
			fitting = append(fitting, target)
		case i.isMade:
			unknown = append(unknown, target)
		default:
			own, err := reference.WithDigest(reference.TrimNamed(target), i.Digest)
			if err != nil {
				return err
			}
			i.warn("it is not pushed as %s but under its own digest, %s", target, i.Digest)
			fitting = append(fitting, own)
		}
	}
	byDigest := len(fitting) == 0
	for _, target := range unknown {
		if byDigest {
			i.warn("it is not pushed as %s but under its own digest: its archive keeps no manifest, and it gets another one", target)
			fitting = append(fitting, reference.TrimNamed(target))
		} else {
			i.warn("it is not pushed as %s: its archive keeps no manifest, and it gets another digest", target)
		}
	}
	known := map[string]bool{} // An image may have tens of thousands of names.
	i.result.Image.Targets = slices.DeleteFunc(fitting, func(target reference.Named) bool {
		has := known[target.String()]
		known[target.String()] = true
		return has
	})
	return nil
}

// warnOfDigests warns of names with a tag and a digest that is not the image's: the digest is
// left out. A right one is left out too: the tag stands for the same.
func (i *pushedImage) warnOfDigests() {
	for _, name := range i.result.Image.References() {
		digested, ok := name.(reference.Canonical)
		if _, tagged := name.(reference.Tagged); !ok || !tagged {
			continue
		}
		if i.isMade {
			i.warn("the digest of its name %s is left out: its archive keeps no manifest, and it gets another one", name)
		} else if d := digested.Digest(); d != d.Algorithm().FromBytes(i.Top().Raw) {
			i.warn("the digest of its name %s is left out: the image has the digest %s", name, i.Digest)
		}
	}
}

// nameMade gives an image the digest of its manifest, now that it has one, where it has no tag.
func (i *pushedImage) nameMade() error {
	for n, target := range i.result.Image.Targets {
		if !reference.IsNameOnly(target) {
			continue
		}
		own, err := reference.WithDigest(target, i.Top().Descriptor.Digest)
		if err != nil {
			return err
		}
		i.result.Image.Targets[n] = own
	}
	return nil
}

// warn records a warning about the image.
func (i *pushedImage) warn(format string, args ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.result.Warnings = append(i.result.Warnings, fmt.Sprintf(format, args...))
}
