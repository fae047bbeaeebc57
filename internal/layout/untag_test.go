package layout

import (
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An image that loses its last name is removed, or stays without a name and with all its other
// fields.
func TestRemoveKeeps(t *testing.T) {
	const listed = `{"mediaType":"m","digest":"sha256:` + someHex + `","size":7,"annotations":{"a":"b"}}`
	named := func(name string) string {
		return `{"mediaType":"m","digest":"sha256:` + someHex + `","size":7,"annotations":{"a":"b","io.containerd.image.name":"` + name + `"},"novel":1}`
	}
	for _, c := range []struct{ before, after, manifest string }{
		{named("docker.io/library/old:1"), listed[:len(listed)-1] + `,"novel":1}`, `"RepoTags":[]`},
		{named("docker.io/library/old:1") + "," + named("docker.io/library/old:1"), listed[:len(listed)-1] + `,"novel":1}`, `"RepoTags":[]`},
		{named("docker.io/library/old:1") + "," + named("other:1"), named("other:1"), `"RepoTags":[]`},
		{listed + "," + named("docker.io/library/old:1"), listed, `"RepoTags":[]`},
	} {
		old := oldArchive{v1.ImageIndexFile: `{"schemaVersion":2,"manifests":[` + c.before + `]}`, manifestFile: oldManifest, repositoriesFile: oldRepositories}
		table, err := OCI{Metadata: plainMetadata()}.ReadTable(old)
		require.NoError(t, err)
		require.NoError(t, table.Remove(t.Context(), []string{"docker.io/library/old:1"}, true))
		tail := tailOf(t, table)
		assert.JSONEq(t, `{"schemaVersion":2,"manifests":[`+c.after+`]}`, tail[v1.ImageIndexFile])
		assert.Contains(t, tail[manifestFile], c.manifest)
		assert.Contains(t, tail[manifestFile], `"Novel":2`)
	}
	docker, err := Docker{Metadata: plainMetadata()}.ReadTable(oldArchive{manifestFile: oldManifest, repositoriesFile: oldRepositories})
	require.NoError(t, err)
	require.NoError(t, docker.Remove(t.Context(), []string{"docker.io/library/old:1"}, true))
	assert.Contains(t, tailOf(t, docker)[manifestFile], `"RepoTags":[]`)
	assert.False(t, docker.Empty())
}
