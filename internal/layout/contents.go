package layout

import (
	"encoding/json"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// contents is index.json.
type contents struct{ kept[indexFile] }

// indexFile is index.json, its fields in the order of the specification.
type indexFile struct {
	indexHead
	Manifests []*kept[v1.Descriptor] `json:"manifests"`
	indexTail
}

// indexHead are the fields before the manifests.
type indexHead struct {
	SchemaVersion int    `json:"schemaVersion"`
	MediaType     string `json:"mediaType,omitempty"`
	ArtifactType  string `json:"artifactType,omitempty"`
}

// indexTail are those behind them.
type indexTail struct {
	Subject     *v1.Descriptor    `json:"subject,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ReadPlain implements image.PlainReader.
func (c *contents) ReadPlain(p *image.Plain) bool {
	c.raw, c.plain = p.Document(), true
	return c.readFields(p)
}

func (c *contents) readFields(p *image.Plain) bool {
	f := &c.value
	return p.Object(func(name string) (ok bool) {
		switch name {
		case "schemaVersion":
			var version int64
			ok = p.Number(&version)
			f.SchemaVersion = int(version)
		case "mediaType":
			ok = image.ReadText(p, &f.MediaType)
		case "artifactType":
			ok = image.ReadText(p, &f.ArtifactType)
		case "manifests":
			f.Manifests = []*kept[v1.Descriptor]{}
			ok = p.Array(func() bool { return readKept(p, &f.Manifests, (*image.Plain).Descriptor) })
		case "subject":
			_, _, ok = p.Value(&f.Subject, func() bool { return false })
		case "annotations": // Those of left-out layers have escapes.
			_, _, ok = p.Value(&f.Annotations, func() bool { return p.TextMap(&f.Annotations) })
		}
		return ok
	})
}

// encode returns the JSON.
func (c *contents) encode() ([]byte, error) {
	if c.raw != "" && (!c.plain || !c.changed) {
		return json.Marshal(c.kept)
	}
	head, err := json.Marshal(c.value.indexHead)
	if err != nil {
		return nil, err
	}
	tail, err := json.Marshal(c.value.indexTail)
	if err != nil {
		return nil, err
	}
	data := append(head[:len(head)-1], `,"manifests":`...)
	if data, err = appendList(data, c.value.Manifests); err != nil {
		return nil, err
	}
	if len(tail) > len("{}") {
		data = append(data, ',')
	}
	return append(data, tail[1:]...), nil
}
