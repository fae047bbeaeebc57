package layout

import (
	"encoding/json"
	"maps"

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

// readContents returns the index.json of an archive.
func readContents(old Archive) (c contents, err error) {
	index, _ := old.Tables()
	if index == nil {
		data, err := old.ReadTable(v1.ImageIndexFile)
		if err == nil {
			err = image.Decode(v1.ImageIndexFile, data, &c)
		}
		return c, err
	}
	c.raw, c.plain = index.Raw, true
	c.value = indexFile{
		indexHead{index.SchemaVersion, index.MediaType, index.ArtifactType},
		keep(index.Manifests),
		indexTail{index.Subject, maps.Clone(index.Annotations)},
	}
	return c, nil
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
