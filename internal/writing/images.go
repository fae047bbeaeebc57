package writing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// imageState is how far an image of an archive has come.
type imageState int

const (
	idle      imageState = iota // has a place in the order, but nobody writes it
	open                        // is being written
	committed                   // is complete
	sealed                      // is in the archive
)

// Image is the place of an image in the order of an archive. Its state belongs to
// the archive's mutex, the rest to its sealing lock.
type Image struct {
	state   imageState
	content *image.Image  // while committed
	notes   []string      // warnings
	disown  func()        // gives the names up again; while committed
	slots   []plannedSlot // places of the blobs that are planned to be new with it
	end     *tarfile.Slot // place of its files; nil if it needs none or is not planned
}

// plannedSlot is the place of a blob that is known by the digest under which it
// will be put.
type plannedSlot struct {
	digest digest.Digest
	slot   *tarfile.Slot
}

// inSeveralForms reports whether layers of a plan differ in their compression, so
// that one may be another one in another form.
func inSeveralForms(plan [][]image.Blob) bool {
	forms := map[string]struct{}{}
	for _, blobs := range plan {
		for _, b := range blobs {
			if b.Kind == image.KindLayer {
				forms[form(b.MediaType)] = struct{}{}
			}
		}
	}
	return len(forms) > 1
}

// form returns the compression in the media type of a layer: the part after ".tar",
// with a plus between them in OCI's, and a dot in Docker's.
func form(mediaType string) string {
	if _, after, ok := strings.Cut(mediaType, ".tar"); ok {
		return strings.TrimLeft(after, "+.")
	}
	return mediaType
}

// reserve reserves the places of the blobs that are new with an image.
func (a *Archive) reserve(blobs []image.Blob) *Image {
	img := &Image{}
	unpacks := a.layout.Unpacks()
	files := unpacks // Also without a layer.
	for _, b := range blobs {
		if _, ok := a.blobs.get(b.Digest); ok {
			continue
		}
		size, stored := b.Size, b.Digest
		files = files || a.layout.NeedsFiles(b.Digest)
		if unpacks {
			if b.Kind != image.KindLayer {
				continue // Written from memory with the image's files.
			}
			stored = digest.Canonical.FromString("") // Only the length of the diff ID is known.
			// A layer that may come in another form meanwhile would leave nothing but a gap.
			if a.mixed || !image.IsPlain(b.MediaType) {
				size = -1
			}
		}
		if a.slots[b.Digest] == nil {
			slot := a.tar.Reserve(a.layout.BlobName(stored), size)
			a.slots[b.Digest] = slot
			img.slots = append(img.slots, plannedSlot{b.Digest, slot})
		}
	}
	if files {
		img.end = a.tar.Reserve("", -1)
	}
	return img
}

// NewImage returns the place of one more image: the next of those planned, or one
// behind all others.
func (a *Archive) NewImage() *Image {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.newImageLocked()
}

func (a *Archive) newImageLocked() *Image {
	img := &Image{}
	if len(a.planned) > 0 {
		img, a.planned = a.planned[0], a.planned[1:]
	}
	a.images = append(a.images, img)
	return img
}

// Open says that an image is going to be written. It returns img or, if somebody
// else writes or has written that, a new one.
func (a *Archive) Open(img *Image) (*Image, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, fmt.Errorf("adding an image to %s: %w", a.path, fs.ErrClosed)
	}
	if img.state != idle {
		img = a.newImageLocked()
	}
	img.state = open
	return img, nil
}

// Abandon says that an image will not be committed by the caller that opened it.
func (a *Archive) Abandon(img *Image) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if img.state == open {
		img.state = idle
	}
}

// Forgo gives up the places that blobs have on a stream, so that nothing waits for
// blobs that will not come. In a file, Close does it.
func (a *Archive) Forgo(blobs []digest.Digest) {
	if !a.Stream() {
		return
	}
	for _, d := range blobs {
		if slot := a.slots[d]; slot != nil {
			_ = slot.Release(nil) // A blob being written keeps its place.
		}
	}
}

// Check returns why an image cannot be committed: blobs that it needs have not been
// put, or do not match its manifests and configs.
func (a *Archive) Check(content *image.Image) error {
	for _, d := range content.Documents {
		if err := a.layout.Check(d); err != nil {
			return err
		}
		if len(d.Raw) > image.MaxDocument && !a.layout.Unpacks() { // No registry or reader would take it.
			return fmt.Errorf("%w: manifest %s has %d bytes, at most %d are allowed", errdef.ErrLimit, d.Descriptor.Digest, len(d.Raw), image.MaxDocument)
		}
	}
	if a.layout.Unpacks() {
		return a.checkLayers(content)
	}
	if err := checkNames(content); err != nil {
		return err
	}
	if err := a.checkBlobs(content); err != nil {
		return err
	}
	decoded := map[digest.Digest]*image.Fields{}
	for _, d := range content.Documents {
		if err := checkData(d); err != nil {
			return err
		}
		check := a.checkManifest
		if d.IsIndex() {
			check = func(content *image.Image, index *image.Document) error { return checkIndex(content, index, decoded) }
		}
		if err := check(content, d); err != nil {
			return err
		}
	}
	return nil
}

// checkNames compares the digests in names with that of the image.
func checkNames(content *image.Image) error {
	for _, name := range content.Names {
		if d, ok := image.DigestInName(name); ok && d != content.Digest() {
			return fmt.Errorf("it has the digest %s and cannot be called %s", content.Digest(), printable.String(name))
		}
	}
	return nil
}

// checkBlobs compares the sizes of blobs in an archive that keeps all of them with
// those in the documents.
func (a *Archive) checkBlobs(content *image.Image) error {
	for b := range content.Blobs() {
		blob, ok := a.blobs.get(b.Digest)
		switch {
		case b.Digest == content.Digest() && b.Kind == image.KindDocument:
			// Put by Commit or before; its size is not compared.
		case !ok:
			return fmt.Errorf("blob %s of image %s has not been written", b.Digest, content.Digest())
		case b.Size >= 0 && b.Size != blob.size:
			return fmt.Errorf("the manifest says that blob %s has %d bytes, but it has %d", b.Digest, b.Size, blob.size)
		}
	}
	return nil
}

// checkManifest compares the layers of a manifest with its config, and their media
// types with their content, as far as that is known without unpacking them.
func (a *Archive) checkManifest(content *image.Image, manifest *image.Document) error {
	raw, ok := content.Configs[manifest.Config.Digest]
	if !ok || image.HasOtherLayers(manifest.Layers) || !image.IsConfigType(manifest.Config.MediaType) && !image.IsConfig(raw) {
		return nil // Not an image.
	}
	config, err := image.ParseConfig(manifest.Config.Digest.String(), raw)
	if err == nil && !config.HasRootFS && manifest.ArtifactType != manifest.Config.MediaType {
		return nil // An artifact with a platform, as oras push --artifact-platform makes.
	}
	if err == nil && !config.HasRootFS {
		err = image.ErrNoRootFS(manifest.Config.Digest.String())
	}
	if err != nil {
		return err
	}
	if err := image.CheckLayers(manifest.Layers, config.DiffIDs, a.compression); err != nil {
		return err
	}
	for n, l := range manifest.Layers {
		if err := a.checkLayer(l, config.DiffIDs[n]); err != nil {
			return fmt.Errorf("layer %d: %w", n, err)
		}
	}
	return nil
}

// checkLayer compares a layer that has been put with its descriptor and diff ID.
func (a *Archive) checkLayer(l imgspecv1.Descriptor, diffID digest.Digest) error {
	if algorithm, ok := a.compression(l); ok {
		if err := image.CheckType(l, algorithm); err != nil {
			return err
		}
	}
	blob, ok := a.blobs.get(l.Digest)
	if !ok || image.IsEncrypted(l) {
		return nil // Nobody knows its content.
	}
	return blob.stored.asLayer().check(l.Digest, diffID)
}

// compression returns how a layer that has been put is compressed.
func (a *Archive) compression(l imgspecv1.Descriptor) (algorithm compression.Algorithm, ok bool) {
	blob, ok := a.blobs.get(l.Digest)
	if !ok || blob.size == 0 {
		return compression.None, false
	}
	return blob.stored.algorithm, true
}

// checkData compares the copies of blobs inside a document with their descriptors.
func checkData(document *image.Document) error {
	var fields image.Fields
	if err := image.Decode("manifest", document.Raw, &fields); err != nil {
		return err
	}
	for _, d := range fields.Descriptors() {
		if err := image.CheckData(d); err != nil {
			return err
		}
	}
	return nil
}

// checkIndex compares the sizes in an index with those of the documents that it
// lists. decoded has the documents that it has looked at: an index may list one a
// thousand times.
func checkIndex(content *image.Image, index *image.Document, decoded map[digest.Digest]*image.Fields) error {
	for _, listed := range index.Manifests {
		d := content.Find(listed.Digest)
		if d == nil {
			continue
		}
		fields := decoded[listed.Digest]
		if fields == nil {
			fields = &image.Fields{}
			if err := image.Decode("manifest", d.Raw, fields); err != nil {
				return err
			}
			decoded[listed.Digest] = fields
		}
		if err := image.CheckListed(listed, d.Raw, fields); err != nil {
			return err
		}
	}
	return nil
}

func (a *Archive) checkLayers(content *image.Image) error {
	manifest := content.Top()
	if _, ok := content.Configs[manifest.Config.Digest]; ok && !image.IsConfigType(manifest.Config.MediaType) && !content.IsImage(manifest) {
		return layout.ErrArtifact(manifest)
	}
	layers, err := content.Layers(manifest)
	if err != nil {
		return err
	}
	for _, l := range layers {
		blob, ok := a.blobs.get(l.Digest)
		switch {
		case !ok:
			return fmt.Errorf("layer %s has not been written", l.Digest)
		case blob.stored.digest != l.DiffID:
			return fmt.Errorf("layer %s has the diff ID %s, but config %s says %s", l.Digest, blob.stored.digest, manifest.Config.Digest, l.DiffID)
		}
		if err := blob.stored.asLayer().check(l.Digest, l.DiffID); err != nil {
			return err
		}
	}
	return nil
}

// Commit makes an image, which Check has accepted, part of the archive, and writes
// all that can be written now. If it fails, the image is not part of the archive.
// It returns a *layout.NameError, wrapped, for a name that another image has.
func (a *Archive) Commit(ctx context.Context, img *Image, content *image.Image) error {
	err := a.sealing.acquire(ctx)
	if err == nil {
		defer a.sealing.release()
		err = a.take(ctx, img, content)
	}
	if err != nil {
		return fmt.Errorf("adding image %s to %s: %w", content.Digest(), a.path, err)
	}
	if err := a.sealReady(ctx, img); err != nil {
		if a.stateOf(img) != sealed {
			img.disown()
			img.content, img.disown = nil, nil
			a.setState(img, open)
			a.breakOld(err)
		}
		return err
	}
	return nil
}

// Warnings returns the warnings about an image that Commit has taken, for the caller
// that committed it.
func (i *Image) Warnings() []string { return i.notes }

// take records that an image is complete.
func (a *Archive) take(ctx context.Context, img *Image, content *image.Image) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return fs.ErrClosed
	}
	if img.state != open {
		return errors.New("it has been committed already")
	}
	if a.old != nil {
		if err := a.old.makeWay(ctx, a.table, content); err != nil {
			a.broken = cmp.Or(a.broken, err)
			return err
		}
	}
	img.notes = a.table.SameTags(content)
	disown, err := a.table.Claim(content)
	if err != nil {
		return err
	}
	if a.old != nil {
		a.old.own(content.Names)
	}
	img.state, img.content, img.disown = committed, content, disown
	return nil
}

// breakOld prevents a change of an archive if names were taken from its images for
// an image that then could not be added.
func (a *Archive) breakOld(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.old != nil && a.broken == nil {
		a.broken = err
	}
}

func (a *Archive) stateOf(img *Image) imageState {
	a.mu.Lock()
	defer a.mu.Unlock()
	return img.state
}

func (a *Archive) setState(img *Image, state imageState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	img.state = state
}

// sealReady writes the files of an image that has just been committed, if its
// turn has come, and of those that have waited for it.
func (a *Archive) sealReady(ctx context.Context, img *Image) error {
	if !a.inOrder {
		return a.seal(ctx, img)
	}
	for {
		other := a.nextCommitted()
		if other == nil {
			return nil
		}
		err := a.seal(ctx, other)
		if err != nil && other == img && !errors.Is(err, tarfile.ErrBusy) {
			return err
		}
		if err != nil {
			return nil // It is tried again when blobs in its way are complete, or at Close.
		}
	}
}

// nextCommitted returns the image whose turn it is, or nil if it is not complete.
func (a *Archive) nextCommitted() *Image {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.next < len(a.images) && a.images[a.next].state == sealed {
		a.images[a.next] = nil // The caller that made it may drop it.
		a.next++
	}
	if a.next == len(a.images) || a.images[a.next].state != committed {
		return nil
	}
	return a.images[a.next]
}

// seal writes the files of a committed image behind its blobs.
func (a *Archive) seal(ctx context.Context, img *Image) error {
	content := img.content
	if err := img.releaseSlots(a.blobs); err != nil {
		return fmt.Errorf("finding the place of image %s in %s: %w", content.Digest(), a.path, err)
	}
	if err := a.writeFiles(ctx, img.end, content); err != nil {
		return fmt.Errorf("writing the metadata of image %s to %s: %w", content.Digest(), a.path, err)
	}
	img.content, img.disown = nil, nil
	a.setState(img, sealed)
	return nil
}

func (a *Archive) writeFiles(ctx context.Context, end *tarfile.Slot, content *image.Image) error {
	blobs, files, err := a.table.Place(content)
	if err != nil {
		return err
	}
	entries := make([]*tarfile.Entry, 0, len(blobs))
	for _, b := range blobs {
		blob, ok := a.blobs.get(b.Received)
		if !ok {
			return fmt.Errorf("blob %s has not been written", b.Received)
		}
		if e := blob.stored.entry; e != nil { // Otherwise the archive that is added to has the blob.
			entries = append(entries, e)
		}
	}
	if err := a.tar.Seal(ctx, end, entries, files); err != nil {
		return err
	}
	a.debugFiles(files)
	a.debugf("image %s is complete, %d names", content.Digest(), len(content.Names))
	return a.table.Add(content)
}

// releaseSlots gives up the planned places without content, except those of layers
// that went to the places of other images' compressions of them.
func (i *Image) releaseSlots(blobs *blobSet) error {
	for _, planned := range i.slots {
		var entry *tarfile.Entry
		if blob, ok := blobs.get(planned.digest); ok {
			entry = blob.stored.entry
		}
		if err := planned.slot.Release(entry); err != nil {
			return err
		}
	}
	i.slots = nil
	return nil
}

func (i *Image) releaseAll(blobs *blobSet) error {
	err := i.releaseSlots(blobs)
	if err == nil && i.end != nil {
		err = i.end.Release(nil)
	}
	return err
}
