package layout

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// The tables of contents that come from Docker's image/tarexport.
const (
	manifestFile     = "manifest.json"
	repositoriesFile = "repositories"
)

// layerFile is a layer in the directory that Docker before 1.10 had for it.
const layerFile = "layer.tar"

// tagItem is an element of manifest.json.
type tagItem = image.Item

// repositories is the file of that name: name, tag, ID of the top legacy layer.
type repositories map[string]map[string]string

// encode returns the JSON, as encoding/json writes it.
func (r repositories) encode() []byte {
	data := []byte{'{'}
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if len(data) > 1 {
			data = append(data, ',')
		}
		data = append(image.AppendText(data, name), ':')
		tags := r[name]
		if tags == nil {
			data = append(data, "null"...)
			continue
		}
		data = append(data, '{')
		for i, tag := range slices.Sorted(maps.Keys(tags)) {
			if i > 0 {
				data = append(data, ',')
			}
			data = image.AppendText(append(image.AppendText(data, tag), ':'), tags[tag])
		}
		data = append(data, '}')
	}
	return append(data, '}')
}

// tagIndex is the content of manifest.json and repositories, which archives of both layouts
// have.
type tagIndex struct {
	metadata     Metadata
	items        []*kept[tagItem] // one per distinct config
	byConfig     map[string]*kept[tagItem]
	repositories repositories
	parents      parents
	// Names of one image may come one at a time, and be tens of thousands.
	tagged map[string][]*kept[tagItem]  // items by each element of their RepoTags
	tops   map[*kept[tagItem]]topOfItem // results of top, until names are taken away
}

// topOfItem is the known part of the search for the top legacy layer of an element of
// manifest.json.
type topOfItem struct {
	id     string // "" if nothing tells it
	looked int    // at how many of its names
}

// dockerItem is a new element of manifest.json.
type dockerItem struct {
	tagItem
	config []byte
	parent digest.Digest // of its config; "" if it is not known
	top    string        // ID of its top legacy layer, "" if it has no layers
}

func newTagIndex(m Metadata) tagIndex {
	return tagIndex{
		metadata: m, byConfig: map[string]*kept[tagItem]{}, repositories: repositories{},
		tagged: map[string][]*kept[tagItem]{}, tops: map[*kept[tagItem]]topOfItem{},
	}
}

// read takes over the documents of an archive. Either may be missing.
func (x *tagIndex) read(old Archive) error {
	x.parents.old = old
	if err := x.readItems(old); err != nil {
		return err
	}
	x.byConfig = make(map[string]*kept[tagItem], len(x.items))
	x.tagged = make(map[string][]*kept[tagItem], len(x.items))
	for _, item := range x.items {
		if item == nil {
			return errdef.Errorf(errdef.ErrDamaged, "%s: an image is null", manifestFile)
		}
		if _, ok := x.byConfig[item.value.Config]; !ok {
			x.byConfig[item.value.Config] = item
		}
		for _, name := range item.value.RepoTags {
			if items := x.tagged[name]; len(items) == 0 || items[len(items)-1] != item {
				x.tagged[name] = append(items, item)
			}
		}
	}
	return x.readRepositories(old)
}

func (x *tagIndex) readItems(old Archive) error {
	if _, items := old.Tables(); items != nil {
		x.items = keep(items)
		return nil
	}
	data, err := readTable(old, manifestFile)
	if err != nil || data == nil {
		return err
	}
	return image.Decode(manifestFile, data, &x.items)
}

func (x *tagIndex) readRepositories(old Archive) error {
	data, err := readTable(old, repositoriesFile)
	if err != nil || data == nil {
		return err
	}
	if all, ok := image.ReadRepositories(data); ok {
		x.repositories = all
		return nil
	}
	if err := image.Decode(repositoriesFile, data, &x.repositories); err != nil {
		return err
	}
	if x.repositories == nil { // It is null.
		x.repositories = repositories{}
	}
	return nil
}

func (x *tagIndex) empty() bool { return len(x.items) == 0 }

// has reports whether there is an image with that config file.
func (x *tagIndex) has(config string) bool { return x.byConfig[config] != nil }

// add records an image, or other names for one that is there.
func (x *tagIndex) add(item *dockerItem, names []string) {
	entry := x.byConfig[item.Config]
	if entry == nil {
		entry = &kept[tagItem]{value: item.tagItem}
		x.byConfig[item.Config] = entry
		x.items = append(x.items, entry)
		x.parents.add(entry, item.config, item.parent)
	} else {
		item.top = cmp.Or(x.top(entry), item.top)
	}
	for _, name := range names {
		repository, tag, ok := splitTag(name)
		if !ok {
			continue
		}
		// With the host and the repository in full, so that clients with other
		// defaults for them understand the same.
		full := repository + ":" + tag
		x.give(entry, full)
		if item.top != "" {
			x.lead(repository, tag, item.top)
			x.tops[entry] = topOfItem{id: cmp.Or(x.tops[entry].id, item.top)}
		}
	}
}

// give gives a name to an element. It reports whether that did not have it.
func (x *tagIndex) give(entry *kept[tagItem], name string) bool {
	if slices.Contains(x.tagged[name], entry) {
		return false
	}
	x.tagged[name] = append(x.tagged[name], entry)
	changed := ownNames(entry)
	changed.RepoTags = append(changed.RepoTags, name)
	return true
}

// ownNames returns an element, to be changed. Names that were read are those of the catalog, too.
func ownNames(item *kept[tagItem]) *tagItem {
	if !item.changed {
		item.value.RepoTags = slices.Clone(item.value.RepoTags)
	}
	return item.change()
}

// lead has a name lead to a layer.
func (x *tagIndex) lead(repository, tag, top string) {
	if x.repositories[repository] == nil {
		x.repositories[repository] = map[string]string{}
	}
	x.repositories[repository][tag] = top
}

// top returns the ID of the top legacy layer of an image that is there, "" if nothing tells
// it. Docker before 25 computes other IDs than containers/image. No name is looked at twice.
func (x *tagIndex) top(entry *kept[tagItem]) string {
	known := x.tops[entry]
	for ; known.id == "" && known.looked < len(entry.value.RepoTags); known.looked++ {
		repository, tag, _ := splitTag(entry.value.RepoTags[known.looked])
		known.id = x.repositories[repository][tag]
	}
	x.tops[entry] = known
	if known.id != "" {
		return known.id
	}
	if n := len(entry.value.Layers); n > 0 {
		if dir, file := path.Split(entry.value.Layers[n-1]); file == layerFile {
			return path.Clean(dir)
		}
	}
	return ""
}

// remove takes names away, and the images that have none left unless they are kept.
func (x *tagIndex) remove(gone map[string]bool, keep bool) {
	clear(x.tops)
	unnamed := map[*kept[tagItem]]bool{}
	for name := range gone {
		for _, item := range x.tagged[name] {
			unnamed[item] = false
		}
		delete(x.tagged, name)
	}
	for item := range unnamed {
		changed := ownNames(item)
		changed.RepoTags = without(changed.RepoTags, gone)
		unnamed[item] = len(changed.RepoTags) == 0 && !keep
	}
	x.removeItems(unnamed)
	for name := range gone {
		repository, tag, ok := splitTag(name)
		if !ok {
			continue
		}
		delete(x.repositories[repository], tag)
		if len(x.repositories[repository]) == 0 {
			delete(x.repositories, repository)
		}
	}
}

// without removes names. Most often it is one, of thousands.
func without(names []string, gone map[string]bool) []string {
	if len(gone) == 1 {
		for one := range gone {
			return slices.DeleteFunc(names, func(name string) bool { return name == one })
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return gone[name] })
}

// removeItems removes those elements that are true in gone.
func (x *tagIndex) removeItems(gone map[*kept[tagItem]]bool) {
	any := false
	for item, goes := range gone {
		item.leaves = goes
		any = any || goes
	}
	if !any {
		return
	}
	x.items = slices.DeleteFunc(x.items, func(item *kept[tagItem]) bool {
		if !item.leaves {
			return false
		}
		x.parents.forget(item)
		if x.byConfig[item.value.Config] == item {
			delete(x.byConfig, item.value.Config)
		}
		return true
	})
}

// configDigest returns the digest of a config, which is in the name of its file.
func configDigest(file string) (digest.Digest, bool) {
	d, err := image.ParseDigest("sha256:" + strings.TrimSuffix(path.Base(file), ".json"))
	return d, err == nil
}

// splitTag splits a name into repository and tag. ok is false for one without a
// tag: Docker's format knows no other names. Neither do podman, skopeo and Docker before 29
// know IPv6 addresses in names, and refuse an archive that has one.
func splitTag(name string) (repository, tag string, ok bool) {
	if repository, tag, ok := naming.SplitFull(name); ok {
		return repository, tag, true
	}
	ref, err := reference.Parse(name)
	if err != nil || strings.HasPrefix(name, "[") {
		return "", "", false
	}
	tagged, ok := ref.(reference.NamedTagged)
	if !ok {
		return "", "", false
	}
	return tagged.Name(), tagged.Tag(), true
}

// files returns manifest.json and repositories, the latter always or only if it
// says something.
func (x *tagIndex) files(always bool) ([]tarfile.Small, error) {
	x.parents.link(x.items)
	items, err := appendList(nil, x.items)
	if err != nil {
		return nil, err
	}
	manifest, err := x.metadata.small(manifestFile, items)
	if err != nil {
		return nil, err
	}
	files := []tarfile.Small{manifest}
	if len(x.repositories) == 0 && !always {
		return files, nil
	}
	repositories, err := x.metadata.small(repositoriesFile, x.repositories.encode())
	return append(files, repositories), err
}
