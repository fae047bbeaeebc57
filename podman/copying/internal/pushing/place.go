package pushing

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// place finds the repositories of images that are about others.
func (p *pusher) place() {
	repositories := map[digest.Digest][]reference.Named{} // that get a document
	note := func(img *pushedImage) {
		for _, document := range img.Documents {
			d := document.Descriptor.Digest
			for _, target := range img.result.Image.Targets {
				repositories[d] = append(repositories[d], reference.TrimNamed(target))
			}
		}
	}
	var unplaced []*pushedImage
	for _, img := range p.images {
		if len(img.result.Image.Targets) > 0 {
			note(img)
		} else if img.result.Err == nil {
			unplaced = append(unplaced, img)
		}
	}
	for progress := true; progress; {
		progress = false
		for _, img := range unplaced {
			before := len(img.result.Image.Targets)
			for _, subject := range img.about {
				for _, repository := range repositories[subject] {
					if _, ok := img.tagSubject(); ok {
						img.addTarget(reference.WithTag(repository, img.result.Image.FreeName))
					} else {
						img.addTarget(reference.WithDigest(repository, img.Digest))
					}
				}
			}
			if len(img.result.Image.Targets) > before {
				progress = true
				note(img)
			}
		}
	}
	for _, img := range p.images {
		for _, target := range slices.Clone(img.result.Image.Targets) {
			tagged, ok := target.(reference.Tagged)
			if !ok {
				continue
			}
			subject, _, ok := image.ParseDigestTag(tagged.Tag())
			if !ok {
				continue
			}
			for _, repository := range repositories[subject] {
				img.addTarget(reference.WithTag(repository, tagged.Tag()))
			}
		}
	}
}

// tagSubject returns the subject of an image that has only a digest tag, and no
// repository, as tools write into OCI layouts.
func (i *pushedImage) tagSubject() (digest.Digest, bool) {
	subject, _, ok := image.ParseDigestTag(i.result.Image.FreeName)
	return subject, ok && i.result.Image.Name == nil
}

// checkTaken fails if two images are to have one name.
func (p *pusher) checkTaken() error {
	taken := map[string]*pushedImage{}
	for _, img := range p.images {
		for _, target := range img.result.Image.Targets {
			if reference.IsNameOnly(target) { // It gets a digest.
				continue
			}
			other := taken[target.String()]
			if other != nil && other.Digest != img.Digest {
				return fmt.Errorf("two images would be %s: %s and %s; map them to different names, or push them separately", target, transports.ImageName(other.Source), transports.ImageName(img.Source))
			}
			taken[target.String()] = img
		}
	}
	return nil
}

// phases returns the images that are pushed together: first images, then indexes of their
// referrers, and then the other referrers, which are added to these indexes if they are
// not in them.
func (p *pusher) phases() [][]*pushedImage {
	phases := make([][]*pushedImage, 3)
	for _, img := range p.images {
		if img.result.Err != nil {
			continue
		}
		phase := 0
		switch {
		case len(img.about) == 0:
		case img.Top().Subject == nil:
			phase = 1
		default:
			phase = 2
		}
		phases[phase] = append(phases[phase], img)
	}
	return phases
}
