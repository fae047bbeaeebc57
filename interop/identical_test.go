//go:build interop

package interop

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// TestIdenticalToSkopeo copies images with the command under test and with Debian's skopeo, and
// compares the two archives byte for byte.
func TestIdenticalToSkopeo(t *testing.T) {
	dir := t.TempDir()
	plain := uncompressedImage(t, dir, "one")
	const (
		oci     = "oci:" + testLayout
		name    = "example.com/interop/one:v1"
		hubName = "docker.io/library/interop:latest"
	)
	tests := []struct {
		name  string
		from  string
		other string // where skopeo copies from, if it cannot from the same
		names []string
	}{
		{"one name", oci + ":one", "", []string{name}},
		{"additional names", oci + ":one", "", []string{name, hubName, "example.com/interop/one:v1.1"}},
		{"no name", oci + ":one", "", nil},
		{"two layers", oci + ":two", "", []string{name}},
		{"uncompressed layers", plain, "", []string{name}},
		{"one of several platforms", oci + ":multi", "", []string{name}},
		// skopeo writes no zstd images into docker archives; two has the same files and config.
		{"zstd layers", oci + ":zstd", oci + ":two", []string{name}},
		{"static program", "oci:" + helloLayout(t, dir) + ":hello", "", []string{name}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.other == "" {
				test.other = test.from
			}
			dir := t.TempDir()
			ours, theirs := filepath.Join(dir, "ours.tar"), filepath.Join(dir, "theirs.tar")
			dockerArchive(t).run(t, copyArgs(ours, test.from, test.names...)...)
			debian(t, "skopeo").run(t, copyArgs(theirs, test.other, test.names...)...)
			requireSameFile(t, theirs, ours)
		})
	}
}

// requireSameFile requires two files to hold the same bytes, and says where they differ first.
func requireSameFile(t *testing.T, wantPath, gotPath string) {
	t.Helper()
	want, err := os.ReadFile(wantPath)
	require.NoError(t, err)
	got, err := os.ReadFile(gotPath)
	require.NoError(t, err)
	if bytes.Equal(want, got) {
		return
	}
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	const block = 512
	t.Fatalf("the archives (%d and %d bytes) differ from byte %d, in block %d\nwant %q\ngot  %q",
		len(want), len(got), at, at/block, excerpt(want, at), excerpt(got, at))
}

func excerpt(content []byte, at int) []byte {
	return content[at:min(len(content), at+64)]
}

// uncompressedImage copies the image ref of the test layout, with its layers decompressed, into a
// new directory below dir, and returns the reference of that. (skopeo compresses layers in OCI
// layouts.)
func uncompressedImage(t *testing.T, dir, ref string) string {
	t.Helper()
	plain := filepath.Join(dir, "plain")
	debian(t, "skopeo").run(t, "copy", "--insecure-policy", "--dest-decompress", "oci:"+testLayout+":"+ref, "dir:"+plain)

	var manifest imagespec.Manifest
	readJSON(t, filepath.Join(plain, "manifest.json"), &manifest)
	var layers []digest.Digest
	for _, layer := range manifest.Layers {
		layers = append(layers, layer.Digest)
	}
	require.Equal(t, layoutImage(t, testLayout, ref).diffIDs, layers, "layers of %s are not uncompressed", plain)
	return "dir:" + plain
}
