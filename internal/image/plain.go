package image

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A table of contents is read and written whenever an archive changes, and may list thousands
// of images. encoding/json takes most of the time of a change then. So documents in the form
// that programs write are read by Plain: without spaces and escapes, each field once and
// spelled exactly as it is called. encoding/json reads all others.

// PlainReader is implemented by what Decode can read by Plain.
type PlainReader interface {
	// ReadPlain reads the value, which is zero. It reports whether it could: else it becomes
	// zero again, and encoding/json reads the document.
	ReadPlain(p *Plain) bool
}

// Plain reads a JSON document in its simplest form. Its methods report whether they could; if
// not, the place in the document is undefined. What they read is what encoding/json reads.
type Plain struct {
	data string
	at   int
}

// readPlain reports whether v can be read by Plain, and has been.
func readPlain(data []byte, v any) bool {
	r, ok := v.(PlainReader)
	if !ok {
		return false
	}
	p := &Plain{data: string(data)}
	if r.ReadPlain(p) && p.at == len(p.data) {
		return true
	}
	reflect.ValueOf(v).Elem().SetZero() // It may have a part.
	return false
}

// Document returns all of the document.
func (p *Plain) Document() string { return p.data }

// skip goes over a byte.
func (p *Plain) skip(c byte) bool {
	if p.at < len(p.data) && p.data[p.at] == c {
		p.at++
		return true
	}
	return false
}

// null goes over a null.
func (p *Plain) null() bool {
	ok := strings.HasPrefix(p.data[p.at:], "null")
	if ok {
		p.at += len("null")
	}
	return ok
}

// Object reads an object. field reads the value of a field; it is called once for a name.
func (p *Plain) Object(field func(name string) bool) bool {
	const most = 16
	var names [most]string
	n := 0
	return ReadMap(p, func(name string) bool {
		if n == most || slices.Contains(names[:n], name) {
			return false
		}
		names[n] = name
		n++
		return field(name)
	})
}

// ReadMap reads an object of any number of fields. value reads the value of one, and of several
// with the same key the last one counts.
func ReadMap[K ~string](p *Plain, value func(key K) bool) bool {
	if !p.skip('{') {
		return false
	}
	if p.skip('}') {
		return true
	}
	for {
		var key K
		if !ReadText(p, &key) || !p.skip(':') || !value(key) {
			return false
		}
		if !p.skip(',') {
			return p.skip('}')
		}
	}
}

// Array reads an array, whose elements element reads.
func (p *Plain) Array(element func() bool) bool {
	if !p.skip('[') {
		return false
	}
	if p.skip(']') {
		return true
	}
	for {
		if !element() {
			return false
		}
		if !p.skip(',') {
			return p.skip(']')
		}
	}
}

// unusual are the bytes of a string that it is not sure to be written with again: those with
// escapes, and those that have some in other programs.
var unusual = func() (table [256]bool) {
	for c := range table {
		table[c] = c < ' ' || c >= 0x7f || strings.IndexByte(`"\<>&`, byte(c)) >= 0
	}
	return table
}()

// ReadText reads a string of printable ASCII without escapes.
func ReadText[T ~string](p *Plain, to *T) bool {
	if !p.skip('"') {
		return false
	}
	start := p.at
	for p.at < len(p.data) && !unusual[p.data[p.at]] {
		p.at++
	}
	*to = T(p.data[start:p.at])
	return p.skip('"')
}

// Texts reads an array of strings, or null.
func (p *Plain) Texts(to *[]string) bool {
	*to = nil
	if p.null() {
		return true
	}
	*to = []string{}
	return p.Array(func() bool {
		var s string
		ok := ReadText(p, &s)
		*to = append(*to, s)
		return ok
	})
}

// TextMap reads an object of strings.
func (p *Plain) TextMap(to *map[string]string) bool {
	texts := map[string]string{}
	*to = texts
	return ReadMap(p, func(key string) bool {
		var s string
		ok := ReadText(p, &s)
		texts[key] = s
		return ok
	})
}

// Number reads a number that is not negative.
func (p *Plain) Number(to *int64) bool {
	const most = 18 // digits, which fit
	start := p.at
	n := int64(0)
	for p.at < len(p.data) && p.data[p.at] >= '0' && p.data[p.at] <= '9' && p.at-start < most {
		n = n*10 + int64(p.data[p.at]-'0')
		p.at++
	}
	*to = n
	digits := p.at - start
	return digits == 1 || digits > 1 && p.data[start] != '0'
}

// Descriptor reads a descriptor.
func (p *Plain) Descriptor(d *v1.Descriptor) bool {
	*d = v1.Descriptor{}
	return p.Object(func(name string) bool {
		switch name {
		case "mediaType":
			return ReadText(p, &d.MediaType)
		case "digest":
			return ReadText(p, &d.Digest)
		case "size":
			return p.Number(&d.Size)
		case "urls":
			return p.Texts(&d.URLs)
		case "annotations":
			return p.TextMap(&d.Annotations)
		case "platform":
			d.Platform = &v1.Platform{}
			return p.platform(d.Platform)
		case "artifactType":
			return ReadText(p, &d.ArtifactType)
		}
		return false
	})
}

func (p *Plain) platform(to *v1.Platform) bool {
	return p.Object(func(name string) bool {
		switch name {
		case "architecture":
			return ReadText(p, &to.Architecture)
		case "os":
			return ReadText(p, &to.OS)
		case "os.version":
			return ReadText(p, &to.OSVersion)
		case "os.features":
			return p.Texts(&to.OSFeatures)
		case "variant":
			return ReadText(p, &to.Variant)
		}
		return false
	})
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

// Item reads an element of manifest.json.
func (p *Plain) Item(to *Item) bool {
	*to = Item{}
	return p.Object(func(name string) bool {
		switch name {
		case "Config":
			return ReadText(p, &to.Config)
		case "RepoTags":
			return p.Texts(&to.RepoTags)
		case "Layers":
			return p.Texts(&to.Layers)
		case "Parent":
			return ReadText(p, &to.Parent)
		case "LayerSources":
			return p.layerSources(to)
		}
		return false
	})
}

func (p *Plain) layerSources(to *Item) bool {
	to.LayerSources = map[digest.Digest]v1.Descriptor{}
	return ReadMap(p, func(diffID digest.Digest) bool {
		var d v1.Descriptor
		ok := p.Descriptor(&d)
		to.LayerSources[diffID] = d
		return ok
	})
}

// Value reads a value into v by read or, if that cannot, by encoding/json. It returns the bytes of the value, and whether read could.
func (p *Plain) Value(v any, read func() bool) (raw string, plain, ok bool) {
	start := p.at
	if read() {
		return p.data[start:p.at], true, true
	}
	p.at = start
	p.pass()
	raw = p.data[start:p.at]
	reflect.ValueOf(v).Elem().SetZero()
	return raw, false, json.Unmarshal([]byte(raw), v) == nil
}

// pass goes to the end of a value, if it is a valid one.
func (p *Plain) pass() {
	for depth := 0; p.at < len(p.data); p.at++ {
		switch p.data[p.at] {
		case '"':
			for p.at++; p.at < len(p.data) && p.data[p.at] != '"'; p.at++ {
				if p.data[p.at] == '\\' {
					p.at++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return
			}
			depth--
		case ',':
			if depth == 0 {
				return
			}
		}
	}
	p.at = len(p.data)
}

// AppendText appends a string as encoding/json writes it.
func AppendText(b []byte, s string) []byte {
	for i := range len(s) {
		if unusual[s[i]] {
			text, _ := json.Marshal(s) // A string always has a JSON.
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
