package catalog

import (
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Subjects returns the digests of what the image is about, if it is a referrer and no
// image of its own, else nothing: its names, if it has any, are digest tags, and there is
// a subject for each; or its manifest has a subject. A subject in index.json is believed
// only of a manifest that is no image anyway: Docker drops the names of digest tags.
func (img *Image) Subjects() []digest.Digest {
	i, ok := img.contents.(*ociImage)
	if !ok {
		return nil
	}
	if len(img.Names) > 0 {
		return digestTagged(img.Names)
	}
	_, doc, err := readDocument(i.files, i.descriptor)
	if err != nil {
		return nil
	}
	var subject digest.Digest
	switch {
	case doc.Subject != nil:
		subject = doc.Subject.Digest
	case image.HasOtherLayers(doc.Layers):
		subject, _ = parsed(i.descriptor.Annotations[image.AnnotationSubject])
	}
	if subject == "" {
		return nil
	}
	return []digest.Digest{subject}
}

// digestTagged returns the subject that each of the names gives, nothing if one gives
// none. cosign's SBOM of two images may be one manifest.
func digestTagged(names []string) []digest.Digest {
	var subjects []digest.Digest
	for _, name := range names {
		subject, _, ok := image.ParseDigestTag(name)
		if !ok {
			return nil
		}
		subjects = append(subjects, subject)
	}
	return subjects
}

// withoutReferrers returns the images among images, if there are any.
func withoutReferrers(images []*Image) []*Image {
	if len(images) < 2 {
		return images
	}
	var others []*Image
	for _, img := range images {
		if len(img.Subjects()) == 0 {
			others = append(others, img)
		}
	}
	if len(others) == 0 {
		return images
	}
	return others
}

// about says that a referrer is about something.
type about struct{ referrer, subject digest.Digest }

// subject notes that something is about something. Whether that is there is known when all
// has been looked at.
func (cs *claims) subject(label string, d v1.Descriptor, subject digest.Digest) {
	a := about{d.Digest, subject}
	if cs.about[a] == "" {
		cs.about[a] = label
		cs.abouts = append(cs.abouts, a)
	}
}

// orphans notes referrers whose subject is no image of the archive, nor a part of one.
func (cs *claims) orphans() {
	for _, a := range cs.abouts {
		name, err := blobName(a.subject)
		if err != nil {
			continue
		}
		f, err := cs.files.Lookup(name)
		switch {
		case err != nil:
			cs.note("%s: %s is about %s, which is not in the archive", cs.about[a], a.referrer, a.subject)
		case !cs.used[f.Offset]:
			cs.note("%s: %s is about %s, which is no image of the archive any more", cs.about[a], a.referrer, a.subject)
		}
	}
}

// Referrers returns the referrers of a manifest in index.json, in the order of the
// archive: those under its digest tags, and the manifests whose subject it is.
func (c *Catalog) Referrers(subject digest.Digest) []*Image {
	var found []*Image
	for _, img := range c.images {
		if slices.Contains(img.Subjects(), subject) {
			found = append(found, img)
		}
	}
	return found
}
