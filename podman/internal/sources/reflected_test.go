package sources

import (
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/directory"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
)

// library returns the version of containers/image.
func library(t *testing.T) string {
	t.Helper()
	mod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	version := regexp.MustCompile(`go\.podman\.io/image/v5 v\S+`).Find(mod)
	require.NotEmpty(t, version)
	return string(version)
}

// answering returns the source of a registry that answers requests for blobs as told.
func answering(t *testing.T, answer http.HandlerFunc) (types.ImageSource, imgspecv1.Descriptor) {
	t.Helper()
	reg := imagetest.NewRegistry(t)
	img := imagetest.NewImage(t, "a", imagetest.Gzip(1, 5000))
	ref := reg.Push(t, "a:latest", img)
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		answer(w, r)
		return true
	})
	src, err := ref.NewImageSource(t.Context(), imagetest.RegistryContext(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, src.Close()) })
	return src, img.Manifest.Layers[0]
}

// Methods that are called by reflection, and types that are known by their names, are as in
// the version of the library that this was written for. If not, copies from registries are
// slower: this test shows it.
func TestContainersImage(t *testing.T) {
	version := library(t)
	t.Run("GetSignaturesWithFormat", func(t *testing.T) {
		src, _ := answering(t, http.NotFound)
		method := reflect.ValueOf(src).MethodByName("GetSignaturesWithFormat")
		require.True(t, method.IsValid() && isSignatureGetter(method.Type()), "%s has no GetSignaturesWithFormat as reflected.go calls it", version)
		assert.True(t, OnlySimpleSignatures(t.Context(), src, []*digest.Digest{nil}), version)
	})
	t.Run("SimpleSigning", func(t *testing.T) {
		dir := t.TempDir()
		ref, err := directory.NewReference(dir)
		require.NoError(t, err)
		require.NoError(t, imagetest.Copy(t, ref, imagetest.Saved(t, "one"), nil))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "signature-1"), []byte("\x00simple-signing\nx"), 0o600))
		src, err := ref.NewImageSource(t.Context(), nil)
		require.NoError(t, err)
		defer src.Close() // It is only read.
		assert.True(t, OnlySimpleSignatures(t.Context(), src, []*digest.Digest{nil}), "%s calls simple signatures otherwise than reflected.go", version)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "signature-1"), []byte("\x00sigstore-json\n{}"), 0o600))
		assert.False(t, OnlySimpleSignatures(t.Context(), src, []*digest.Digest{nil}), "%s hides sigstore signatures", version)
	})
}
