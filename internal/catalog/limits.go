package catalog

import (
	"encoding/json"
	"fmt"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// What the documents of an archive may ask of a reader.
const (
	// maxDocument bounds one config or manifest, as registries do: what is
	// longer could not have come from one, nor be pushed to one.
	maxDocument = 4 << 20

	// maxTableOfContents bounds manifest.json, index.json and repositories, which
	// speak of all images of an archive. At 130 bytes for a layer it is enough
	// for 3,000 images of 20 layers.
	maxTableOfContents = 8 << 20

	// maxDepth bounds how deeply the values of a document may be nested. The
	// documents that are read here need 6 levels.
	maxDepth = 64

	// maxObjects and maxValues bound what a document becomes in memory: "{}," is
	// three bytes in the archive and 200 as a descriptor.
	maxObjects = 1 << 17
	maxValues  = 1 << 20

	// maxIndexDepth is how deeply image indexes may be nested. The one that
	// index.json is counts as the first; the others hold platforms, and no tool
	// writes more than one of those within another.
	maxIndexDepth = 8

	// maxLegacyChain bounds the layers of an image without a config. Docker's own
	// limit is 125.
	maxLegacyChain = 1 << 10
)

// Decode unmarshals a document that an archive has under name, unless it would
// take up far more memory than its length lets one expect. The error wraps
// errdef.ErrDamaged or ErrLimit.
func Decode(name string, data []byte, v any) error {
	if err := checkDocument(data); err != nil {
		return fmt.Errorf("decoding %s: %w", name, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return errdef.Errorf(errdef.ErrDamaged, "decoding %s: %w", name, err)
	}
	return nil
}

// checkDocument refuses a document that would take up far more memory than its
// length lets one expect. It does not care whether it is valid.
func checkDocument(data []byte) error {
	depth, objects, values := 0, 0, 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
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
		case 0: // No part of JSON; of most binary data, one of the first bytes.
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
