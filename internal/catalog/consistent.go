package catalog

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// An archive may list the parts of an image twice: in the manifest that index.json
// leads to, and in manifest.json. Both name a config, which knows the diff IDs. The
// listing that agrees with its config is taken. Checks that need no layers are
// always made; layers are read only where the two listings disagree, to decide.

// settled is what has been found out of a document of an image in index.json.
type settled struct {
	// instead is the image as manifest.json has it, if that is to be taken.
	instead  *dockerImage
	warnings []string
	err      error // nothing that the archive says is right
}

// Settle finds out which of the things that an archive says of an image is to be
// believed. The warnings say what is not. The error is for an image that is
// consistent nowhere. Reading the image does the same; it is done once.
func (img *Image) Settle(ctx context.Context) (warnings []string, err error) {
	i, ok := img.contents.(*ociImage)
	if !ok {
		return img.warnings, nil
	}
	s, err := i.settle(ctx, i.descriptor)
	if err != nil {
		return nil, err
	}
	if s.instead != nil && i.namesake != nil {
		return s.warnings, s.err // The others say that the image of index.json is taken.
	}
	return slices.Concat(img.warnings, s.warnings), s.err
}

// SettleInstance is Settle for a manifest that the image's index lists.
func (img *Image) SettleInstance(ctx context.Context, instance digest.Digest) (warnings []string, err error) {
	i, ok := img.contents.(*ociImage)
	if !ok {
		return nil, nil
	}
	s, err := i.settle(ctx, v1.Descriptor{Digest: instance})
	if err != nil {
		return nil, err
	}
	return s.warnings, s.err
}

// settle settles the image, or a manifest that its index lists. It returns an
// error of its own only if ctx ended before it was done, or the archive could not be
// read: that says nothing about what is right.
func (i *ociImage) settle(ctx context.Context, d v1.Descriptor) (*settled, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.settled[d.Digest]; s != nil {
		return s, nil
	}
	s := &settled{}
	failures, _ := i.files.Failures()
	_, doc, err := readDocument(i.files, d)
	switch {
	case err != nil && d.Digest == i.descriptor.Digest && i.namesake != nil:
		i.settleOn(ctx, i.namesake, err, s)
	case err != nil:
		s.err = err
	case i.checkHint(doc) != nil:
		s.err = i.checkHint(doc)
	case doc.Config != nil:
		i.settleManifest(ctx, doc, d.Digest == i.descriptor.Digest, s)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if n, err := i.files.Failures(); n > failures {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	if s.instead != nil && d.Digest != i.descriptor.Digest {
		s.instead, s.err = nil, errdef.Errorf(errdef.ErrDamaged, "manifest %s of the index cannot be taken: %s", d.Digest, s.warnings[0])
	}
	if i.settled == nil {
		i.settled = map[digest.Digest]*settled{}
	}
	i.settled[d.Digest] = s
	return s, nil
}

// settleManifest settles an image of one platform, which top says that index.json
// describes itself.
func (i *ociImage) settleManifest(ctx context.Context, doc *image.Fields, top bool, s *settled) {
	item := i.items[doc.Config.Digest]
	if top && i.namesake != nil {
		i.settleNames(ctx, doc, s)
		return
	}
	wrong, mild := i.contradiction(doc), i.untrue(doc)
	if item == nil {
		i.settleAlone(wrong, mild, s)
		return
	}
	wrong = cmp.Or(wrong, mild)
	differs := i.differs(doc, item)
	if wrong == nil && differs != nil { // The layers decide.
		wrong = i.read(ctx, doc)
	}
	switch missing := i.missing(doc); {
	case wrong != nil:
		i.settleOn(ctx, item, wrong, s)
	case top && missing != nil:
		i.settleOn(ctx, item, missing, s)
		if s.instead == nil {
			s.err = nil // A read of a missing part fails on its own.
		}
	case differs != nil && (&dockerImage{layers: i.layers, item: *item}).agrees(ctx) != nil: // And not the same in another form.
		s.warnings = append(s.warnings, fmt.Sprintf("%s contradicts the manifest, which agrees with the config and is taken: %v", manifestJSON, differs))
	}
}

// settleAlone settles an image that manifest.json does not mention.
func (i *ociImage) settleAlone(wrong, mild error, s *settled) {
	s.err = wrong
	if mild != nil { // Digests say what is meant.
		s.warnings = append(s.warnings, mild.Error())
	}
}

// settleNames settles an image whose name manifest.json gives to another one. A
// caller who asks for an image with a part elsewhere does not mean that one.
func (i *ociImage) settleNames(ctx context.Context, doc *image.Fields, s *settled) {
	wrong := i.contradiction(doc)
	if wrong != nil {
		i.settleOn(ctx, i.namesake, wrong, s)
		return
	}
	i.settleAlone(nil, i.untrue(doc), s)
}

// settleOn takes the image from manifest.json, if it is right there, because the
// manifest is wrong.
func (i *ociImage) settleOn(ctx context.Context, item *manifestItem, wrong error, s *settled) {
	instead := &dockerImage{layers: i.layers, item: *item}
	if err := instead.agrees(ctx); err != nil {
		s.err = errdef.Errorf(errdef.ErrDamaged, "%w; %s is no better: %w", wrong, manifestJSON, err)
		return
	}
	s.instead = instead
	s.warnings = append(s.warnings, fmt.Sprintf("%v; %s, which agrees with the config, is taken instead", wrong, manifestJSON))
}

// missing returns the parts of an image that are not there, and not elsewhere by
// design.
func (i *ociImage) missing(doc *image.Fields) error {
	for _, d := range append(slices.Clone(doc.Layers), *doc.Config) {
		if _, err := i.lookup(d.Digest); err != nil && len(d.URLs) == 0 {
			return fmt.Errorf("blob %s of the manifest: %w", d.Digest, err)
		}
	}
	return nil
}

// untrue returns what a manifest says of the sizes and types of its blobs that is not
// so.
func (i *ociImage) untrue(doc *image.Fields) error {
	if err := i.wrongSize(doc); err != nil {
		return err
	}
	for _, l := range doc.Layers {
		if err := i.falseType(l); err != nil {
			return err
		}
	}
	return nil
}

// wrongSize compares the sizes in a manifest with those of what the archive has.
func (i *ociImage) wrongSize(doc *image.Fields) error {
	for _, d := range append(slices.Clone(doc.Layers), *doc.Config) {
		f, err := i.lookup(d.Digest)
		if err == nil && f.Size != d.Size {
			return errdef.Errorf(errdef.ErrDamaged, "the manifest says that blob %s has %d bytes, but it has %d", d.Digest, d.Size, f.Size)
		}
	}
	return nil
}

// contradiction compares the layers of a manifest with the config, as far as that
// costs nothing.
func (i *ociImage) contradiction(doc *image.Fields) error {
	ids, ok := i.diffIDs(doc)
	if !ok {
		return i.brokenConfig(doc)
	}
	return image.CheckLayers(doc.Layers, ids, i.compression)
}

// diffIDs returns the diff IDs in the config of a manifest. ok is false if it is
// not there or of something else than an image.
func (i *ociImage) diffIDs(doc *image.Fields) (ids []digest.Digest, ok bool) {
	if image.HasOtherLayers(doc.Layers) {
		return nil, false
	}
	name, err := blobName(doc.Config.Digest)
	if err != nil {
		return nil, false
	}
	config, err := i.files.ReadFile(name, image.MaxDocument)
	if err != nil {
		return nil, false
	}
	ids, err = diffIDs(name, config)
	return ids, err == nil
}

// brokenConfig returns why the config of an image is not one that can be read; nil
// if it is not there, or of something else than an image.
func (i *ociImage) brokenConfig(doc *image.Fields) error {
	if image.HasOtherLayers(doc.Layers) {
		return nil
	}
	name, err := blobName(doc.Config.Digest)
	if err != nil {
		return nil // Said of the blob.
	}
	config, err := i.files.ReadFile(name, image.MaxDocument)
	if err != nil || !image.IsConfigType(doc.Config.MediaType) && !image.IsConfig(config) {
		return nil
	}
	_, err = image.ParseConfig(name, config)
	return err
}

// compression returns how a layer that is there is compressed.
func (i *ociImage) compression(l v1.Descriptor) (algorithm compression.Algorithm, ok bool) {
	f, err := i.lookup(l.Digest)
	if err != nil || f.Size == 0 {
		return compression.None, false
	}
	algorithm, err = detect(i.files, f)
	return algorithm, err == nil
}

// differs returns how the layers that manifest.json lists contradict those of a
// manifest, as far as both are blobs of the archive. It may list the unpacked form
// of the blobs.
func (i *ociImage) differs(doc *image.Fields, item *manifestItem) error {
	if len(item.Layers) != len(doc.Layers) {
		return fmt.Errorf("it lists %d layers, the manifest %d", len(item.Layers), len(doc.Layers))
	}
	ids, _ := i.diffIDs(doc)
	for n, name := range item.Layers {
		theirs, err := i.files.Lookup(name)
		if err != nil {
			continue
		}
		d, ok := digestInName(theirs.Name)
		if !ok || d == doc.Layers[n].Digest || n < len(ids) && d == ids[n] {
			continue
		}
		if ours, err := i.lookup(doc.Layers[n].Digest); err == nil && ours.Offset != theirs.Offset {
			return fmt.Errorf("its layer %d is %s, that of the manifest %s", n, d, doc.Layers[n].Digest)
		}
	}
	return nil
}

// read reads the layers of a manifest, and fails if they differ from the config.
// Those that are not there say nothing.
func (i *ociImage) read(ctx context.Context, doc *image.Fields) error {
	ids, ok := i.diffIDs(doc)
	if !ok {
		return nil
	}
	var names []string
	var want []digest.Digest
	for n, l := range doc.Layers {
		name, err := blobName(l.Digest)
		if err == nil && i.files.Has(name) {
			names, want = append(names, name), append(want, ids[n])
		}
	}
	return i.layers.compare(ctx, names, want)
}

// agrees reads the layers of an image, as far as their names do not tell enough,
// and fails if they differ from its config.
func (i *dockerImage) agrees(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	p, err := i.load(ctx)
	if err != nil {
		return err
	}
	var names []string
	var want []digest.Digest
	for n, name := range i.item.Layers {
		l, err := i.layers.find(name)
		if err != nil {
			return err
		}
		// Content that is named by its digest is verified when it is read.
		if d, ok := digestInName(l.Name); ok && d == p.diffIDs[n] && l.algorithm == compression.None {
			continue
		}
		names, want = append(names, name), append(want, p.diffIDs[n])
	}
	return i.layers.compare(ctx, names, want)
}

// compare reads layers and fails if their diff IDs are not those wanted.
func (c *layerCache) compare(ctx context.Context, names []string, want []digest.Digest) error {
	layers := make([]*layer, len(names))
	for n, name := range names {
		var err error
		if layers[n], err = c.find(name); err != nil {
			return err
		}
	}
	if err := measure(ctx, layers, true); err != nil {
		return err
	}
	for n, l := range layers {
		if l.diffID != want[n] {
			return errdef.Errorf(errdef.ErrDamaged, "%s has the diff ID %s, but the config says %s", printable.String(l.Name), l.diffID, want[n])
		}
	}
	return nil
}

// lookup finds a blob of an OCI layout.
func (i *ociImage) lookup(d digest.Digest) (tarfile.Member, error) {
	name, err := blobName(d)
	if err != nil {
		return tarfile.Member{}, err
	}
	return i.files.Lookup(name)
}

// falseType returns what is wrong with the media type of a layer that is there.
func (i *ociImage) falseType(l v1.Descriptor) error {
	algorithm, ok := i.compression(l)
	if !ok {
		return nil
	}
	return image.CheckType(l, algorithm)
}
