package catalog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Claim is what an archive says of the content of one of its files. It can be
// tested by reading the file.
type Claim struct {
	Name  string         // of the entry that says so, or of the first that does
	File  tarfile.Member // the content
	files *tarfile.Index
	// borrow is not nil if the archive is without the content, and it is had elsewhere.
	borrow func(ctx context.Context) (*Loan, error)
	// Stored are the digests that the content should have as it is stored. Any are
	// digests that the content should have either so or when it is decompressed: tools
	// that name layers by a digest differ.
	Stored, Any []digest.Digest
	// Layers are what configs say of the content when it is decompressed.
	Layers []LayerClaim
}

// LayerClaim is what a config says of a layer.
type LayerClaim struct {
	Image   string          // as messages call it
	Layer   int             // from zero
	DiffIDs []digest.Digest // of all layers of the config
}

// DiffID is the digest that the layer should have when it is decompressed.
func (l LayerClaim) DiffID() digest.Digest { return l.DiffIDs[l.Layer] }

// Wrong returns the error for a layer that has the diff ID got, and the digest
// stored as it is stored.
func (l LayerClaim) Wrong(name string, got, stored digest.Digest) error {
	switch {
	case l.DiffID() == stored:
		return errdef.Errorf(errdef.ErrDamaged, "%s: its config has %s for the diff ID of layer %d, which is the digest of %s as it is compressed; the diff ID is %s", l.Image, stored, l.Layer, name, got)
	case slices.Contains(l.DiffIDs, got):
		return errdef.Errorf(errdef.ErrDamaged, "%s: its layers are listed in another order than in the config: layer %d is %s, whose diff ID is %s, instead of %s", l.Image, l.Layer, name, got, l.DiffID())
	}
	return errdef.Errorf(errdef.ErrDamaged, "%s: layer %d, %s, has the diff ID %s, but the config says %s", l.Image, l.Layer, name, got, l.DiffID())
}

// Open returns the content as it is stored. A borrowed layer has been verified in that
// form.
func (c *Claim) Open(ctx context.Context) (*Loan, error) {
	if c.borrow != nil {
		return c.borrow(ctx)
	}
	return &Loan{c.files.Open(c.File), func() {}}, nil
}

// Findings are an archive's claims about its files, and faults and observations found
// without reading them.
type Findings struct {
	Claims   []*Claim
	Problems []error
	Notes    []string
	// LeftOut are the layers that images need and the archive is without on purpose, as
	// it says.
	LeftOut []errdef.LeftOut
	// Deltas are what makes layers that the archive is without. A layer may be there twice.
	Deltas []Made
}

// claims collects Findings.
type claims struct {
	*Catalog
	found    Findings
	byOffset map[int64]*Claim
	used     map[int64]bool // content that an image refers to
	// elsewhere are names of blobs that are not there, and not missed.
	elsewhere map[string]bool
	about     map[about]string         // what messages call the image that says so
	abouts    []about                  // in their order
	lent      map[digest.Digest]*Claim // of layers that are borrowed
}

// Claims returns all that an archive says of its files. Problems are claims that are
// wrong without reading the files, such as a reference to a missing file. Notes are
// about files that are missing by design, and files that nothing refers to. The error
// is that of ctx.
func (c *Catalog) Claims(ctx context.Context) (*Findings, error) {
	cs := &claims{Catalog: c, byOffset: map[int64]*Claim{}, used: map[int64]bool{}, elsewhere: map[string]bool{}, about: map[about]string{}, lent: map[digest.Digest]*Claim{}}
	if !c.files.Terminated() {
		cs.damaged("the archive does not end with an end-of-archive marker: it may have been cut short")
	}
	cs.listing(ctx)
	cs.entries()
	cs.claimsOfLeftOut()
	cs.names()
	for _, img := range c.oci {
		i := img.contents.(*ociImage)
		cs.manifests(label(img), i)
		for _, subject := range img.Subjects() {
			cs.subject(label(img), i.descriptor, subject)
		}
	}
	for n, item := range c.items {
		cs.docker(itemLabel(n, item), item)
	}
	for _, img := range c.images {
		i, ok := img.contents.(*dockerImage)
		if !ok || i.makeConfig == nil {
			continue
		}
		cs.useAll()
		if _, _, err := i.Manifest(ctx, nil); err != nil {
			cs.problem("%s: %s: %w", label(img), printable.String(i.item.Config), err)
		}
	}
	cs.repositories()
	cs.orphans()
	cs.unused()
	cs.found.Claims = slices.SortedFunc(maps.Values(cs.byOffset), func(a, b *Claim) int { return cmp.Compare(a.File.Offset, b.File.Offset) })
	cs.found.Claims = append(cs.found.Claims, slices.SortedFunc(maps.Values(cs.lent), func(a, b *Claim) int { return cmp.Compare(a.Name, b.Name) })...)
	return &cs.found, ctx.Err()
}

// listing compares the listing of the entries with the entries: it is a hint for
// readers, and other programs go by the headers.
func (cs *claims) listing(ctx context.Context) {
	if err := cs.files.CheckListing(ctx); err != nil {
		cs.problem("%w", err)
	}
	for _, img := range cs.oci {
		i := img.contents.(*ociImage)
		hint, ok := cs.hints[i.descriptor.Digest]
		if !ok {
			continue
		}
		m := &merging{catalog: cs.Catalog, incomplete: map[*Image]bool{}, unreadable: map[*Image]bool{}}
		if tree := m.walk(img, i.descriptor); m.incomplete[img] || !slices.Equal(tree.Documents, hint.Documents) || !slices.Equal(tree.Configs, hint.Configs) {
			cs.damaged("%s: %s has other manifests or configs than %s leads to", label(img), tarfile.ListingName, i.descriptor.Digest)
		}
	}
}

// label is what messages call an image.
func label(img *Image) string {
	switch {
	case len(img.Names) > 0:
		return printable.String(img.Names[0])
	case img.Position >= 0:
		return fmt.Sprintf("@%d", img.Position)
	}
	return "an image of " + indexJSON
}

func itemLabel(n int, item manifestItem) string {
	if len(item.RepoTags) > 0 {
		return fmt.Sprintf("%s (in %s)", printable.String(item.RepoTags[0]), manifestJSON)
	}
	return fmt.Sprintf("image %d in %s", n, manifestJSON)
}

func (cs *claims) problem(format string, args ...any) {
	cs.found.Problems = append(cs.found.Problems, fmt.Errorf(format, args...))
}

// damaged notes something that the archive contradicts itself in.
func (cs *claims) damaged(format string, args ...any) {
	cs.found.Problems = append(cs.found.Problems, errdef.Errorf(errdef.ErrDamaged, format, args...))
}

func (cs *claims) note(format string, args ...any) {
	cs.found.Notes = append(cs.found.Notes, fmt.Sprintf(format, args...))
}

// claim returns the Claim of the file that name leads to.
func (cs *claims) claim(name string) (*Claim, error) {
	f, err := cs.files.Lookup(name)
	if err != nil {
		return nil, err
	}
	c, ok := cs.byOffset[f.Offset]
	if !ok {
		c = &Claim{Name: f.Name, File: f, files: cs.files}
		cs.byOffset[f.Offset] = c
	}
	return c, nil
}

// use is claim for a file that an image refers to.
func (cs *claims) use(name string) (*Claim, error) {
	c, err := cs.claim(name)
	if err == nil {
		cs.used[c.File.Offset] = true
	}
	return c, err
}

func (cs *claims) useAll() {
	for offset := range cs.byOffset {
		cs.used[offset] = true
	}
}

func add(to *[]digest.Digest, d digest.Digest) {
	if !slices.Contains(*to, d) {
		*to = append(*to, d)
	}
}

// entries looks at every entry: links must lead somewhere, and a name that is a
// digest must be that of the content.
func (cs *claims) entries() {
	for replaced := range cs.files.Replaced() {
		cs.twice(replaced)
	}
	for name := range cs.files.Names() {
		c, err := cs.claim(name)
		if err != nil {
			cs.problem("%w", err)
			continue
		}
		if d, ok := digestInName(name); ok {
			if strings.HasPrefix(name, v1.ImageBlobsDir+"/") {
				add(&c.Stored, d)
			} else {
				add(&c.Any, d)
			}
		}
	}
}

// twice looks at an entry that a later one of the same name replaces. Clients differ in
// which of them they take.
func (cs *claims) twice(replaced tarfile.Member) {
	taken, err := cs.files.Lookup(replaced.Name)
	if err == nil && taken.Size == replaced.Size {
		same, err := sameContent(cs.files.Open(taken), cs.files.Open(replaced))
		if same && err == nil {
			return
		}
	}
	cs.damaged("%s is in the archive more than once, with different contents: clients take one or the other", printable.String(replaced.Name))
}

func sameContent(a, b io.Reader) (bool, error) {
	const unit = 64 << 10
	left, right := make([]byte, unit), make([]byte, unit)
	for {
		n, errLeft := io.ReadFull(a, left)
		m, errRight := io.ReadFull(b, right)
		if !bytes.Equal(left[:n], right[:m]) {
			return false, nil
		}
		if errLeft != nil || errRight != nil {
			if errLeft == io.EOF || errLeft == io.ErrUnexpectedEOF {
				return true, nil
			}
			return false, errors.Join(errLeft, errRight)
		}
	}
}

// names looks for one name of two images: a client keeps one of them, and not
// every client the same.
func (cs *claims) names() {
	for _, img := range cs.images {
		for _, w := range img.warnings {
			cs.damaged("%s: %s", label(img), w)
		}
		d, ok := img.Descriptor()
		for _, name := range img.Names {
			if said, byDigest := image.DigestInName(name); ok && byDigest && said != d.Digest {
				cs.damaged("%s: the image has the digest %s", printable.String(name), d.Digest)
			}
		}
	}
	for _, r := range cs.rivals {
		cs.damaged("%s has the name %s for an image with the config %s, which %s does not have under that name", manifestJSON, printable.String(r.name), printable.String(r.config), indexJSON)
	}
	called := map[string][]*Image{}
	for _, img := range cs.images {
		for _, name := range img.Names {
			if normalized, ok := Normalize(name); ok {
				name = normalized
			}
			if !slices.Contains(called[name], img) {
				called[name] = append(called[name], img)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(called)) {
		if images := called[name]; len(images) > 1 && !cs.areOneIndex(images) {
			cs.damaged("%s: %d images have this name; a client keeps one of them", name, len(images))
		}
	}
}

// manifests follows all that an image of index.json refers to.
func (cs *claims) manifests(label string, i *ociImage) {
	var listed []v1.Descriptor // each time that something is
	type document struct {
		raw    []byte
		fields *image.Fields
	}
	documents := map[digest.Digest]document{}
	defer func() {
		for _, d := range slices.Concat(listed, []v1.Descriptor{i.descriptor}, i.others) {
			doc, ok := documents[d.Digest]
			if !ok {
				continue
			}
			if err := image.CheckListed(d, doc.raw, doc.fields); err != nil {
				cs.problem("%s: %w", label, err)
			}
		}
	}()
	_ = walk(cs.files, i.descriptor, func(d v1.Descriptor, data []byte, doc *image.Fields, err error) error {
		if errors.Is(err, fs.ErrNotExist) && d.Digest != i.descriptor.Digest {
			cs.note("%s: %v", label, err)
			return nil
		}
		if err != nil {
			cs.problem("%s: %w", label, err)
			return nil
		}
		if f, err := i.lookup(d.Digest); err == nil {
			cs.used[f.Offset] = true
		}
		documents[d.Digest] = document{data, doc}
		listed = append(listed, doc.Manifests...)
		for _, d := range doc.Descriptors() {
			if err := image.CheckData(d); err != nil {
				cs.problem("%s: %w", label, err)
			}
		}
		if doc.Subject != nil {
			cs.subject(label, d, doc.Subject.Digest)
		}
		if doc.Config != nil {
			cs.manifest(label, i, doc)
		} else if !doc.IsIndex() {
			cs.damaged("%s: %s is neither a manifest nor an index", label, d.Digest)
		}
		return nil
	})
}

func (cs *claims) manifest(label string, i *ociImage, doc *image.Fields) {
	cs.descriptor(label, *doc.Config)
	layers := make([]*Claim, len(doc.Layers))
	for n, l := range doc.Layers {
		if cs.leavesOut(l) {
			continue
		}
		if layers[n] = cs.borrows(l); layers[n] == nil {
			layers[n] = cs.descriptor(label, l)
		}
	}
	if err := i.wrongSize(doc); err != nil {
		cs.damaged("%s: %w", label, err)
	}
	if err := i.contradiction(doc); err != nil {
		cs.damaged("%s: %w", label, err)
		return // The consequences need not be reported for every layer.
	}
	if image.HasOtherLayers(doc.Layers) {
		return // Its config may be anything, whatever type it has.
	}
	ids, ok := i.diffIDs(doc)
	if !ok {
		artifact := doc.Artifact() != doc.Config.MediaType // Its config may be one of an image without a rootfs.
		if config, err := i.lookup(doc.Config.Digest); err == nil && image.IsConfigType(doc.Config.MediaType) && !artifact {
			if _, err := cs.readDiffIDs(config.Name); err != nil {
				cs.problem("%s: %w", label, err)
			}
		}
		return
	}
	for n, l := range layers {
		if l == nil {
			continue
		}
		if err := i.falseType(doc.Layers[n]); err != nil {
			cs.damaged("%s: layer %d: %w", label, n, err)
		}
		// The diff ID of an encrypted layer cannot be known.
		if !image.IsEncrypted(doc.Layers[n]) {
			l.Layers = append(l.Layers, LayerClaim{label, n, ids})
		}
	}
}

// isTagged reports whether Docker takes a name in manifest.json.
func isTagged(name string) bool {
	named, err := reference.ParseNormalizedNamed(name)
	_, ok := named.(reference.Tagged)
	return err == nil && ok
}

func (cs *claims) readDiffIDs(name string) ([]digest.Digest, error) {
	config, err := cs.files.ReadFile(name, image.MaxDocument)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return diffIDs(name, config)
}

// descriptor checks that the blob of d is there. It returns nil if it is not.
func (cs *claims) descriptor(label string, d v1.Descriptor) *Claim {
	name, err := blobName(d.Digest)
	if err != nil {
		cs.problem("%s: %w", label, err)
		return nil
	}
	c, err := cs.use(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(d.URLs) > 0:
		cs.note("%s: blob %s is kept elsewhere: %q", label, d.Digest, d.URLs)
		cs.elsewhere[name] = true
		return nil
	case errors.Is(err, fs.ErrNotExist) && image.IsNonDistributable(d.MediaType):
		cs.note("%s: blob %s is kept elsewhere: it is not to be distributed", label, d.Digest)
		cs.elsewhere[name] = true
		return nil
	case err != nil:
		cs.problem("%s: %w", label, err)
		return nil
	}
	add(&c.Stored, d.Digest)
	return c
}

// docker follows all that an item of manifest.json refers to.
func (cs *claims) docker(label string, item manifestItem) {
	for _, name := range item.RepoTags {
		if !isTagged(name) {
			cs.damaged("%s: the name %q is not of the form NAME:TAG, so that docker load refuses the archive", manifestJSON, name)
		}
	}
	layers := make([]*Claim, len(item.Layers))
	_, _ = cs.use(item.Config)
	ids, err := cs.readDiffIDs(item.Config)
	for n, name := range item.Layers {
		var err error
		if layers[n], err = cs.use(name); err == nil {
			continue
		}
		if n < len(ids) && errors.Is(err, fs.ErrNotExist) && len(item.LayerSources[ids[n]].URLs) > 0 {
			cs.note("%s: layer %d is kept elsewhere: %q", label, n, item.LayerSources[ids[n]].URLs)
			continue
		}
		if cs.elsewhere[name] { // As has been said.
			continue
		}
		cs.problem("%s: layer %d: %w", label, n, err)
	}
	if err != nil {
		cs.problem("%s: %w", label, err)
		return
	}
	if len(ids) != len(layers) {
		cs.damaged("%s: %s lists %d layers, but its config has %d diff IDs", label, manifestJSON, len(layers), len(ids))
		return
	}
	for n, l := range layers {
		if l != nil {
			l.Layers = append(l.Layers, LayerClaim{label, n, ids})
		}
	}
}

// repositories checks that the layers that names stand for are there, in
// archives that have layers by such names.
func (cs *claims) repositories() {
	names, err := cs.loadRepositories()
	if err != nil {
		cs.problem("%w", err)
		return
	}
	if !cs.hasLayerDirs() {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(names)) {
		if _, err := cs.files.Lookup(id + "/layer.tar"); err != nil {
			cs.problem("%s: %s: %w", repositoriesFile, names[id][0], err)
		}
	}
}

func (cs *claims) hasLayerDirs() bool {
	for name := range cs.files.Names() {
		if dir, ok := strings.CutSuffix(name, "/layer.tar"); ok && !strings.Contains(dir, "/") {
			return true
		}
	}
	return false
}

// unused notes content that no image refers to.
func (cs *claims) unused() {
	var count int
	var size int64
	for offset, c := range cs.byOffset {
		if _, ok := digestInName(c.Name); ok && !cs.used[offset] {
			count++
			size += c.File.Size
		}
	}
	if count > 0 {
		cs.note("%d blobs with %d bytes belong to no image", count, size)
	}
	const usual = 10 << 10 // tar fills its last record.
	if n := cs.files.Trailing(); n >= usual {
		cs.note("%d bytes follow the end of the archive, which nobody reads: add reuses what it needs of them, and cuts the rest off", n)
	}
}
