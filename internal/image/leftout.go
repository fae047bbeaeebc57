package image

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// AnnotationLeftOut is the annotation of index.json itself by which an archive says
// which layers it is without on purpose, and which archives have them. No client looks
// at annotations there.
const AnnotationLeftOut = "io.github.dockerarchive.left-out"

// LeftOut are layers that an archive is without on purpose, each with the name of an
// archive that has it. nil is none.
type LeftOut map[digest.Digest]string

// leftOutItem is an element of the annotation.
type leftOutItem struct {
	Archive string          `json:"archive"`
	Blobs   []digest.Digest `json:"blobs"`
}

// ParseLeftOut reads the value of the annotation; of an empty one nothing. Nothing in it
// is to be trusted but that it is there.
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
				l[d] = item.Archive
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
	blobs := map[string][]digest.Digest{}
	for _, d := range slices.Sorted(maps.Keys(l)) {
		blobs[l[d]] = append(blobs[l[d]], d)
	}
	var items []leftOutItem
	for _, archive := range slices.Sorted(maps.Keys(blobs)) {
		items = append(items, leftOutItem{archive, blobs[archive]})
	}
	data, _ := json.Marshal(items) // Strings always have a JSON.
	return string(data)
}
