package layout

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// listed finds elements of index.json: images may lose their names one at a time, and be tens of
// thousands.
type listed struct {
	byName map[string][]*kept[v1.Descriptor] // without those that have no name
	count  map[digest.Digest]int             // elements with a digest
}

// add notes an element. It does nothing for nil.
func (l *listed) add(name string, d *kept[v1.Descriptor]) {
	if l == nil {
		return
	}
	if name != "" {
		l.byName[name] = append(l.byName[name], d)
	}
	l.count[d.value.Digest]++
}

// list returns where the elements of index.json are.
func (t *ociTable) list() *listed {
	if t.listed == nil {
		all := t.contents.value.Manifests
		t.listed = &listed{make(map[string][]*kept[v1.Descriptor], len(all)), make(map[digest.Digest]int, len(all))}
		for _, d := range all {
			t.listed.add(t.nameOf(d.value), d)
		}
	}
	return t.listed
}

// Remove implements Table.
func (t *ociTable) Remove(ctx context.Context, names []string, keep bool) error {
	gone := t.names.remove(names)
	contents, list := t.contents.change(), t.list()
	leave := map[digest.Digest]int{}
	for name := range gone {
		for _, d := range list.byName[name] {
			d.leaves = true
			leave[d.value.Digest]++
		}
		delete(list.byName, name)
	}
	stay := map[digest.Digest]bool{} // under another name, or without one
	for d, n := range leave {
		stay[d] = list.count[d] > n
	}
	var removed []digest.Digest
	contents.Manifests = slices.DeleteFunc(contents.Manifests, func(d *kept[v1.Descriptor]) bool {
		if !d.leaves {
			return false
		}
		d.leaves = false
		id := d.value.Digest
		delete(t.known, knownAs(id, t.nameOf(d.value)))
		if keep && !stay[id] {
			stay[id] = true
			t.untag(d)
			return false
		}
		list.count[id]--
		if !stay[id] {
			removed = append(removed, id)
		}
		return true
	})
	t.index.remove(gone, keep)
	t.removed = append(t.removed, removed...)
	return t.forget(ctx, removed)
}
