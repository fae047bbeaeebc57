package image

import (
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Tables of contents are read and written whenever an archive changes, and may list thousands of
// images. encoding/json takes most of the time of a change then. So they are read by plain, as
// far as they are written as usual, and encoding/json reads what is not.

// Element is an element of a table of contents.
type Element[T any] struct {
	Value T
	Raw   string // as it was read
	// Plain is set if Raw has no unknown fields, and encoding/json would write the same.
	Plain bool
	// Null is set for an element that is null.
	Null bool
}

// Index is an index.json without unknown fields.
type Index struct {
	Raw           string
	SchemaVersion int
	MediaType     string
	ArtifactType  string
	Manifests     []Element[v1.Descriptor]
	Subject       *v1.Descriptor
	Annotations   map[string]string
}

// Item is an element of manifest.json, which is Docker's.
type Item struct {
	Config   string
	RepoTags []string
	Layers   []string
	// Parent is the digest of the config of the image that this one was built on. It need
	// not be one: nothing depends on it.
	Parent string `json:",omitempty"`
	// LayerSources are layers that have URLs, by diff ID. They need not be there.
	LayerSources map[digest.Digest]v1.Descriptor `json:",omitempty"`
}

// ReadIndex reads an index.json. ok is false for one that only Decode can read, or nothing.
func ReadIndex(data []byte) (index *Index, ok bool) {
	return readTable(data, (*plain).index)
}

// ReadItems reads a manifest.json. ok is as for ReadIndex.
func ReadItems(data []byte) (items []Element[Item], ok bool) {
	return readTable(data, func(p *plain) ([]Element[Item], bool) { return readElements(p, (*plain).item) })
}

// ReadRepositories reads the file repositories: names, tags, and IDs of layers. ok is as for
// ReadIndex.
func ReadRepositories(data []byte) (repositories map[string]map[string]string, ok bool) {
	return readTable(data, func(p *plain) (map[string]map[string]string, bool) {
		all := map[string]map[string]string{}
		ok := readMap(p, func(name string) bool {
			var tags map[string]string
			ok := p.textMap(&tags)
			all[name] = tags
			return ok
		})
		return all, ok
	})
}

// readTable reads a whole document.
func readTable[T any](data []byte, read func(*plain) (T, bool)) (table T, ok bool) {
	if CheckDocument(data) != nil {
		return table, false
	}
	p := &plain{data: string(data)}
	table, ok = read(p)
	return table, ok && p.at == len(p.data)
}

func (p *plain) index() (*Index, bool) {
	index := &Index{Raw: p.data}
	ok := p.object(func(name string) (ok bool) {
		switch name {
		case "schemaVersion":
			var version int64
			ok = p.number(&version)
			index.SchemaVersion = int(version)
			return ok && int64(index.SchemaVersion) == version
		case "mediaType":
			return readText(p, &index.MediaType)
		case "artifactType":
			return readText(p, &index.ArtifactType)
		case "manifests":
			index.Manifests, ok = readElements(p, (*plain).descriptor)
		case "subject":
			_, ok = readElement(p, func(*plain, **v1.Descriptor) bool { return false }, &index.Subject)
		case "annotations": // Those of left-out layers have escapes.
			_, ok = readElement(p, (*plain).textMap, &index.Annotations)
		}
		return ok
	})
	return index, ok
}

// readElements reads a list of elements, each by read or, if that cannot, by Decode.
func readElements[T any](p *plain, read func(*plain, *T) bool) ([]Element[T], bool) {
	list := []Element[T]{}
	ok := p.array(func() (ok bool) {
		list = append(list, Element[T]{})
		e := &list[len(list)-1]
		start := p.at
		e.Plain, ok = readElement(p, read, &e.Value)
		e.Raw = p.data[start:p.at]
		e.Null = !e.Plain && strings.TrimSpace(e.Raw) == "null"
		return ok
	})
	return list, ok
}

// readElement reads a value by read or, if that cannot, by Decode.
func readElement[T any](p *plain, read func(*plain, *T) bool, to *T) (isPlain, ok bool) {
	start := p.at
	if read(p, to) {
		return true, true
	}
	p.at = start
	p.pass()
	*to = *new(T)
	return false, Decode("", []byte(p.data[start:p.at]), to) == nil
}

// descriptor reads a descriptor.
func (p *plain) descriptor(d *v1.Descriptor) bool {
	ok := p.object(func(name string) bool {
		switch name {
		case "mediaType":
			return readText(p, &d.MediaType)
		case "digest":
			return p.digest(&d.Digest)
		case "size":
			return p.number(&d.Size)
		case "urls":
			return p.texts(&d.URLs)
		case "annotations":
			return p.textMap(&d.Annotations)
		case "platform":
			d.Platform = &v1.Platform{}
			return p.platform(d.Platform)
		case "artifactType":
			return readText(p, &d.ArtifactType)
		}
		return false
	})
	return ok && d.Digest != ""
}

func (p *plain) platform(to *v1.Platform) bool {
	return p.object(func(name string) bool {
		switch name {
		case "architecture":
			return readText(p, &to.Architecture)
		case "os":
			return readText(p, &to.OS)
		case "os.version":
			return readText(p, &to.OSVersion)
		case "os.features":
			return p.texts(&to.OSFeatures)
		case "variant":
			return readText(p, &to.Variant)
		}
		return false
	})
}

// item reads an element of manifest.json.
func (p *plain) item(to *Item) bool {
	return p.object(func(name string) bool {
		switch name {
		case "Config":
			return readText(p, &to.Config)
		case "RepoTags":
			return p.texts(&to.RepoTags)
		case "Layers":
			return p.texts(&to.Layers)
		case "Parent":
			return readText(p, &to.Parent)
		case "LayerSources":
			return p.layerSources(to)
		}
		return false
	})
}

func (p *plain) layerSources(to *Item) bool {
	to.LayerSources = map[digest.Digest]v1.Descriptor{}
	return readMap(p, func(diffID digest.Digest) bool {
		var d v1.Descriptor
		ok := checkDigest(diffID.String()) == nil && p.descriptor(&d)
		to.LayerSources[diffID] = d
		return ok
	})
}
