package catalog

import (
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Subject returns the digest of what the image is about, if it is a referrer and no
// image of its own: its names, if it has any, are digest tags, or its manifest has a
// subject. What index.json says of that is believed of what is no image anyway: Docker
// drops the names of digest tags.
func (img *Image) Subject() (digest.Digest, bool) {
	i, ok := img.contents.(*ociImage)
	if !ok {
		return "", false
	}
	if len(img.Names) > 0 {
		return digestTagged(img.Names)
	}
	_, doc, err := readDocument(i.files, i.descriptor)
	if err != nil {
		return "", false
	}
	var subject digest.Digest
	switch {
	case doc.Subject != nil:
		subject = doc.Subject.Digest
	case image.HasOtherLayers(doc.Layers):
		subject = digest.Digest(i.descriptor.Annotations[image.AnnotationSubject])
	}
	return subject, subject.Validate() == nil
}

// digestTagged returns what all names say that something is about.
func digestTagged(names []string) (subject digest.Digest, ok bool) {
	for _, name := range names {
		d, _, ok := image.ParseDigestTag(name)
		if !ok || subject != "" && d != subject {
			return "", false
		}
		subject = d
	}
	return subject, subject != ""
}

// withoutReferrers returns the images among images, if there are any.
func withoutReferrers(images []*Image) []*Image {
	if len(images) < 2 {
		return images
	}
	var others []*Image
	for _, img := range images {
		if _, ok := img.Subject(); !ok {
			others = append(others, img)
		}
	}
	if len(others) == 0 {
		return images
	}
	return others
}

// subject notes what is about something that the archive has not got.
func (cs *claims) subject(label string, d v1.Descriptor, subject digest.Digest) {
	if name, err := blobName(subject); err == nil && !cs.files.Has(name) {
		cs.note("%s: %s is about %s, which is not in the archive", label, d.Digest, subject)
	}
}

// Referrers returns what in index.json is about a manifest: what is found there under
// its digest tags, and the manifests whose subject it is; in the order of the archive.
func (c *Catalog) Referrers(subject digest.Digest) []*Image {
	var found []*Image
	for _, img := range c.images {
		if d, ok := img.Subject(); ok && d == subject {
			found = append(found, img)
		}
	}
	return found
}
