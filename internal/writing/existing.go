package writing

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// documents are the entries that are written anew when an archive changes.
var documents = []string{v1.ImageIndexFile, "manifest.json", "repositories", tarfile.ListingName}

// Existing is an existing archive that is going to be changed in place.
type Existing struct {
	out     *output.Output
	index   *tarfile.Index
	catalog *catalog.Catalog
	layout  layout.Layout
	table   layout.Table
	tail    tarfile.Tail
	seed    maphash.Seed    // of sum: random, so that nobody can foresee it
	sum     uint64          // of the tail, as it was when it was read
	from    int64           // where new entries begin
	fresh   map[string]bool // names of images that are new
	// keepUntagged keeps an image that loses its last name to another.
	keepUntagged bool
}

// KeepUntagged has images stay in the table of contents that lose their last names to
// those that are added.
func (e *Existing) KeepUntagged() { e.keepUntagged = true }

// ReadExisting reads the archive in out, which is from output.Open and stays the
// caller's. layouts are those that it may have. An archive that cannot be changed in
// place, because its documents are not at its end, is written again beside, and
// replaced when out is committed.
func ReadExisting(ctx context.Context, out *output.Output, layouts []layout.Layout) (*Existing, error) {
	e, err := readExisting(ctx, out, layouts)
	if !errors.Is(err, tarfile.ErrNoTail) {
		return e, err
	}
	// Its documents are elsewhere: a copy that has them at its end is changed instead.
	if _, besideErr := out.Beside(); besideErr != nil {
		return nil, fmt.Errorf("%w: %w", err, besideErr)
	}
	logrus.Warnf("%s cannot be changed in place, and is written again: %v", out.Name(), err)
	size, err := e.index.WriteWithTail(ctx, out.File(), documents)
	if err != nil {
		return nil, err
	}
	out.Resize(size)
	return readExisting(ctx, out, layouts)
}

func readExisting(ctx context.Context, out *output.Output, layouts []layout.Layout) (*Existing, error) {
	e := &Existing{out: out, fresh: map[string]bool{}, seed: maphash.MakeSeed()}
	return e, e.read(ctx, layouts)
}

// CheckPlain refuses an archive that is compressed, which nothing changes in place.
func CheckPlain(file io.ReaderAt) error {
	a, err := algorithmOf(file)
	if err == nil && a != compression.None {
		err = fmt.Errorf("the archive is compressed (%s), and cannot be changed in place: decompress it first", a)
	}
	return err
}

func (e *Existing) read(ctx context.Context, layouts []layout.Layout) error {
	file, size := e.out.Old(), e.out.Size()
	err := CheckPlain(file)
	if err != nil {
		return err
	}
	if e.index, err = tarfile.NewIndex(ctx, file, size); err != nil {
		return err
	}
	if e.catalog, err = catalog.LoadToChange(ctx, e.index); err != nil {
		return err
	}
	if e.layout, e.table, err = readTable(e.catalog, layouts); err != nil {
		return err
	}
	if err := e.once(); err != nil {
		return err
	}
	if e.tail, err = e.index.Tail(documents, v1.ImageLayoutFile); err != nil {
		return err
	}
	if e.sum, err = e.sumTail(); err != nil {
		return err
	}
	return e.findEnd(size)
}

// once fails for an archive that has a document twice: the older one would stay, and
// contradict the new one.
func (e *Existing) once() error {
	for replaced := range e.index.Replaced() {
		if slices.Contains(documents, replaced.Name) {
			return errdef.Errorf(errdef.ErrDamaged, "%s is in the archive more than once, so that it cannot be changed in place: compact it first", replaced.Name)
		}
	}
	return nil
}

// readTable returns which of the layouts an archive has, and its table of contents.
func readTable(c *catalog.Catalog, layouts []layout.Layout) (l layout.Layout, table layout.Table, err error) {
	for _, l = range layouts {
		if table, err = l.ReadTable(c); !errors.Is(err, layout.ErrOther) {
			break
		}
	}
	if err == nil && !l.Unpacks() && !c.Has("manifest.json") {
		l, err = layout.WithoutDocker(l)
	}
	return l, table, err
}

// LayoutOf returns which of the layouts the archive in r has.
func LayoutOf(ctx context.Context, r io.ReaderAt, size int64, layouts []layout.Layout) (layout.Layout, error) {
	index, err := tarfile.NewIndex(ctx, r, size)
	if err != nil {
		return nil, err
	}
	c, err := catalog.Load(ctx, index)
	if err != nil {
		return nil, err
	}
	l, _, err := readTable(c, layouts)
	return l, err
}

// Layout returns the layout of the archive.
func (e *Existing) Layout() layout.Layout { return e.layout }

// Catalog returns the catalog of the archive.
func (e *Existing) Catalog() *catalog.Catalog { return e.catalog }

// maxPadding is how many zeros behind the end of an archive are taken for the
// padding that tar programs write.
const maxPadding = 1 << 20

// findEnd finds out where new entries begin: behind the padding that a tar program may have
// written, or over the remains of an interrupted change.
func (e *Existing) findEnd(size int64) error {
	e.from = e.tail.End
	left := size - e.tail.End
	if left <= 0 || left > maxPadding {
		return nil
	}
	rest := make([]byte, left)
	if _, err := e.out.Old().ReadAt(rest, e.tail.End); err != nil && err != io.EOF {
		return err
	}
	if len(bytes.Trim(rest, "\x00")) == 0 {
		e.from = e.tail.End + (left+511)/512*512
	}
	return nil
}

// begin says that the archive is going to be written to.
func (e *Existing) begin() error {
	if e.from <= e.tail.End { // Otherwise only padding is overwritten.
		e.warnOfTrailing()
	}
	switch {
	case e.out.Stream():
		block, err := e.supersede()
		if err != nil {
			return err
		}
		e.out.Grow(block, e.tail.Start, e.from)
	case e.from > e.tail.End:
		e.out.Restore(e.out.Size())
	default:
		e.out.Restore(e.from)
	}
	return nil
}

func (e *Existing) sumTail() (uint64, error) {
	var h maphash.Hash
	h.SetSeed(e.seed)
	_, err := io.Copy(&h, io.NewSectionReader(e.out.Old(), e.tail.Start, e.tail.End-e.tail.Start))
	return h.Sum64(), err
}

// unchanged fails if somebody has changed the end of the archive.
func (e *Existing) unchanged() error {
	sum, err := e.sumTail()
	if err == nil && sum != e.sum {
		err = output.ErrChanged
	}
	return err
}

// find returns a blob that the archive has under a digest.
func (e *Existing) find(d digest.Digest) (*storedBlob, bool) {
	if e == nil || d.Validate() != nil {
		return nil, false
	}
	m, err := e.index.Lookup(e.layout.BlobName(d))
	if err != nil || e.index.IsSparse(m) {
		return nil, false
	}
	algorithm, err := algorithmOf(e.index.Open(m))
	if err != nil {
		return nil, false
	}
	return &storedBlob{digest: d, size: m.Size, algorithm: algorithm, old: e.index.Open(m)}, true
}

// algorithmOf returns how something is compressed.
func algorithmOf(r io.ReaderAt) (compression.Algorithm, error) {
	prefix := make([]byte, compression.PrefixLen)
	n, err := r.ReadAt(prefix, 0)
	if err != nil && err != io.EOF {
		return compression.None, err
	}
	return compression.Detect(prefix[:n]), nil
}

// Config returns a config that the archive has under a digest, or nil. The caller has to
// verify it.
func (e *Existing) Config(d digest.Digest) []byte {
	if d.Validate() != nil {
		return nil
	}
	data, err := e.index.ReadFile(e.layout.ConfigName(d), image.MaxDocument)
	if err != nil {
		return nil // If it cannot be read, it is fetched.
	}
	return data
}

// makeWay takes the names of a new image from the images that have them, unless these are
// new themselves.
func (e *Existing) makeWay(ctx context.Context, table layout.Table, content *image.Image) error {
	old := table.Taken(content)
	if slices.ContainsFunc(old, func(name string) bool { return e.fresh[name] }) {
		return nil // Claim fails, and nothing has been taken away.
	}
	for _, name := range content.Names {
		for _, alias := range e.catalog.Aliases(name) {
			// The same name in another form: docker save writes the short one.
			if alias != name && !e.fresh[alias] {
				old = append(old, alias)
			}
		}
	}
	if len(old) == 0 {
		return nil
	}
	return table.Remove(ctx, old, e.keepUntagged)
}

// own notes names that are those of a new image.
func (e *Existing) own(names []string) {
	for _, name := range names {
		e.fresh[name] = true
	}
}

// files returns the new tail, with the files of the old one that are no table of contents.
func (e *Existing) files(table layout.Table) ([]tarfile.Small, error) {
	fresh, err := table.Tail()
	if err != nil {
		return nil, err
	}
	var files []tarfile.Small
	for _, name := range e.tail.Names {
		switch {
		case strings.HasSuffix(name, "/"):
			files = append(files, tarfile.Small{Header: &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}})
		case name == v1.ImageLayoutFile:
			data, err := e.index.ReadFile(name, maxLayoutFile)
			if err != nil {
				return nil, err
			}
			files = append(files, tarfile.Small{Header: &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o444}, Data: data})
		}
	}
	return append(files, fresh...), nil
}

// maxLayoutFile is the largest size in bytes of the file that marks an OCI layout.
const maxLayoutFile = 1 << 16

// same reports whether the new tail has the same content as the old one.
func (e *Existing) same(files []tarfile.Small) bool {
	have := 0
	for _, name := range e.tail.Names {
		if !strings.HasSuffix(name, "/") && name != tarfile.ListingName {
			have++
		}
	}
	for _, f := range files {
		if f.Header.Typeflag == tar.TypeDir {
			continue
		}
		old, err := e.catalog.ReadTable(f.Header.Name)
		if err != nil || !bytes.Equal(old, f.Data) {
			return false
		}
		have--
	}
	return have == 0
}

// listing returns the entries that the archive will have when it has changed, without the
// new ones.
func (e *Existing) listing() (*tarfile.Listing, error) {
	number, err := e.index.Superseded()
	if err != nil {
		return nil, err
	}
	return e.index.Listing(e.tail, number, e.from), nil
}

// withListing adds the listing of all entries to the files that an archive ends with, if it
// is to have one.
func withListing(files []tarfile.Small, table layout.Table, l *tarfile.Listing) ([]tarfile.Small, error) {
	notes, ok := table.Notes()
	if !ok {
		return files, nil
	}
	entry, ok, err := l.Entry(files, notes)
	if ok && err == nil {
		files = append(files, entry)
	}
	return files, err
}

// supersede returns the block that takes the archive from its old tail to its new one.
func (e *Existing) supersede() ([]byte, error) {
	number, err := e.index.Superseded()
	if err != nil {
		return nil, err
	}
	return e.tail.Supersede(number, e.from)
}

// change makes the output replace the archive's old tail by the new one.
func (e *Existing) change() error {
	if e.out.Stream() {
		return nil // It begins with the block.
	}
	block, err := e.supersede()
	if err != nil {
		return err
	}
	e.out.Supersede(block, e.tail.Start, e.unchanged)
	return nil
}

// Remove takes names away from an archive in out, which is from output.Open. An image whose
// last name goes is removed, with its referrers unless these are kept; @N is the image at a
// position, with all its names. It commits or aborts out. It returns the digests of the
// referrers that are removed. The error is an *errdef.NoImageError for an image that is not
// there.
func Remove(ctx context.Context, out *output.Output, path string, names []string, keepReferrers bool, layouts []layout.Layout) ([]digest.Digest, error) {
	referrers, err := remove(ctx, out, names, keepReferrers, layouts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("removing from %s: %w", path, err), out.Abort())
	}
	return referrers, out.Commit(ctx)
}

func remove(ctx context.Context, out *output.Output, names []string, keepReferrers bool, layouts []layout.Layout) ([]digest.Digest, error) {
	e, err := ReadExisting(ctx, out, layouts)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, name := range names {
		found, err := e.named(name)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if err := e.table.Remove(ctx, all, e.keepUntagged); err != nil {
		return nil, err
	}
	referrers, err := e.table.RemoveOrphans(ctx, keepReferrers)
	if err != nil {
		return nil, err
	}
	if e.table.Empty() {
		return nil, errors.New("nothing would be left, and an archive without images is none: delete the file instead")
	}
	return referrers, e.rewriteTail(ctx)
}

// rewriteTail writes the table of contents as it is by now, unless it is unchanged.
func (e *Existing) rewriteTail(ctx context.Context) error {
	files, err := e.files(e.table)
	if err != nil {
		return err
	}
	if e.same(files) {
		return nil
	}
	listing, err := e.listing()
	if err == nil {
		files, err = withListing(files, e.table, listing)
	}
	if err != nil {
		return err
	}
	if err := e.begin(); err != nil {
		return err
	}
	var w tarfile.Writer
	if e.out.Stream() {
		w = tarfile.NewStreamWriter(e.out.Writer(), "")
	} else {
		w = tarfile.NewFileWriter(e.out.File(), e.from, e.out.Dir())
	}
	defer w.Abort()
	if err := w.Seal(ctx, nil, nil, tarfile.List(files...)); err != nil {
		return err
	}
	if err := w.Close(ctx); err != nil {
		return err
	}
	return e.change()
}

// named returns the names that an argument of Remove means, as the archive has them.
func (e *Existing) named(name string) ([]string, error) {
	position, byPosition, err := parsePosition(name)
	if err != nil {
		return nil, err
	}
	if byPosition {
		img, _, err := e.catalog.Choose("", position, nil)
		if err != nil {
			return nil, err
		}
		if len(img.Names) == 0 {
			return nil, fmt.Errorf("%s has no name that could be removed", name)
		}
		return inAllForms(img.Names), nil
	}
	if found := e.catalog.Aliases(name); len(found) > 0 {
		return inAllForms(found), nil
	}
	if _, _, err = e.catalog.Candidates(name); err == nil {
		err = fs.ErrNotExist
	}
	return nil, err
}

// inAllForms returns names with the shorter forms that manifest.json may have of them where
// index.json has the full ones.
func inAllForms(names []string) []string {
	all := slices.Clone(names)
	for _, name := range names {
		full, ok := catalog.Normalize(name)
		if !ok {
			continue
		}
		for _, prefix := range []string{"", "docker.io/", "docker.io/library/"} {
			if short, ok := strings.CutPrefix(full, prefix); ok && !slices.Contains(all, short) {
				all = append(all, short)
			}
		}
	}
	return all
}

// parsePosition parses @N. ok is false for a name.
func parsePosition(name string) (position int, ok bool, err error) {
	number, ok := strings.CutPrefix(name, "@")
	if !ok {
		return 0, false, nil
	}
	if position, err = strconv.Atoi(number); err != nil || position < 0 {
		return 0, true, fmt.Errorf("%q is not the position of an image", name)
	}
	return position, true, nil
}
