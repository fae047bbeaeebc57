package image

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	// The algorithms that digests may use.
	_ "crypto/sha512"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// Most methods of digest.Digest panic for a string that is no digest. Such a string never
// becomes one here: JSON documents are read by Decode, which looks at every digest in them,
// and everything else by digest.Parse or ParseDigest. A test finds conversions of other kinds.

// ParseDigest is digest.Parse, without a regular expression for digests of the usual kind: a
// table of contents has thousands.
func ParseDigest(s string) (digest.Digest, error) {
	if isSHA256(s) {
		return digest.Digest(s), nil
	}
	return digest.Parse(s)
}

// SHA256 returns the digest that a hash is.
func SHA256(sum [sha256.Size]byte) digest.Digest {
	return digest.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

var (
	digestType     = reflect.TypeFor[digest.Digest]()
	descriptorType = reflect.TypeFor[v1.Descriptor]()
)

// checkDigests fails if a value that was decoded from JSON holds a digest that is none. A
// field of a struct may be empty, except for the digest of a descriptor.
func checkDigests(v reflect.Value) error {
	if !holdsDigests(v.Type()) {
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		return checkDigest(v.String())
	case reflect.Pointer:
		if !v.IsNil() {
			return checkDigests(v.Elem())
		}
	case reflect.Struct:
		return checkFields(v)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := checkDigests(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			if err := checkDigests(entries.Key()); err != nil {
				return err
			}
			if err := checkDigests(entries.Value()); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkFields(v reflect.Value) error {
	for i := range v.NumField() {
		field := v.Field(i)
		if field.Type() == digestType && field.Len() == 0 && v.Type() != descriptorType {
			continue
		}
		if err := checkDigests(field); err != nil {
			return err
		}
	}
	return nil
}

func checkDigest(s string) error {
	if isSHA256(s) {
		return nil
	}
	if _, err := digest.Parse(s); err != nil {
		const enough = 256 // For an error.
		return errdef.Errorf(errdef.ErrDamaged, "digest %q: %w", s[:min(len(s), enough)], err)
	}
	return nil
}

// isSHA256 reports whether s is a digest of the usual kind. digest.Parse would find that out
// with a regular expression, which takes longer than decoding the descriptor around it.
func isSHA256(s string) bool {
	encoded, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(encoded) == 64 && strings.Trim(encoded, "0123456789abcdef") == ""
}

// holders remembers which types hold digests: a document may have 100,000 descriptors.
var holders sync.Map // of bool, by reflect.Type

// holdsDigests reports whether a value of a type can lead to a digest.
func holdsDigests(t reflect.Type) bool {
	if known, ok := holders.Load(t); ok {
		return known.(bool)
	}
	holds := leadsToDigest(t, nil)
	holders.Store(t, holds)
	return holds
}

// leadsToDigest is holdsDigests for a type that is a part of others.
func leadsToDigest(t reflect.Type, within []reflect.Type) bool {
	if slices.Contains(within, t) {
		return false
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return leadsToDigest(t.Elem(), within)
	case reflect.Map:
		return leadsToDigest(t.Key(), within) || leadsToDigest(t.Elem(), within)
	case reflect.Struct:
		for i := range t.NumField() {
			if leadsToDigest(t.Field(i).Type, within) {
				return true
			}
		}
	}
	return t == digestType
}
