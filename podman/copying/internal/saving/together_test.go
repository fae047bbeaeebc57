package saving

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
)

// Names of one image that follow one another are those of one Wanted, and names stay in their order.
func TestTogether(t *testing.T) {
	var images []selecting.Wanted
	for _, c := range []struct{ source, name, free string }{
		{"@0", "a:1", ""}, {"@0", "b:1", ""}, {"@0", "c:1", ""}, {"@1", "d:1", ""}, {"@1", "", "free"}, {"@1", "e:1", ""}, {"@2", "", ""}, {"@3", "", "other"}, {"@3", "", "free"}, {"@3", "f:1", ""}, {"@3", "g:1", ""},
	} {
		source, err := dockerarchive.ImageTransport.ParseReference("x.tar:" + c.source)
		require.NoError(t, err)
		img := selecting.Wanted{Source: source, FreeName: c.free}
		if c.name != "" {
			img.Name, err = reference.ParseNormalizedNamed(c.name)
			require.NoError(t, err)
		}
		images = append(images, img)
	}
	var before, after []string
	for _, img := range images {
		before = append(before, img.AllNames()...)
	}
	joined := together(images)
	for _, img := range joined {
		after = append(after, img.AllNames()...)
	}
	assert.Equal(t, before, after)
	assert.Len(t, joined, 8)
	assert.Equal(t, []string{"docker.io/library/a:1", "docker.io/library/b:1", "docker.io/library/c:1"}, joined[0].AllNames())
}
