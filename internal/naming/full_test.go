package naming_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/naming"
)

// checkFull compares SplitFull with the grammar of references.
func checkFull(t *testing.T, name string) bool {
	t.Helper()
	repository, tag, ok := naming.SplitFull(name)
	if !ok {
		return false
	}
	for _, parse := range []func(string) (reference.Reference, error){
		reference.Parse, func(s string) (reference.Reference, error) { return reference.ParseNormalizedNamed(s) },
	} {
		ref, err := parse(name)
		require.NoError(t, err, name)
		named, ok := ref.(reference.NamedTagged)
		require.True(t, ok, name)
		require.Equal(t, name, reference.TagNameOnly(named).String())
		require.Equal(t, []string{named.Name(), named.Tag()}, []string{repository, tag}, name)
		_, digested := ref.(reference.Digested)
		require.False(t, digested, name)
	}
	return true
}

func FuzzSplitFull(f *testing.F) {
	for _, name := range []string{
		"example.com/app:1", "docker.io/alpine:3", "docker.io/library/alpine:3", "index.docker.io/library/a:1", "docker.io:443/a:1", "docker.io.:1/a:1", "EXAMPLE.com/a:1", "localhost:5000/a:1", "localhost/a:1", "a.b:00/c:1",
		"a.b/c__d:1", "a.b/c--d:1", "a.b/c-_d:1", "a.b/c/_d:1", "a-.b/c:1", "a.b-/c:1", "a.b/c:1@sha256:" + strings.Repeat("0a", 32), "a.b/" + strings.Repeat("0a", 32) + ":1", "[::1]/a:1", "a.b/c:" + strings.Repeat("v", 128),
		"a.b/" + strings.Repeat("c", 249) + ":1", "a.b/" + strings.Repeat("c", 255) + ":1", "a.b/" + strings.Repeat("c", 256) + ":1", "a.b:65536/c:1", "a_b.c/d:1", "a.b//c:1", "a.b/c:1:2", "a.b/c:é", "1.2.3.4/a:_", "a..b/c:1",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) { checkFull(t, name) })
}

func TestSplitFull(t *testing.T) {
	long := strings.Repeat("a", 128)
	for _, name := range []string{"example.com/app:1", "docker.io/library/alpine:3.20", "localhost.localdomain:5000/a/b-c_d.e:v1.0-RC_2", "1.2.3.4:80/a:_", "example.com/a:" + long, "example.com/0:0"} {
		assert.True(t, checkFull(t, name), name)
	}
	for _, name := range []string{
		"", "alpine", "alpine:3", "docker.io/alpine:3", "index.docker.io/library/alpine:3", "example.com/app", "example.com/app@sha256:" + long, "localhost/app:1", "EXAMPLE.com/a:1", "[::1]:5000/a:1",
		"example.com/App:1", "example.com/a:-", "example.com/a:" + long + "a", "example.com//a:1", "example.com/a/:1", "example.com/a..b:1", "example.com:/a:1", "example.com:x/a:1", "example.com/a:", "example.com/:1", ".com/a:1",
		"example.com/bücher:1", "example.com/" + long + "/" + long + ":1", "example.com/a b:1", "example.com/a:1\n", "example.com/" + long[:64],
	} {
		assert.False(t, checkFull(t, name), name)
	}
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "b0", "Z", ".", "..", "-", "_", "__", "/", ":", "@", "docker.io", "index.", "localhost", "5000", "example.com", "library", strings.Repeat("0a", 32), "é", "\n", "+"}
	full := 0
	for range 20000 {
		var name strings.Builder
		name.WriteString([]string{"", "example.com/", "docker.io/", "a.b:1/"}[random.IntN(4)])
		for range 1 + random.IntN(6) {
			name.WriteString(pieces[random.IntN(len(pieces))])
		}
		name.WriteString([]string{"", ":1", ":v-1"}[random.IntN(3)])
		if checkFull(t, name.String()) {
			full++
		}
	}
	assert.Greater(t, full, 100)
}
