package image_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// wrapped has what it holds where reflection must not call methods.
type wrapped[T any] struct{ value T }

// UnmarshalJSON implements json.Unmarshaler.
func (w *wrapped[T]) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &w.value) }

// A decoded value has no digest whose methods panic, at any depth.
func TestDecodeChecksDigests(t *testing.T) {
	type optional struct{ Parent digest.Digest }
	for _, bad := range []string{"", "x", ":", "sha256", "sha256:", "sha256:x", "sha256:../../etc/passwd", "md5:d41d8cd98f00b204e9800998ecf8427e", aDigest + "0", "SHA256:" + aDigest[7:]} {
		for name, c := range map[string]struct {
			document string
			v        any
		}{
			"a descriptor":           {`{"digest":"` + bad + `"}`, &v1.Descriptor{}},
			"a pointer":              {`{"config":{"digest":"` + bad + `"}}`, &image.Fields{}},
			"a list":                 {`{"layers":[{"digest":"` + aDigest + `"},{"digest":"` + bad + `"}]}`, &image.Fields{}},
			"a list of digests":      {`["` + bad + `"]`, &[]digest.Digest{}},
			"a key":                  {`{"` + bad + `":1}`, &map[digest.Digest]int{}},
			"a value":                {`{"a":{"digest":"` + bad + `"}}`, &map[string]v1.Descriptor{}},
			"what is not exported":   {`[{"digest":"` + bad + `"}]`, &[]*wrapped[v1.Descriptor]{}},
			"what decodes by itself": {`{"digest":"` + bad + `"}`, &wrapped[v1.Descriptor]{}},
		} {
			err := image.Decode("x", []byte(c.document), c.v)
			require.ErrorIs(t, err, errdef.ErrDamaged, "%s: %q", name, bad)
			require.ErrorContains(t, err, "decoding x: digest ", name)
		}
		if bad != "" {
			require.Error(t, image.Decode("x", []byte(`{"parent":"`+bad+`"}`), &optional{}))
		}
	}
	for _, good := range []any{&optional{}, &image.Fields{}, &map[digest.Digest]int{}, new(any)} {
		require.NoError(t, image.Decode("x", []byte(`{}`), good))
		require.NoError(t, image.Decode("x", []byte(`null`), good))
	}
	var fields image.Fields
	require.NoError(t, image.Decode("x", []byte(`{"layers":[{"digest":"`+aDigest+`"}]}`), &fields))
	assert.Equal(t, digest.Digest(aDigest), fields.Layers[0].Digest)
}

// TestCheckDigestAsParse changes every byte of digests, and requires that those are refused
// that digest.Parse refuses.
func TestCheckDigestAsParse(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	all := []string{"", ":", "sha256", "sha256:", "sha256:" + sum, "sha256:" + sum[1:], "sha256:" + sum + "0", "sha512:" + sum + sum, "sha512:" + sum, "SHA256:" + sum, "md5:" + sum[:32]}
	for i := range "sha256:" + sum {
		for b := range 256 {
			changed := []byte("sha256:" + sum)
			changed[i] = byte(b)
			all = append(all, string(changed))
		}
	}
	for _, s := range all {
		_, want := digest.Parse(s)
		if !utf8.ValidString(s) {
			continue // JSON would have another character for it.
		}
		document, err := json.Marshal(map[string]string{"digest": s})
		require.NoError(t, err)
		got := image.Decode("test", document, &v1.Descriptor{})
		require.Equal(t, want == nil, got == nil, "%q: %v, %v", s, want, got)
	}
}
