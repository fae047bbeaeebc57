package loadable

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// Go's encoding/json, with which most clients read, takes "Manifests" for "manifests" and
// the last of several equal keys, and mixes some kinds of values. Others read JSON by its
// letters. So every key in a table of contents must be unique, and spelt right.

// ociKeys are the keys of indexes and descriptors; dockerKeys are those of manifest.json.
var (
	ociKeys = []string{
		"schemaVersion", "mediaType", "artifactType", "manifests", "config", "layers", "fsLayers", "subject", "annotations",
		"digest", "size", "urls", "data", "platform", "os", "architecture", "variant", "os.version", "os.features",
	}
	dockerKeys = []string{"Config", "RepoTags", "Layers", "Parent", "LayerSources"}
)

// Unambiguous refuses a table of contents that has a key twice, or in other letters than
// the specification. A missing table is fine.
func Unambiguous(files *tarfile.Index, name string) error {
	if !files.Has(name) {
		return nil
	}
	data, err := files.ReadFile(name, maxTable)
	if err != nil {
		return err
	}
	return unambiguous(name, data)
}

// unambiguous is Unambiguous for an index that index.json leads to.
func (c *checker) unambiguous(d digest.Digest) error {
	data, err := c.Blob(d)
	if err != nil {
		return err
	}
	return unambiguous(d.String(), data)
}

// level is an object or an array on the way to a value.
type level struct {
	isObject, isMap bool // a map has keys of its own
	keys            map[string]bool
	key             string // of the next value
	hasKey          bool
	known           []string
}

func unambiguous(name string, data []byte) error {
	if err := image.Decode(name, data, new(any)); err != nil { // Decode has limits.
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data)) // It gives the keys as they are.
	var levels []*level
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return errdef.Errorf(errdef.ErrDamaged, "decoding %s: %w", printable.String(name), err)
		}
		var top *level
		if len(levels) > 0 {
			top = levels[len(levels)-1]
		}
		switch delim, isDelim := token.(json.Delim); {
		case delim == '}' || delim == ']':
			levels = levels[:len(levels)-1]
			continue
		case top != nil && top.isObject && !top.hasKey:
			if err := top.add(name, token.(string)); err != nil {
				return err
			}
			continue
		case isDelim:
			levels = append(levels, newLevel(name, delim, len(levels), top))
		}
		if top != nil {
			top.hasKey = false
		}
	}
}

func newLevel(name string, delim json.Delim, depth int, top *level) *level {
	l := &level{isObject: delim == '{', keys: map[string]bool{}, known: ociKeys}
	const itemDepth = 1 // in the array that manifest.json is
	switch {
	case name == repositoriesFile, top != nil && slices.Contains([]string{"annotations", "LayerSources"}, top.key):
		l.isMap = true
	case name == manifestJSON && depth <= itemDepth:
		l.known = dockerKeys
	}
	return l
}

// add notes a key of an object.
func (l *level) add(name, key string) error {
	l.key, l.hasKey = key, true
	if l.keys[key] {
		return errdef.Errorf(errdef.ErrDamaged, "%s has the key %q twice in one object: clients differ about which one they take", printable.String(name), key)
	}
	l.keys[key] = true
	if l.isMap || slices.Contains(l.known, key) {
		return nil
	}
	if i := slices.IndexFunc(l.known, func(known string) bool { return strings.EqualFold(known, key) }); i >= 0 {
		return errdef.Errorf(errdef.ErrDamaged, "%s has the key %q, which some clients take for %q", printable.String(name), key, l.known[i])
	}
	return nil
}
