//go:build interop

package interop

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// helloOutput is the output of helloLayout's image.
const helloOutput = "hello from an archive"

// helloLayout writes an OCI layout below dir whose image "hello" runs a static program.
func helloLayout(t *testing.T, dir string) string {
	t.Helper()
	layout := filepath.Join(dir, "hello-layout")
	require.NoError(t, os.MkdirAll(filepath.Join(layout, imagespec.ImageBlobsDir, "sha256"), 0o755))
	layer, diffID := helloLayer(t, dir)
	config := jsonBlob(t, layout, imagespec.MediaTypeImageConfig, imagespec.Image{
		Platform: imagespec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH},
		Config:   imagespec.ImageConfig{Cmd: []string{"/hello"}},
		RootFS:   imagespec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
	})
	manifest := jsonBlob(t, layout, imagespec.MediaTypeImageManifest, imagespec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: imagespec.MediaTypeImageManifest,
		Config:    config,
		Layers:    []imagespec.Descriptor{writeBlob(t, layout, imagespec.MediaTypeImageLayerGzip, layer)},
	})
	manifest.Annotations = map[string]string{imagespec.AnnotationRefName: "hello"}
	writeJSON(t, filepath.Join(layout, imagespec.ImageIndexFile), imagespec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: imagespec.MediaTypeImageIndex,
		Manifests: []imagespec.Descriptor{manifest},
	})
	writeJSON(t, filepath.Join(layout, imagespec.ImageLayoutFile), imagespec.ImageLayout{
		Version: imagespec.ImageLayoutVersion,
	})
	return layout
}

// helloLayer builds the program and returns a compressed layer that holds it, and its diff ID.
func helloLayer(t *testing.T, dir string) ([]byte, digest.Digest) {
	t.Helper()
	source := filepath.Join(dir, "hello.go")
	text := "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"" + helloOutput + "\\n\") }\n"
	require.NoError(t, os.WriteFile(source, []byte(text), 0o644))
	binary := filepath.Join(dir, "hello")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "go build: %s", output)
	program, err := os.ReadFile(binary)
	require.NoError(t, err)

	var plain, compressed bytes.Buffer
	archive := tar.NewWriter(&plain)
	require.NoError(t, archive.WriteHeader(&tar.Header{Name: "hello", Mode: 0o755, Size: int64(len(program))}))
	_, err = archive.Write(program)
	require.NoError(t, err)
	require.NoError(t, archive.Close())
	compressor := gzip.NewWriter(&compressed)
	_, err = compressor.Write(plain.Bytes())
	require.NoError(t, err)
	require.NoError(t, compressor.Close())
	return compressed.Bytes(), digest.FromBytes(plain.Bytes())
}

func jsonBlob(t *testing.T, layout, mediaType string, value any) imagespec.Descriptor {
	t.Helper()
	content, err := json.Marshal(value)
	require.NoError(t, err)
	return writeBlob(t, layout, mediaType, content)
}

func writeBlob(t *testing.T, layout, mediaType string, content []byte) imagespec.Descriptor {
	t.Helper()
	descriptor := imagespec.Descriptor{
		MediaType: mediaType,
		Digest:    digest.FromBytes(content),
		Size:      int64(len(content)),
	}
	require.NoError(t, os.WriteFile(blobPath(layout, descriptor.Digest), content, 0o644))
	return descriptor
}

func writeJSON(t *testing.T, path string, value any) {
	t.Helper()
	content, err := json.Marshal(value)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content, 0o644))
}
