package registries

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
)

func TestParseNamed(t *testing.T) {
	sum := "@sha256:" + strings.Repeat("a", 64)
	for name, host := range map[string]string{
		"[::1]:5000/app:1":           "[::1]:5000",
		"[::1]/team/app":             "[::1]",
		"[2001:db8::1]:5000/a" + sum: "[2001:db8::1]:5000",
		"[::ffff:1.2.3.4]/a:1" + sum: "[::ffff:1.2.3.4]",
		"r.example/app:1":            "r.example",
	} {
		named, err := ParseNamed(name)
		require.NoError(t, err)
		assert.Equal(t, name, named.String())
		assert.Equal(t, host, reference.Domain(named))
		assert.Equal(t, host+"/"+reference.Path(named), named.Name())
		again, err := reference.WithTag(reference.TrimNamed(named), "2")
		require.NoError(t, err)
		assert.Equal(t, named.Name()+":2", again.String())
	}
	for _, name := range []string{"[::1]", "[::1]5000/a", "[::1]:x/a", "[::1]:5000/A", "[::1]:5000/", "[::z]/a", "[::1", "[1.2.3.4]/a", "[fe80::1%eth0]/a", "[]/a", "app:1"} {
		_, err := ParseNamed(name)
		assert.Error(t, err, name)
	}
}
