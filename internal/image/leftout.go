package image

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// AnnotationLeftOut is the annotation of index.json itself by which an archive says
// which layers it is without on purpose, and which archives have them. No client looks
// at annotations there.
const AnnotationLeftOut = "io.github.dockerarchive.left-out"

// DeltaType is the media type of a file that makes a layer from others.
const DeltaType = "application/vnd.dockerarchive.layer-delta.v1"

// LeftOut are layers that an archive is without on purpose, and where they are. nil is
// none.
type LeftOut map[digest.Digest]Elsewhere

// Elsewhere is where a layer is that an archive is without.
type Elsewhere struct {
	// Archive is the name of an archive that has it or, if there is a Delta, what it is
	// made from.
	Archive string
	// Delta makes it from layers of other archives; nil if nothing does.
	Delta *Delta
	// Why is why the layers at hand do not lend it, if they could: what is wrong with the delta
	// or with them. No archive says it.
	Why string
}

// Of describes a layer that is elsewhere.
func (e Elsewhere) Of(layer v1.Descriptor) errdef.LeftOut {
	l := errdef.LeftOut{Digest: layer.Digest, Size: layer.Size, Archive: e.Archive, Why: e.Why}
	if e.Delta == nil {
		return l
	}
	l.Delta, l.DeltaSize = e.Delta.Digest, e.Delta.Size
	for _, from := range e.Delta.From {
		l.From = append(l.From, errdef.DeltaBase(from))
	}
	return l
}

// Delta is a blob of an archive that makes a layer from others. Nothing of it is to be
// trusted but for the digest of the blob.
type Delta struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"` // in bytes
	// From are the layers that the layer is made from.
	From []DeltaBase `json:"from"`
}

// DeltaBase is a layer that another one is made from.
type DeltaBase struct {
	// Archive is the name of an archive that has it.
	Archive string `json:"archive"`
	// Digest is that of the layer as it was there, which the delta needs if Exact is set;
	// else all that counts is its text.
	Digest digest.Digest `json:"digest"`
	DiffID digest.Digest `json:"diffID"`
	Exact  bool          `json:"exact,omitempty"`
}

// leftOutItem is an element of the annotation.
type leftOutItem struct {
	Archive string          `json:"archive"`
	Blobs   []digest.Digest `json:"blobs"`
	Deltas  []leftOutDelta  `json:"deltas,omitempty"`
}

// leftOutDelta is what makes one of the blobs.
type leftOutDelta struct {
	Layer digest.Digest `json:"layer"`
	Delta
}

// ParseLeftOut reads the value of the annotation; an empty one gives nothing. The content
// must not be trusted.
func ParseLeftOut(value string) (LeftOut, error) {
	if value == "" {
		return nil, nil
	}
	var items []leftOutItem
	if err := Decode(AnnotationLeftOut, []byte(value), &items); err != nil {
		return nil, err
	}
	l := LeftOut{}
	for _, item := range items {
		for _, d := range item.Blobs {
			if _, ok := l[d]; !ok {
				l[d] = Elsewhere{Archive: item.Archive}
			}
		}
		for n := range item.Deltas {
			made := &item.Deltas[n]
			if e, ok := l[made.Layer]; ok && e.Delta == nil && e.Archive == item.Archive && made.MediaType == DeltaType {
				l[made.Layer] = Elsewhere{Archive: item.Archive, Delta: &made.Delta}
			}
		}
	}
	return l, nil
}

// String returns the value of the annotation, the same for the same layers: archives by
// their names, and their layers by digest. It is empty if there are none.
func (l LeftOut) String() string {
	if len(l) == 0 {
		return ""
	}
	byArchive := map[string]*leftOutItem{}
	for _, d := range slices.Sorted(maps.Keys(l)) {
		e := l[d]
		item := byArchive[e.Archive]
		if item == nil {
			item = &leftOutItem{Archive: e.Archive}
			byArchive[e.Archive] = item
		}
		item.Blobs = append(item.Blobs, d)
		if e.Delta != nil {
			item.Deltas = append(item.Deltas, leftOutDelta{d, *e.Delta})
		}
	}
	var items []*leftOutItem
	for _, archive := range slices.Sorted(maps.Keys(byArchive)) {
		items = append(items, byArchive[archive])
	}
	data, _ := json.Marshal(items) // Strings always have a JSON.
	return string(data)
}
