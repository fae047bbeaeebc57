package imagetest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/docker/reference"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// Testdata returns the path of something in the directory testdata of the
// repository, wherever in it the test is run.
func Testdata(t testing.TB, elem ...string) string {
	t.Helper()
	dir, err := findTestdata()
	require.NoError(t, err)
	return filepath.Join(append([]string{dir}, elem...)...)
}

// MustTestdata is Testdata for examples. It panics if there is none.
func MustTestdata(elem ...string) string {
	dir, err := findTestdata()
	must(err)
	return filepath.Join(append([]string{dir}, elem...)...)
}

// findTestdata walks up from the working directory, which for a test is that of
// its package.
func findTestdata() (string, error) {
	const deep = 16
	dir := "testdata"
	for range deep {
		if _, err := os.Stat(filepath.Join(dir, "oci", "index.json")); err == nil {
			return dir, nil
		}
		dir = filepath.Join("..", dir)
	}
	return "", errors.New("there is no testdata/oci above the working directory")
}

// Saved returns one of the images in testdata/oci.
func Saved(t testing.TB, name string) types.ImageReference {
	t.Helper()
	ref, err := ocilayout.NewReference(Testdata(t, "oci"), name)
	require.NoError(t, err)
	return ref
}

// SavedBlob returns a blob in testdata/oci.
func SavedBlob(t testing.TB, d digest.Digest) []byte {
	t.Helper()
	return ReadFile(t, Testdata(t, "oci", "blobs", d.Algorithm().String(), d.Encoded()))
}

// Tagged parses a name, and adds the tag latest if it has none; "" is nil.
func Tagged(t testing.TB, name string) reference.NamedTagged {
	t.Helper()
	if name == "" {
		return nil
	}
	named, err := reference.ParseNormalizedNamed(name)
	require.NoError(t, err)
	return reference.TagNameOnly(named).(reference.NamedTagged)
}

// ReadFile returns the content of a file.
func ReadFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// WriteFile writes a new file, and returns its path.
func WriteFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}
