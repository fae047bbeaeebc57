package catalog

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Claim is what an archive says of the content of one of its files. It can be
// tested by reading the file.
type Claim struct {
	Name  string         // of the entry that says so, or of the first that does
	File  tarfile.Member // the content
	files *tarfile.Index
	// Stored are the digests that the content should have as it is stored,
	// Unpacked those that it should have when it is decompressed. Any are those of
	// which nobody knows which is meant: tools that name layers by a digest differ.
	Stored, Unpacked, Any []digest.Digest
}

// Open returns the content as it is stored.
func (c *Claim) Open() *io.SectionReader { return c.files.Open(c.File) }

// claims collects Claims, and the problems found on the way.
type claims struct {
	*Catalog
	byOffset map[int64]*Claim
	problems []error
}

// Claims returns all that an archive says of its files. What it says that is
// wrong without reading them, such as a reference to something that is not
// there, is returned as problems. The error is that of ctx.
func (c *Catalog) Claims(ctx context.Context) (all []*Claim, problems []error, err error) {
	cs := &claims{Catalog: c, byOffset: map[int64]*Claim{}}
	if !c.files.Terminated() {
		cs.damaged("the archive does not end with an end-of-archive marker: it may have been cut short")
	}
	cs.entries()
	for _, img := range c.oci {
		cs.manifests(img.contents.(*ociImage))
	}
	for n, item := range c.items {
		cs.docker(fmt.Sprintf("%s: image %d", manifestJSON, n), item)
	}
	for _, img := range c.images {
		if i, ok := img.contents.(*dockerImage); ok && i.makeConfig != nil {
			if _, _, err := i.Manifest(ctx, nil); err != nil {
				cs.problem("%s: %w", i.item.Config, err)
			}
		}
	}
	cs.repositories()
	all = slices.SortedFunc(maps.Values(cs.byOffset), func(a, b *Claim) int { return cmp.Compare(a.File.Offset, b.File.Offset) })
	return all, cs.problems, ctx.Err()
}

func (cs *claims) problem(format string, args ...any) {
	cs.problems = append(cs.problems, fmt.Errorf(format, args...))
}

// damaged notes something that the archive contradicts itself in.
func (cs *claims) damaged(format string, args ...any) {
	cs.problems = append(cs.problems, errdef.Errorf(errdef.ErrDamaged, format, args...))
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

func add(to *[]digest.Digest, d digest.Digest) {
	if !slices.Contains(*to, d) {
		*to = append(*to, d)
	}
}

// entries looks at every entry: links must lead somewhere, and a name that is a
// digest must be that of the content.
func (cs *claims) entries() {
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

// manifests follows all that an image of index.json refers to.
func (cs *claims) manifests(i *ociImage) {
	_ = walk(cs.files, i.descriptor, func(d v1.Descriptor, data []byte, doc *document, err error) error {
		if err != nil {
			cs.problem("%s: %w", d.Digest, err)
			return nil
		}
		if d.Size != int64(len(data)) {
			cs.damaged("%s: the descriptor says that it has %d bytes, but it has %d", d.Digest, d.Size, len(data))
		}
		if doc.Config == nil {
			if !doc.isIndex() {
				cs.damaged("%s: neither a manifest nor an index", d.Digest)
			}
			return nil
		}
		cs.descriptor(d.Digest, *doc.Config)
		layers := make([]*Claim, len(doc.Layers))
		for n, l := range doc.Layers {
			layers[n] = cs.descriptor(d.Digest, l)
		}
		if t := doc.Config.MediaType; t == v1.MediaTypeImageConfig || t == schema2ConfigType {
			cs.ociDiffIDs(d.Digest, doc, layers)
		}
		return nil
	})
}

// descriptor checks that what d describes is there and of the right size. It
// returns nil if it is not there.
func (cs *claims) descriptor(in digest.Digest, d v1.Descriptor) *Claim {
	name, err := blobName(d.Digest)
	if err != nil {
		cs.problem("%s: %w", in, err)
		return nil
	}
	c, err := cs.claim(name)
	if err != nil {
		if len(d.URLs) == 0 { // Else it may be kept elsewhere.
			cs.problem("%s: %w", in, err)
		}
		return nil
	}
	if c.File.Size != d.Size {
		cs.damaged("%s: the descriptor of %s says that it has %d bytes, but it has %d", in, d.Digest, d.Size, c.File.Size)
	}
	add(&c.Stored, d.Digest)
	return c
}

// ociDiffIDs notes what a config says of the layers, of which nil ones are
// missing.
func (cs *claims) ociDiffIDs(in digest.Digest, doc *document, layers []*Claim) {
	name, err := blobName(doc.Config.Digest)
	if err != nil || !cs.files.Has(name) {
		return // Has been said.
	}
	config, err := cs.files.ReadFile(name, maxDocument)
	if err != nil {
		cs.problem("%s: config: %w", in, err)
		return
	}
	ids, err := diffIDs(name, config)
	if err != nil {
		cs.problem("%s: %w", in, err)
		return
	}
	if len(ids) != len(layers) {
		cs.damaged("%s: %d layers, but its config has %d diff IDs", in, len(layers), len(ids))
		return
	}
	for n, l := range layers {
		// What an encrypted layer unpacks to cannot be known.
		if l != nil && !strings.Contains(doc.Layers[n].MediaType, "+encrypted") {
			add(&l.Unpacked, ids[n])
		}
	}
}

// docker follows all that an item of manifest.json refers to.
func (cs *claims) docker(where string, item manifestItem) {
	layers := make([]*Claim, len(item.Layers))
	for n, name := range item.Layers {
		var err error
		if layers[n], err = cs.claim(name); err != nil {
			cs.problem("%s: layer %d: %w", where, n, err)
		}
	}
	config, err := cs.files.ReadFile(item.Config, maxDocument)
	if err != nil {
		cs.problem("%s: config: %w", where, err)
		return
	}
	ids, err := diffIDs(item.Config, config)
	if err != nil {
		cs.problem("%s: %w", where, err)
		return
	}
	if len(ids) != len(layers) {
		cs.damaged("%s: %d layers, but its config has %d diff IDs", where, len(layers), len(ids))
		return
	}
	for n, l := range layers {
		if l != nil {
			add(&l.Unpacked, ids[n])
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
