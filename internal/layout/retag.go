package layout

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Tagged says which image of a table gets another name.
type Tagged struct {
	// Names are those of the image, in every form that the table has; none for an image
	// without a name.
	Names []string
	// Digest and Configs, if there are any, tell it from others with the same names: the
	// digest of its manifest or index, empty if it has none, and its configs.
	Digest  digest.Digest
	Configs []digest.Digest
}

// byNames reports whether names are those of the image.
func (t Tagged) byNames(names ...string) bool {
	if len(t.Names) == 0 {
		return len(names) == 0
	}
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(t.Names, name) })
}

// byConfig reports whether a config is that of the image, as far as that is known.
func (t Tagged) byConfig(file string) bool {
	if len(t.Configs) == 0 {
		return t.Digest == "" && len(t.Names) > 0
	}
	d, ok := configDigest(file)
	return ok && slices.Contains(t.Configs, d)
}

// tag adds a name to the items of an image, and to the layer that its other names lead to.
func (x *tagIndex) tag(img Tagged, name string) (id string) {
	for _, item := range x.items {
		if img.byNames(item.value.RepoTags...) && img.byConfig(item.value.Config) && x.give(item, name) {
			id = item.value.Config
		}
	}
	clear(x.tops)
	repository, tag, _ := splitTag(name)
	for _, old := range img.Names {
		from, oldTag, _ := splitTag(old)
		if top, ok := x.repositories[from][oldTag]; ok {
			x.lead(repository, tag, top)
		}
	}
	return id
}

// Tag implements Table.
func (t *dockerTable) Tag(img Tagged, name string) []string {
	id := t.index.tag(img, name)
	if d, ok := configDigest(id); ok {
		id = d.String()
	}
	t.names[name] = id
	return nil
}

// Tag implements Table. The descriptor with the new name stands behind that with the old
// one, so that images keep their order.
func (t *ociTable) Tag(img Tagged, name string) []string {
	var all []*kept[v1.Descriptor]
	var found []digest.Digest
	for _, d := range t.contents.value.Manifests {
		var names []string
		if have := t.nameOf(d.value); have != "" {
			names = []string{have}
		}
		if !img.byNames(names...) || img.Digest != "" && img.Digest != d.value.Digest {
			all = append(all, d)
			continue
		}
		found = append(found, d.value.Digest)
		if len(names) > 0 {
			all = append(all, d)
		}
		if key := knownAs(d.value.Digest, name); !has(t.known, key) {
			t.known[key] = struct{}{}
			all = append(all, named(d, name))
		}
	}
	t.contents.change().Manifests = all
	t.listed = nil
	t.index.tag(img, name)
	if len(found) == 0 {
		return nil
	}
	warnings := t.sameTags([]string{name}, found[0].String())
	t.names[name] = found[0].String()
	t.noteTags([]string{name})
	return warnings
}

func has(set map[string]struct{}, key string) bool {
	_, ok := set[key]
	return ok
}

// named returns a descriptor with another name, and with all its other fields.
func named(d *kept[v1.Descriptor], name string) *kept[v1.Descriptor] {
	other := &kept[v1.Descriptor]{value: d.value, raw: d.raw, changed: true}
	other.value.Annotations = maps.Clone(d.value.Annotations)
	if other.value.Annotations == nil {
		other.value.Annotations = map[string]string{}
	}
	for _, key := range []string{containerdName, image.AnnotationTag, v1.AnnotationRefName} {
		delete(other.value.Annotations, key)
	}
	maps.Copy(other.value.Annotations, annotations(name))
	return other
}
