package files

import (
	"context"
	"maps"
)

// LayerStats is what a layer does to those below it.
type LayerStats struct {
	// Stored and Unpacked are the bytes of the layer as it is stored, and of its tar.
	Stored, Unpacked int64
	// Added and Changed count files, directories and links that are new, or other than
	// before: a directory is, if its mode, owner or extended attributes are. Removed counts
	// those that whiteouts and replaced directories take away.
	Added, Changed, Removed int
	// Content is the bytes of all files, and Hidden those of files that are not in the
	// image: later layers, or later entries of the layer, have replaced or removed them.
	Content, Hidden int64
}

// Stats returns what each layer does. All layers are read.
func (t *Tree) Stats(ctx context.Context) ([]LayerStats, error) {
	root, err := t.Root(ctx)
	if err != nil {
		return nil, err
	}
	stats := make([]LayerStats, t.Layers())
	for i := range stats {
		l := t.layers[i]
		s := &stats[i]
		s.Stored, s.Unpacked, s.Content, s.Hidden = l.size, l.unpacked, l.total, l.total
		below := view{image: t.image, to: i}
		s.compare(below.root(), l.root)
	}
	seen := map[*File]bool{}
	for e, err := range t.Walk(ctx, root) {
		if err != nil {
			return nil, err
		}
		if e.IsRegular() && !seen[e.File] {
			seen[e.File] = true
			stats[e.layer].Hidden -= e.size
		}
	}
	return stats, nil
}

// compare counts what a directory of the layer does to the same one below.
func (s *LayerStats) compare(below dir, n *node) {
	if n.children == nil {
		if n.opaque {
			s.Removed += below.count()
		}
		return
	}
	if n.opaque {
		for base, nodes := range below.each() {
			if n.get(base) == nil {
				s.remove(&below, nodes)
			}
		}
	}
	for _, child := range n.children.list {
		old, sub, _ := below.child(child.base) // Nothing is open.
		switch {
		case !child.there:
			if old != nil {
				s.Removed += 1 + sub.count()
			}
		case child.isDir():
			switch {
			case old == nil:
				s.Added++
			case !old.IsDir() || child.file != nil && !child.file.sameAttributes(old):
				s.Changed++
			}
			if child.hides {
				for base, nodes := range sub.each() {
					if child.get(base) == nil {
						s.remove(&sub, nodes)
					}
				}
			}
			s.compare(sub, child)
		case old == nil:
			s.Added++
		default:
			s.Changed++
			s.Removed += sub.count()
		}
	}
}

// remove counts what nodes of a directory add up to, if to anything.
func (s *LayerStats) remove(d *dir, nodes []at) {
	if f, sub, _ := d.combine(nodes); f != nil {
		s.Removed += 1 + sub.count()
	}
}

// count returns how much is below a directory.
func (d *dir) count() int {
	n := 0
	for _, nodes := range d.each() {
		if f, sub, _ := d.combine(nodes); f != nil {
			n += 1 + sub.count()
		}
	}
	return n
}

// sameAttributes reports whether mode, owner and extended attributes are the same.
func (f *File) sameAttributes(o *File) bool {
	a, b := *f.attributes, *o.attributes
	a.layer, b.layer = 0, 0
	return a == b && maps.Equal(f.Xattrs(), o.Xattrs())
}

// Visible returns how many bytes of content all layers have, and how many of them are in
// the image.
func Visible(stats []LayerStats) (visible, all int64) {
	for _, s := range stats {
		all += s.Content
		visible += s.Content - s.Hidden
	}
	return visible, all
}
