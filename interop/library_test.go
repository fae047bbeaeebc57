//go:build interop

package interop

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// A copied is an image of the test layout and the names it is to have in an archive.
type copied struct {
	ref   string
	names []string
}

// writeArchive writes several images into one new archive in dir, with the library.
func writeArchive(t *testing.T, dir string, images ...copied) string {
	t.Helper()
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, policy.Destroy()) }()

	path := filepath.Join(dir, "several.tar")
	writer, err := dockerarchive.NewWriter(nil, path)
	require.NoError(t, err)
	for _, image := range images {
		from, err := layout.NewReference(testLayout, image.ref)
		require.NoError(t, err)
		names := parseNames(t, image.names)
		to, err := writer.NewReference(names[0])
		require.NoError(t, err)
		_, err = copy.Image(t.Context(), policy, to, from, &copy.Options{
			DestinationCtx: &types.SystemContext{DockerArchiveAdditionalTags: names[1:]},
		})
		require.NoError(t, err, "copying %s to %v", image.ref, image.names)
	}
	require.NoError(t, writer.Close())
	return path
}

func parseNames(t *testing.T, names []string) []reference.NamedTagged {
	t.Helper()
	var parsed []reference.NamedTagged
	for _, name := range names {
		named, err := reference.ParseNormalizedNamed(name)
		require.NoError(t, err, name)
		tagged, ok := named.(reference.NamedTagged)
		require.True(t, ok, "%s has no tag", name)
		parsed = append(parsed, tagged)
	}
	return parsed
}

// TestIdenticalToPodman writes an archive of several images and compares it, byte for byte, with
// that of podman save --multi-image-archive.
func TestIdenticalToPodman(t *testing.T) {
	dir := t.TempDir()
	podman := podmanIn(t, daemonDir(t))
	podman.run(t, "load", "--input", skopeoArchive(t, dir, "one", writtenOne, writtenAgain))
	podman.run(t, "load", "--input", skopeoArchive(t, dir, "two", writtenTwo))
	theirs := filepath.Join(dir, "theirs.tar")
	podman.run(t, "save", "--multi-image-archive", "--output", theirs, writtenOne, writtenAgain, writtenTwo)
	ours := writeArchive(t, dir,
		copied{ref: "one", names: []string{writtenOne, writtenAgain}},
		copied{ref: "two", names: []string{writtenTwo}})
	requireSameFile(t, theirs, ours)
}
