package layout

import (
	"context"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// RemoveOrphans implements Table. Referrers of a removed referrer are removed as well. A
// referrer whose subject was not there before stays: its subject has not been removed now.
func (t *ociTable) RemoveOrphans(ctx context.Context, keep bool) ([]digest.Digest, error) {
	if len(t.removed) == 0 {
		return nil, nil
	}
	referrers, images := t.referrers()
	if keep {
		for _, r := range referrers {
			images = append(images, r.digest)
		}
		referrers = nil
	}
	parts, images, err := t.parts(ctx, images)
	if err != nil || len(referrers)+len(parts) == 0 {
		return nil, err
	}
	about := map[digest.Digest][]digest.Digest{}
	for _, r := range referrers {
		for _, subject := range r.subjects {
			about[subject] = append(about[subject], r.digest)
		}
	}
	live, err := t.reach(ctx, images, about)
	if err != nil {
		return nil, err
	}
	gone, err := t.reach(ctx, t.removed, about)
	if err != nil {
		return nil, err
	}
	var orphans []digest.Digest
	for _, r := range referrers {
		if gone[r.digest] && !live[r.digest] {
			orphans = append(orphans, r.digest)
		}
	}
	all := slices.Clone(orphans)
	for _, d := range parts {
		if !live[d] {
			all = append(all, d)
		}
	}
	return orphans, t.removeDigests(ctx, all)
}

// parts returns which of the images have no name and are in an index that has been removed,
// and the others.
func (t *ociTable) parts(ctx context.Context, images []digest.Digest) (parts, others []digest.Digest, err error) {
	var children []digest.Digest
	for _, d := range t.removed {
		if fields, err := t.fields(d); err == nil {
			for _, m := range fields.Manifests {
				children = append(children, m.Digest)
			}
		}
	}
	within, err := t.reach(ctx, children, nil)
	if err != nil {
		return nil, nil, err
	}
	named := t.named()
	for _, d := range images {
		if within[d] && !named[d] {
			parts = append(parts, d)
		} else {
			others = append(others, d)
		}
	}
	return parts, others, nil
}

// named returns the digests that have a name.
func (t *ociTable) named() map[digest.Digest]bool {
	named := map[digest.Digest]bool{}
	for _, listed := range t.contents.value.Manifests {
		if t.nameOf(listed.value) != "" {
			named[listed.value.Digest] = true
		}
	}
	return named
}

// referrer is an element of index.json that has a subject.
type referrer struct {
	digest   digest.Digest
	subjects []digest.Digest
}

// referrers returns which descriptors are referrers, and the digests of the others.
func (t *ociTable) referrers() (referrers []referrer, images []digest.Digest) {
	listed := map[digest.Digest][]v1.Descriptor{}
	var order []digest.Digest
	for _, d := range t.contents.value.Manifests {
		if listed[d.value.Digest] == nil {
			order = append(order, d.value.Digest)
		}
		listed[d.value.Digest] = append(listed[d.value.Digest], d.value)
	}
	for _, d := range order {
		if subjects := t.subjects(listed[d]); len(subjects) > 0 {
			referrers = append(referrers, referrer{d, subjects})
		} else {
			images = append(images, d)
		}
	}
	return referrers, images
}

// subjects returns the subjects of a manifest with these descriptors. An image of its own has
// none: it has no subject, or a name other than a digest tag. As when reading archives, an
// annotation counts only if the manifest is no image.
func (t *ociTable) subjects(descriptors []v1.Descriptor) (subjects []digest.Digest) {
	named := false
	for _, d := range descriptors {
		name := t.nameOf(d)
		if name == "" {
			continue
		}
		subject, _, ok := image.ParseDigestTag(name)
		if !ok {
			return nil
		}
		named = true
		subjects = append(subjects, subject)
	}
	if named {
		return subjects
	}
	fields, err := t.fields(descriptors[0].Digest)
	if err != nil {
		return nil
	}
	if fields.Subject != nil {
		return []digest.Digest{fields.Subject.Digest}
	}
	subject, err := digest.Parse(descriptors[0].Annotations[image.AnnotationSubject])
	if err != nil || !image.HasOtherLayers(fields.Layers) {
		return nil
	}
	return []digest.Digest{subject}
}

// fields returns the fields of a manifest or an index. Those of added ones are known; others
// are read.
func (t *ociTable) fields(d digest.Digest) (*image.Fields, error) {
	if added := t.added[d]; added != nil {
		return added, nil
	}
	if t.old == nil {
		return nil, fs.ErrNotExist
	}
	var fields image.Fields
	raw, err := t.old.ReadTable(t.layout.BlobName(d))
	if err == nil {
		err = image.Decode("manifest", raw, &fields)
	}
	return &fields, err
}

// reach returns these manifests and indexes, all manifests the indexes lead to, the referrers of
// all of them, and so on.
func (t *ociTable) reach(ctx context.Context, from []digest.Digest, about map[digest.Digest][]digest.Digest) (map[digest.Digest]bool, error) {
	reached := map[digest.Digest]bool{}
	for queue := slices.Clone(from); len(queue) > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if reached[d] {
			continue
		}
		reached[d] = true
		queue = append(queue, about[d]...)
		fields, err := t.fields(d)
		if err != nil { // It leads nowhere, or is not there.
			continue
		}
		for _, m := range fields.Manifests {
			if !reached[m.Digest] {
				queue = append(queue, m.Digest)
			}
		}
	}
	return reached, nil
}

// noteAdded remembers which documents an image leads to, and their subjects.
func (t *ociTable) noteAdded(img *image.Image) {
	if tree, ok := image.TreeOf(img); ok {
		t.trees[img.Digest()] = tree
	}
	for _, document := range img.Documents {
		fields := &image.Fields{}
		for _, m := range document.Manifests {
			fields.Manifests = append(fields.Manifests, v1.Descriptor{Digest: m.Digest})
		}
		if document.Subject != nil {
			fields.Subject = &v1.Descriptor{Digest: document.Subject.Digest}
		}
		t.added[document.Descriptor.Digest] = fields
	}
}

// removeDigests takes all descriptors of some digests out of the table, under any name.
func (t *ociTable) removeDigests(ctx context.Context, all []digest.Digest) error {
	if len(all) == 0 {
		return nil
	}
	goes := map[digest.Digest]bool{}
	for _, d := range all {
		goes[d] = true
	}
	var names []string
	contents := t.contents.change()
	contents.Manifests = slices.DeleteFunc(contents.Manifests, func(d *kept[v1.Descriptor]) bool {
		if !goes[d.value.Digest] {
			return false
		}
		name := t.nameOf(d.value)
		delete(t.known, knownAs(d.value.Digest, name))
		if name != "" {
			names = append(names, name)
		}
		return true
	})
	t.listed = nil
	t.index.remove(t.names.remove(names), false)
	return t.forget(ctx, all)
}
