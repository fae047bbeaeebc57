package layout

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// kept is a part of a table of contents that may come from an archive. What is not
// changed is written again as it was, and what is changed keeps the fields that
// nobody here knows.
type kept[T any] struct {
	value T
	raw   json.RawMessage // as it was read; nil once value has been changed
	extra []member        // fields that T does not have
}

// member is a field of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// change returns the value, to be changed.
func (k *kept[T]) change() *T {
	k.raw = nil
	return &k.value
}

// UnmarshalJSON implements json.Unmarshaler.
func (k *kept[T]) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, &k.value); err != nil {
		return err
	}
	var all, known map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	encoded, err := json.Marshal(k.value)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(encoded, &known); err != nil {
		return err
	}
	k.raw = bytes.Clone(data)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !hasField(known, name) {
			k.extra = append(k.extra, member{name, all[name]})
		}
	}
	return nil
}

// hasField reports whether a field is there, as encoding/json sees it: in whatever
// case.
func hasField(fields map[string]json.RawMessage, name string) bool {
	for known := range fields {
		if strings.EqualFold(known, name) {
			return true
		}
	}
	return false
}

// MarshalJSON implements json.Marshaler.
func (k kept[T]) MarshalJSON() ([]byte, error) {
	if k.raw != nil {
		return k.raw, nil
	}
	encoded, err := json.Marshal(k.value)
	if err != nil || len(k.extra) == 0 {
		return encoded, err
	}
	object := bytes.TrimSuffix(encoded, []byte("}"))
	for _, m := range k.extra {
		if len(object) > 1 {
			object = append(object, ',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		object = append(append(append(object, name...), ':'), m.value...)
	}
	return append(object, '}'), nil
}
