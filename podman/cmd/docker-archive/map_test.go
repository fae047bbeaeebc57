package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"
)

// The longest start of a name counts, and only whole parts of it do.
func TestMapNames(t *testing.T) {
	for _, c := range []struct{ below, name, want string }{
		{"", "localhost/a:1", "example.com/a:1"},
		{"", "localhost:5000/a:1", "localhost:5000/a:1"},
		{"", "quay.io/team/a:1", "example.com/team/a:1"},
		{"", "quay.io/team/a:2", "example.com/b:2"},
		{"", "quay.io/teams/a:2", "quay.io/teams/a:2"},
		{"reg:5000/p", "quay.io/team/a:2", "reg:5000/p/example.com/b:2"},
		{"reg:5000/p", "localhost/a:1", "reg:5000/p/example.com/a:1"},
	} {
		m, err := parseMap([]string{"localhost=example.com", "quay.io/team=example.com/team", "quay.io/team/a:2=example.com/b:2"}, c.below)
		require.NoError(t, err)
		name, err := reference.ParseNormalizedNamed(c.name)
		require.NoError(t, err)
		got, err := m.name(name)
		require.NoError(t, err)
		assert.Equal(t, c.want, got.String())
	}
}
