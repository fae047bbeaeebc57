package sources

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	_ "github.com/dockerarchive/dockerarchive/podman/register"
)

// A password goes to one registry or server. Buckets do not count: they have credentials of their own.
func TestHosts(t *testing.T) {
	sys := &types.SystemContext{DockerAuthConfig: &types.DockerAuthConfig{Username: "me", Password: "secret"}}
	for _, c := range []struct {
		images []string
		fails  bool
	}{
		{[]string{"docker://one.example/app:1", "docker-archive:s3://bucket/x.tar", "docker-archive:s3://other/a%3Ab.tar:app:1"}, false},
		{[]string{"docker://one.example/app:1", "docker-archive:/x.tar", "docker-archive:https://one.example/x.tar"}, false},
		{[]string{"docker://one.example/app:1", "docker-archive:https://two.example/x.tar"}, true},
	} {
		var hosts Hosts
		var err error
		for _, image := range c.images {
			ref, parseErr := alltransports.ParseImageName(image)
			require.NoError(t, parseErr)
			if err == nil {
				err = hosts.AddReference(sys, ref)
			}
		}
		assert.Equal(t, c.fails, err != nil, c.images)
	}
}
