package tarfile

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// Index knows where in a tar archive the content of every entry is. It is made
// from the headers in one pass, or from a listing of them. All methods may be called concurrently.
type Index struct {
	r io.ReaderAt
	// entries are in the order of the archive. Those that a later one of the
	// same name replaces stay, for hard links to them.
	entries    []record
	byName     map[string]int32      // into entries
	sparse     map[int64]*sparseFile // by offset
	segments   int                   // of all of them
	holes      int64                 // of all of them, in bytes
	size       int64                 // of the archive
	terminated bool
	trailing   int64
	end        int64   // of the last entry, where the marker should begin
	listed     *places // nil if it is made from the headers
}

type record struct {
	name         string // cleaned
	link         string // of a symbolic or hard link, as it is in the header
	start        int64  // of the headers
	offset, size int64  // of the content
	kind         byte   // a Typeflag of archive/tar
}

// Failures returns how often the archive could not be read, and the error of the last time, if its reader counts
// failures. A caller that goes on after an error learns by it whether the archive's content was the reason.
func (x *Index) Failures() (int, error) {
	r := x.r
	if section, ok := r.(interface {
		Outer() (io.ReaderAt, int64, int64)
	}); ok {
		r, _, _ = section.Outer()
	}
	if counts, ok := r.(interface{ Failures() (int, error) }); ok {
		return counts.Failures()
	}
	return 0, nil
}

// Member is the content of a regular file in an archive.
type Member struct {
	Name   string // the cleaned name of the entry that holds the content
	Offset int64  // where its stored content begins in the archive, in bytes; no two files share it
	Size   int64  // in bytes, holes included
}

// NewIndex reads the headers of the archive that r holds, size bytes long, and seeks over the
// contents. If the archive ends with a listing of its entries, NewIndex reads that instead, and
// each header is read with its file: one that differs from the listing is an error then, and
// CheckListing looks at all. The error wraps errdef.ErrNoImageArchive, ErrDamaged or ErrLimit if
// the archive is to blame.
func NewIndex(ctx context.Context, r io.ReaderAt, size int64) (*Index, error) {
	if x := listedIndex(r, size); x != nil {
		return x, ctx.Err()
	}
	return newIndex(ctx, r, size, maxEntries, maxNameBytes)
}

// newIndex is NewIndex without a listing.
func newIndex(ctx context.Context, r io.ReaderAt, size int64, maxEntries, maxNameBytes int) (*Index, error) {
	x := &Index{r: r, size: size, byName: map[string]int32{}, sparse: map[int64]*sparseFile{}}
	w := &window{r: r, size: size}
	var end int64 // of the last entry
	var plainHeader tar.Header
	nameBytes := 0
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		w.pos, w.budget = end+padding(end), maxHeaderLen
		hdr, err := w.next(&plainHeader)
		if err == io.EOF {
			// archive/tar is content if the marker, two blocks of zeros, is missing.
			x.terminated = w.pos-end >= 2*blockSize
			x.trailing = max(size-w.pos, 0)
			x.end = end
			return x, nil
		}
		if err != nil {
			return nil, x.headerError(err, n, end, size)
		}
		if n == maxEntries {
			return nil, fmt.Errorf("%w: more than %d entries", errdef.ErrLimit, maxEntries)
		}
		if nameBytes += len(hdr.Name) + len(hdr.Linkname); nameBytes > maxNameBytes {
			return nil, fmt.Errorf("%w: entry names of more than %d bytes in total", errdef.ErrLimit, maxNameBytes)
		}
		stored, err := x.add(hdr, end+padding(end), w.pos, size)
		if err != nil {
			return nil, err
		}
		end = w.pos + stored + padding(stored)
	}
}

// CheckStart refuses a file that cannot be an archive of images. It looks at the first block, or
// at the whole file if it is shorter, so that the rest need not be read to find out. The error
// wraps errdef.ErrNoImageArchive.
func CheckStart(block []byte) error {
	x := &Index{r: bytes.NewReader(block)}
	_, err := tar.NewReader(bytes.NewReader(block)).Next()
	switch {
	case errors.Is(err, tar.ErrHeader) && !x.hasMagic():
		return x.notTar("no tar header at its start")
	case errors.Is(err, io.ErrUnexpectedEOF) && !x.hasMagic():
		return x.notTar(fmt.Sprintf("it has %d bytes, and is cut short or something else", len(block)))
	case len(block) == 0:
		return errdef.Errorf(errdef.ErrNoImageArchive, "not a valid tar archive: it is empty")
	case err == io.EOF:
		return errdef.Errorf(errdef.ErrNoImageArchive, "a tar archive without entries")
	}
	return nil // The header may be longer than a block, and a damaged one is told with its place.
}

// IsTar reports whether something can be a tar archive by its first block, or by all of it if that
// is less. An empty file, or one that begins with zeros, is an archive without entries.
func IsTar(start []byte) bool {
	if len(start) == 0 {
		return true
	}
	if len(start) < blockSize {
		return false
	}
	_, err := tar.NewReader(bytes.NewReader(start[:blockSize])).Next()
	return !errors.Is(err, tar.ErrHeader)
}

// headerError returns the error for the header after n entries that end at offset end of an
// archive.
func (x *Index) headerError(err error, n int, end, size int64) error {
	switch {
	case errors.Is(err, errdef.ErrLimit):
		return fmt.Errorf("tar header at offset %d: %w", end, err)
	case errors.Is(err, tar.ErrHeader) && n == 0 && !x.hasMagic():
		return x.notTar("no tar header at its start")
	case errors.Is(err, tar.ErrHeader):
		return damaged("damaged header at offset %d, after %d entries", end, n)
	case errors.Is(err, io.ErrUnexpectedEOF) && n == 0 && !x.hasMagic():
		return x.notTar(fmt.Sprintf("cut short: it ends within a header, at offset %d", size))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return damaged("cut short: it ends within a header, at offset %d", size)
	}
	return fmt.Errorf("reading the tar header at offset %d: %w", end, err)
}

// notTar returns the error for a file that does not begin as a tar archive. It names the kind of
// file if the first bytes show it: some servers answer a download with a page or a document that
// explains a failure.
func (x *Index) notTar(otherwise string) error {
	start := make([]byte, blockSize)
	n, _ := x.r.ReadAt(start, 0) // Bytes that cannot be read tell nothing.
	if what := otherKind(start[:n]); what != "" {
		otherwise = "it is " + what
	}
	return errdef.Errorf(errdef.ErrNoImageArchive, "not a valid tar archive: %s", otherwise)
}

// otherKind returns the kind of a file that begins so, "" if that is not known.
func otherKind(start []byte) string {
	start = bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\ufeff")), "\t\r\n ")
	begins := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool {
			return len(start) >= len(p) && strings.EqualFold(string(start[:len(p)]), p)
		})
	}
	switch {
	case begins("<!doctype html", "<html", "<head", "<body", "<title", "<!--"):
		return "a web page (HTML)"
	case begins("<?xml"):
		return "an XML document"
	case begins("PK\x03\x04"):
		return "a ZIP file"
	case begins("%PDF-"):
		return "a PDF file"
	case len(start) == 0 || bytes.ContainsFunc(start, func(r rune) bool { return r < ' ' && !unicode.IsSpace(r) }):
		return ""
	case begins("{", "["):
		return "a JSON document"
	}
	return "text"
}

// hasMagic reports whether the first header, valid or not, is marked as that of a tar archive.
// Only archives from before 1988 are not.
func (x *Index) hasMagic() bool {
	const magic, offset = "ustar", 257
	p := make([]byte, len(magic))
	n, _ := x.r.ReadAt(p, offset) // Bytes that cannot be read are no mark.
	return string(p[:n]) == magic
}

// damaged returns an ErrDamaged with a text about the tar archive.
func damaged(format string, args ...any) error {
	return errdef.Errorf(errdef.ErrDamaged, "not a valid tar archive: "+format, args...)
}

// add notes the entry whose headers begin at start and whose content begins at
// offset in an archive of size bytes. It returns how many bytes the content takes.
func (x *Index) add(hdr *tar.Header, start, offset, size int64) (stored int64, err error) {
	e := record{start: start, offset: offset, kind: hdr.Typeflag}
	switch hdr.Typeflag {
	case tar.TypeXGlobalHeader: // A comment or a default owner; git and bazel write them.
		return 0, nil
	case tar.TypeSymlink, tar.TypeLink:
		if len(hdr.Linkname) > maxNameLen {
			return 0, fmt.Errorf("%w: link target of %d bytes", errdef.ErrLimit, len(hdr.Linkname))
		}
		e.link = strings.Clone(hdr.Linkname)
	case tar.TypeDir, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	default:
		if isSparse(hdr) {
			if stored, err = x.addSparse(&e, hdr, start, size); err != nil {
				return 0, err
			}
			break
		}
		e.kind = tar.TypeReg // As POSIX wants unknown types treated.
		e.size, stored = hdr.Size, hdr.Size
		if e.size > size-offset {
			return 0, damaged("cut short: entry %q has %d bytes, but only %d are there", trim(hdr.Name), e.size, size-offset)
		}
	}
	if e.name, err = clean(hdr.Name); err != nil {
		return 0, err
	}
	if e.kind == tar.TypeLink {
		x.linkNow(&e)
	}
	if e.name != "." {
		x.byName[e.name] = int32(len(x.entries))
		x.entries = append(x.entries, e)
	}
	return stored, nil
}

// clean returns name as it is looked up: slash-separated, relative, without
// dots.
func clean(name string) (string, error) {
	if len(name) > maxNameLen {
		return "", fmt.Errorf("%w: entry name of %d bytes", errdef.ErrLimit, len(name))
	}
	c := path.Clean(strings.TrimLeft(name, "/"))
	if c == ".." || strings.HasPrefix(c, "../") {
		return "", damaged("entry name %q leads out of the archive", trim(name))
	}
	return strings.Clone(c), nil // The name of a PAX header is a part of a longer string.
}

// trim makes a name short enough for an error.
func trim(name string) string {
	const enough = 256
	if len(name) > enough {
		return name[:enough] + "…"
	}
	return name
}

// readable is trim for messages that do not quote names.
func readable(name string) string { return printable.String(trim(name)) }

// Size returns how many bytes the archive has.
func (x *Index) Size() int64 { return x.size }

// Terminated reports whether the archive ends as it should, with a marker. One
// that does not may have lost entries at its end.
func (x *Index) Terminated() bool { return x.terminated }

// Trailing returns how many bytes follow the end-of-archive marker. They are padding, or bytes
// that nobody reads.
func (x *Index) Trailing() int64 { return x.trailing }

// Names yields the names of all entries but directories, in the order of the
// archive, each once.
func (x *Index) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, e := range x.entries {
			if e.kind != tar.TypeDir && x.byName[e.name] == int32(i) && !yield(e.name) {
				return
			}
		}
	}
}

// Replaced yields the regular files that a later entry of the same name replaces. Their
// contents are there, and a reader of another kind may take them.
func (x *Index) Replaced() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for i, e := range x.entries {
			if e.kind == tar.TypeReg && x.byName[e.name] != int32(i) && !yield(Member{Name: e.name, Offset: e.offset, Size: e.size}) {
				return
			}
		}
	}
}

// Has reports whether there is an entry of this name, even a link that leads nowhere.
func (x *Index) Has(name string) bool {
	_, ok := x.byName[name]
	return ok
}

// Open returns the content of a file. It may be read concurrently with others.
func (x *Index) Open(f Member) *io.SectionReader {
	if sparse := x.sparse[f.Offset]; sparse != nil {
		return io.NewSectionReader(sparse, 0, f.Size)
	}
	return io.NewSectionReader(x.readerOf(f), f.Offset, f.Size)
}

// IsSparse reports whether a file has holes that the archive does not store, so
// that it is not a section of the archive.
func (x *Index) IsSparse(f Member) bool { return x.sparse[f.Offset] != nil }

// ReadFile returns the content of the file that name leads to, which must not be longer than limit
// bytes. The error wraps that of Lookup, or errdef.ErrLimit.
func (x *Index) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := x.Lookup(name)
	if err != nil {
		return nil, err
	}
	if f.Size > limit {
		return nil, fmt.Errorf("reading %s: %w: %d bytes, at most %d are allowed", readable(name), errdef.ErrLimit, f.Size, limit)
	}
	if x.listed != nil {
		data, err := x.readListed(f)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", readable(name), err)
		}
		return data, nil
	}
	data := make([]byte, f.Size)
	if _, err := x.Open(f).ReadAt(data, 0); err != nil && (err != io.EOF || f.Size > 0) {
		return nil, fmt.Errorf("reading %s: %w", readable(name), eof(err))
	}
	return data, nil
}

// ReadPrefixed returns the content of a file that begins with prefix. It is nil for any other, for
// one that is longer than limit bytes, and for one that cannot be read.
func (x *Index) ReadPrefixed(name, prefix string, limit int64) []byte {
	f, err := x.Lookup(name)
	if err != nil || f.Size > limit {
		return nil
	}
	start := make([]byte, len(prefix))
	if _, err := x.Open(f).ReadAt(start, 0); err != nil && err != io.EOF || string(start) != prefix {
		return nil
	}
	data, err := x.ReadFile(name, limit)
	if err != nil {
		return nil
	}
	return data
}

// eof makes an end where there should be none an error: the file was cut since
// it was indexed.
func eof(err error) error {
	if err == io.EOF {
		return errdef.Errorf(errdef.ErrDamaged, "%w", io.ErrUnexpectedEOF)
	}
	return err
}

// errNotExist is the error for a name that is not in the archive.
func errNotExist(name string) error {
	return fmt.Errorf("%s is not in the archive: %w", readable(name), fs.ErrNotExist)
}
