package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// These bound what a document may ask of its reader.
const (
	// MaxDocument bounds one config or manifest in bytes, as registries do: a
	// longer one could not have come from one, nor be pushed to one.
	MaxDocument = 4 << 20

	// maxDepth bounds how deeply the values of a document may be nested. Those
	// that are read here need 6 levels.
	maxDepth = 64

	// maxObjects and maxValues bound what a document becomes in memory: "{}," is
	// three bytes in a file and 200 as a descriptor.
	maxObjects = 1 << 17
	maxValues  = 1 << 20
)

// Decode unmarshals a document that an archive has under name, unless it would
// take up far more memory than its length lets one expect, or has an invalid
// digest: all digests in v are valid after it. The error wraps errdef.ErrDamaged
// or ErrLimit.
func Decode(name string, data []byte, v any) error {
	if err := CheckDocument(data); err != nil {
		return fmt.Errorf("decoding %s: %w", printable.String(name), err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return errdef.Errorf(errdef.ErrDamaged, "decoding %s: %w", printable.String(name), err)
	}
	if err := checkDigests(reflect.ValueOf(v)); err != nil {
		return fmt.Errorf("decoding %s: %w", printable.String(name), err)
	}
	return nil
}

// CheckDocument refuses a document that would take up far more memory than its
// length lets one expect. It does not care whether it is valid.
func CheckDocument(data []byte) error {
	depth, objects, values := 0, 0, 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = endOfText(data, i+1)
		case '{', '[':
			depth++
			values++
			if data[i] == '{' {
				objects++
			}
		case ',':
			values++
		case '}', ']':
			depth--
		case 0: // JSON has none; most binary data has one early.
			return errdef.Errorf(errdef.ErrDamaged, "not a JSON document")
		}
		if depth > maxDepth {
			return fmt.Errorf("%w: nested more than %d deep", errdef.ErrLimit, maxDepth)
		}
		if objects > maxObjects || values > maxValues {
			return fmt.Errorf("%w: more than %d objects or %d values", errdef.ErrLimit, maxObjects, maxValues)
		}
	}
	return nil
}

// endOfText returns where the quote is that ends a string whose text begins at i, the length of
// data or more if there is none.
func endOfText(data []byte, i int) int {
	if n := bytes.IndexByte(data[i:], '"'); n >= 0 && bytes.IndexByte(data[i:i+n], '\\') < 0 {
		return i + n
	}
	for ; i < len(data) && data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i
}
