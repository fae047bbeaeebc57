package image

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLeftOut(t *testing.T) {
	a, b, c := digest.Digest("sha256:"+hexOf("a")), digest.Digest("sha256:"+hexOf("b")), digest.Digest("sha256:"+hexOf("c"))
	l := LeftOut{
		c: {Archive: "old.tar"}, a: {Archive: "old.tar", Delta: &Delta{DeltaType, c, 7, []DeltaBase{{"old.tar", b, c, true}, {"other.tar", a, b, false}}}},
		b: {Archive: `<other>".tar`},
	}
	value := l.String()
	assert.Equal(t, value, l.String())
	read, err := ParseLeftOut(value)
	require.NoError(t, err)
	assert.Equal(t, l, read)
	assert.Empty(t, LeftOut{}.String())

	read, err = ParseLeftOut("")
	require.NoError(t, err)
	assert.Nil(t, read)
	read, err = ParseLeftOut(`[{"archive":"1","blobs":["` + a.String() + `"],"more":1},{"archive":"2","blobs":["` + a.String() + `"]},{}]`)
	require.NoError(t, err)
	assert.Equal(t, LeftOut{a: {Archive: "1"}}, read, "the first that has it")
	for _, bad := range []string{"x", "{}", `[{"blobs":["sha256:x"]}]`, `[{"blobs":[""]}]`, `[{"blobs":7}]`, `[{"archive":"1","blobs":["` + a.String() + `"],"deltas":[{"layer":"` + a.String() + `","digest":"sha256:x"}]}]`, `[] []`} {
		_, err := ParseLeftOut(bad)
		require.Error(t, err, bad)
	}
}

// hexOf returns 64 equal digits.
func hexOf(digit string) string { return strings.Repeat(digit, 64) }
