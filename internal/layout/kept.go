package layout

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// kept is a part of a table of contents that may come from an archive. An
// unchanged part is written again as it was, and a changed one keeps its unknown
// fields.
type kept[T any] struct {
	value   T
	raw     json.RawMessage // as it was read; nil for a new one
	changed bool            // value differs from raw
}

// change returns the value, to be changed.
func (k *kept[T]) change() *T {
	k.changed = true
	return &k.value
}

// UnmarshalJSON implements json.Unmarshaler.
func (k *kept[T]) UnmarshalJSON(data []byte) error {
	k.raw = bytes.Clone(data)
	return json.Unmarshal(data, &k.value)
}

// MarshalJSON implements json.Marshaler.
func (k kept[T]) MarshalJSON() ([]byte, error) {
	if k.raw != nil && !k.changed {
		return k.raw, nil
	}
	object, err := json.Marshal(k.value)
	if err != nil || k.raw == nil {
		return object, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(k.raw, &fields); err != nil {
		return nil, err
	}
	object = bytes.TrimSuffix(object, []byte("}"))
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if hasField[T](field) {
			continue
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		name, err := json.Marshal(field)
		if err != nil {
			return nil, err
		}
		object = append(append(append(object, name...), ':'), fields[field]...)
	}
	return append(object, '}'), nil
}

// hasField reports whether T has a field, as encoding/json sees it: in any case.
func hasField[T any](field string) bool {
	for _, known := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, _, _ := strings.Cut(known.Tag.Get("json"), ",")
		if strings.EqualFold(cmp.Or(name, known.Name), field) {
			return true
		}
	}
	return false
}
