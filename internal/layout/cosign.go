package layout

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// cosignKinds are those of digest tags.
var cosignKinds = map[string]string{
	image.TagSignature:   image.CosignSignatures,
	image.TagAttestation: image.CosignAttestations,
}

// hasTwoImages reports whether there are two images by their names. Other descriptors may be
// images as well.
func (t *ociTable) hasTwoImages() bool {
	first := digest.Digest("")
	for _, d := range t.contents.value.Manifests {
		name := t.nameOf(d.value)
		if _, _, tagged := image.ParseDigestTag(name); name == "" || tagged {
			continue
		}
		if first != "" && first != d.value.Digest {
			return true
		}
		first = d.value.Digest
	}
	return false
}

// markForCosign marks the image and its referrers in index.json as cosign does, which knows
// one image with its referrers: with more images, or without referrers, nothing is marked.
// Nor is a table changed for that alone.
func (t *ociTable) markForCosign() {
	if !slices.ContainsFunc(t.contents.value.Manifests, func(d *kept[v1.Descriptor]) bool { return d.raw == "" }) {
		return
	}
	if t.hasTwoImages() {
		return
	}
	referrers, images := t.referrers()
	if len(images) != 1 || len(referrers) == 0 {
		return
	}
	for _, d := range t.contents.value.Manifests {
		kind := ""
		switch subject, tag, tagged := image.ParseDigestTag(t.nameOf(d.value)); {
		case d.value.Digest == images[0] && slices.Contains([]string{v1.MediaTypeImageIndex, image.DockerList}, d.value.MediaType):
			kind = image.CosignIndex
		case d.value.Digest == images[0]:
			kind = image.CosignImage
		case tagged && subject == images[0]:
			kind = cosignKinds[tag]
		}
		if kind == "" || d.value.Annotations[image.AnnotationKind] != "" {
			continue
		}
		changed := d.change()
		changed.Annotations = maps.Clone(changed.Annotations)
		if changed.Annotations == nil {
			changed.Annotations = map[string]string{}
		}
		changed.Annotations[image.AnnotationKind] = kind
	}
}
