package files

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/dockerarchive/dockerarchive/internal/layertar"
)

// Side is a tree of files that is compared with another: that of an image, or of a
// directory.
type Side interface {
	// All yields all files in the order of layertar.Compare.
	All(ctx context.Context) iter.Seq2[*Entry, error]
	// Sums calls a function with the SHA-256 of each of the files, in any order.
	Sums(ctx context.Context, all []*Entry, sum func(*Entry, [sha256.Size]byte)) error
}

// Change says how a file differs between two sides.
type Change struct {
	// Old and New are the file on both sides. One is nil if only the other has it.
	Old, New *Entry
	// Of says in what they differ: type, content, mode, owner, xattr, target, device or
	// time.
	Of []string
}

// Path is the path of the file.
func (c *Change) Path() string {
	if c.Old != nil {
		return c.Old.Path
	}
	return c.New.Path
}

// CompareOptions say what is compared.
type CompareOptions struct {
	// Times are compared too.
	Times bool
}

// Compare returns how the files of two sides differ, in the order of layertar.Compare.
// Contents are read where nothing less tells whether they are the same.
func Compare(ctx context.Context, a, b Side, o CompareOptions) ([]Change, error) {
	var found []Change
	var unsure []int // of found: contents have to be read
	next, stop := iter.Pull2(b.All(ctx))
	defer stop()
	news, err, ok := next()
	for old, oldErr := range a.All(ctx) {
		if oldErr != nil {
			return nil, oldErr
		}
		for ok && err == nil && layertar.Compare(news.Path, old.Path) < 0 {
			found = append(found, Change{New: news})
			news, err, ok = next()
		}
		if err != nil {
			return nil, err
		}
		if !ok || news.Path != old.Path {
			found = append(found, Change{Old: old})
			continue
		}
		c := Change{Old: old, New: news, Of: differences(old.File, news.File, o)}
		if mayDiffer(old, news) {
			unsure = append(unsure, len(found))
		}
		if len(c.Of) > 0 || mayDiffer(old, news) {
			found = append(found, c)
		}
		news, err, ok = next()
	}
	for ; ok && err == nil; news, err, ok = next() {
		found = append(found, Change{New: news})
	}
	if err != nil {
		return nil, err
	}
	if err := readContents(ctx, a, b, found, unsure); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(c Change) bool { return c.Old != nil && c.New != nil && len(c.Of) == 0 }), nil
}

// mayDiffer reports whether only contents tell whether two files are the same.
func mayDiffer(a, b *Entry) bool {
	return a.IsRegular() && b.IsRegular() && a.size == b.size && a.size > 0 && !a.sameContent(b)
}

// sameContent reports whether two files are known to have the same content: that of the
// same entry of the same layer.
func (e *Entry) sameContent(o *Entry) bool {
	return e.File == o.File || e.origin != "" && e.origin == o.origin && e.index == o.index
}

// differences returns in what two files differ, contents of the same size apart.
func differences(a, b *File, o CompareOptions) []string {
	if a.typeflag != b.typeflag {
		return []string{"type"}
	}
	if a == implicit || b == implicit {
		return nil // Nothing is said of it.
	}
	var of []string
	note := func(differs bool, what string) {
		if differs {
			of = append(of, what)
		}
	}
	note(a.IsRegular() && a.size != b.size, "content")
	note(a.Linkname() != b.Linkname(), "target")
	note(a.typeflag != typeSymlink && a.mode != b.mode, "mode")
	note(a.uid != b.uid || a.gid != b.gid, "owner")
	note(a.devmajor != b.devmajor || a.devminor != b.devminor, "device")
	note(!maps.Equal(a.Xattrs(), b.Xattrs()), "xattr")
	note(o.Times && (a.seconds != b.seconds || a.nanoseconds != b.nanoseconds), "time")
	return of
}

// readContents notes which of the unsure changes are of contents.
func readContents(ctx context.Context, a, b Side, found []Change, unsure []int) error {
	olds, news := make([]*Entry, len(unsure)), make([]*Entry, len(unsure))
	for i, n := range unsure {
		olds[i], news[i] = found[n].Old, found[n].New
	}
	sums := func(side Side, all []*Entry) (map[*Entry][sha256.Size]byte, error) {
		known := make(map[*Entry][sha256.Size]byte, len(all))
		err := side.Sums(ctx, all, func(e *Entry, sum [sha256.Size]byte) { known[e] = sum })
		return known, err
	}
	old, err := sums(a, olds)
	if err != nil {
		return err
	}
	now, err := sums(b, news)
	if err != nil {
		return err
	}
	for _, n := range unsure {
		if old[found[n].Old] != now[found[n].New] {
			found[n].Of = append([]string{"content"}, found[n].Of...)
		}
	}
	return nil
}

// verifiedAs returns the digest that the layer was verified against, empty if it was not. A
// config's word on a layer is not enough to call two contents the same.
func (l *lazy) verifiedAs() string {
	if !l.verified {
		return ""
	}
	d, _ := l.wanted()
	return string(d)
}

// All implements Side.
func (t *Tree) All(ctx context.Context) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		root, err := t.Root(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for e, err := range t.Walk(ctx, root) {
			if err == nil && e.Layer() >= 0 {
				e.origin = t.layers[e.Layer()].verifiedAs()
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Sums implements Side.
func (t *Tree) Sums(ctx context.Context, all []*Entry, sum func(*Entry, [sha256.Size]byte)) error {
	if len(all) == 0 {
		return nil
	}
	entries := map[*File][]*Entry{}
	for _, e := range all {
		entries[e.File] = append(entries[e.File], e)
	}
	files := slices.Collect(maps.Keys(entries))
	Sort(files)
	return t.Contents(ctx, files, false, func(f *File, r io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return fmt.Errorf("%q: %w", entries[f][0].Path, err)
		}
		for _, e := range entries[f] {
			sum(e, [sha256.Size]byte(h.Sum(nil)))
		}
		return nil
	})
}
