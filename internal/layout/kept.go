package layout

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// kept is a part of a table of contents that may come from an archive. An
// unchanged part is written again as it was, and a changed one keeps its unknown
// fields.
type kept[T any] struct {
	value   T
	raw     string // as it was read; "" for a new one
	plain   bool   // raw has no unknown fields, and is what encoding/json writes
	changed bool   // value differs from raw
	leaves  bool   // it is about to be removed from its list
}

// change returns the value, to be changed.
func (k *kept[T]) change() *T {
	k.changed = true
	return &k.value
}

// keep returns a list that was read.
func keep[T any](elements []image.Element[T]) []*kept[T] {
	if elements == nil {
		return nil
	}
	all, list := make([]kept[T], len(elements)), make([]*kept[T], len(elements))
	for i, e := range elements {
		if !e.Null {
			all[i] = kept[T]{value: e.Value, raw: e.Raw, plain: e.Plain}
			list[i] = &all[i]
		}
	}
	return list
}

// UnmarshalJSON implements json.Unmarshaler.
func (k *kept[T]) UnmarshalJSON(data []byte) error {
	k.raw = string(data)
	return json.Unmarshal(data, &k.value)
}

// append appends the JSON.
func (k *kept[T]) append(b []byte) ([]byte, error) {
	if k.plain && !k.changed {
		return append(b, k.raw...), nil
	}
	data, err := json.Marshal(k)
	return append(b, data...), err
}

// appendList appends the JSON of a list.
func appendList[T any](b []byte, list []*kept[T]) (_ []byte, err error) {
	if list == nil {
		return append(b, "null"...), nil
	}
	size := 4 << 10 // That for new ones, and what follows the list.
	for _, k := range list {
		size += len(k.raw) + len(",")
	}
	b = append(append(make([]byte, 0, len(b)+size), b...), '[')
	for i, k := range list {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = k.append(b); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// MarshalJSON implements json.Marshaler.
func (k kept[T]) MarshalJSON() ([]byte, error) {
	if k.raw != "" && !k.changed {
		return []byte(k.raw), nil
	}
	object, err := json.Marshal(k.value)
	if err != nil || k.raw == "" || k.plain {
		return object, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(k.raw), &fields); err != nil {
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
		if known.Anonymous { // Its fields are visible themselves.
			continue
		}
		name, _, _ := strings.Cut(known.Tag.Get("json"), ",")
		if strings.EqualFold(cmp.Or(name, known.Name), field) {
			return true
		}
	}
	return false
}
