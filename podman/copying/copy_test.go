package copying_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/archive"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/leaktest"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// copyTo copies an image to an archive, whose path it returns.
func copyTo(t testing.TB, transport types.ImageTransport, src types.ImageReference, options *copy.Options) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar")
	ref, err := transport.ParseReference(path + ":form:1")
	require.NoError(t, err)
	if options == nil {
		options = &copy.Options{}
	}
	options.DestinationCtx = imagetest.Isolated()
	_, err = copying.Copy(t.Context(), imagetest.Trusting(t), ref, src, &copying.CopyOptions{Options: *options})
	return path, err
}

// Every form of image makes the same archive as containers/image makes from the form
// that it can read, with sizes known or not, in every way of copying.
func TestCopyForms(t *testing.T) {
	for name, form := range imagetest.Forms(t) {
		want := imagetest.Sum(imagetest.Theirs(t, imagetest.Named{Source: form.Theirs, Name: "form:1"}))
		for _, hide := range []bool{false, true} {
			form.Image.HideSizes = hide
			path, err := copyTo(t, dockerarchive.Transport, form.Image, &copy.Options{DownloadForeignLayers: true})
			require.NoError(t, err, name)
			assert.Equal(t, want, imagetest.Sum(imagetest.ReadFile(t, path)), "%s, sizes hidden: %v", name, hide)
		}
	}
}

// A wrong size of a blob in a manifest is refused in the layout that keeps the
// manifest, and nothing is left.
func TestCopyRefusesWrongSizes(t *testing.T) {
	for name, spoil := range map[string]func(m *imagetest.Image){
		"small layer":  func(m *imagetest.Image) { m.Manifest.Layers[0].Size-- },
		"large layer":  func(m *imagetest.Image) { m.Manifest.Layers[1].Size += 512 },
		"small config": func(m *imagetest.Image) { m.Manifest.Config.Size-- },
		"large config": func(m *imagetest.Image) { m.Manifest.Config.Size++ },
	} {
		m := imagetest.NewImage(t, "sizes", imagetest.Gzip(1, 3000), imagetest.Plain(2, 3000))
		spoil(m)
		m.Encode(t)
		for _, src := range []types.ImageReference{m, inLayout(t, m)} {
			path, err := copyTo(t, dockerarchive.ImageTransport, src, nil)
			require.ErrorContains(t, err, " bytes", name)
			assert.Empty(t, imagetest.Leftovers(t, filepath.Dir(path)), name)
		}
	}
}

// inLayout returns the image in an OCI layout on disk.
func inLayout(t testing.TB, m *imagetest.Image) types.ImageReference {
	t.Helper()
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	require.NoError(t, os.MkdirAll(blobs, 0o700))
	for _, data := range append([][]byte{m.Raw, m.Config}, blobsOf(m)...) {
		require.NoError(t, os.WriteFile(filepath.Join(blobs, digest.FromBytes(data).Encoded()), data, 0o600))
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{
		map[string]any{"mediaType": m.MIMEType, "digest": m.Digest(), "size": len(m.Raw)},
	}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600))
	ref, err := ocilayout.NewReference(dir, "")
	require.NoError(t, err)
	return ref
}

func blobsOf(m *imagetest.Image) (blobs [][]byte) {
	for _, l := range m.Layers {
		blobs = append(blobs, l.Blob)
	}
	return blobs
}

// References of the transport that containers/image has built in name the same
// archives.
func TestCopyToAndFromTheirReferences(t *testing.T) {
	m := imagetest.NewImage(t, "theirs", imagetest.Zstd(1, 3000)) // They cannot write it.
	dir := t.TempDir()
	path := filepath.Join(dir, "archive.tar")
	ref, err := archive.ParseReference(path + ":form:1")
	require.NoError(t, err)
	options := &copy.Options{SourceCtx: imagetest.Isolated(), DestinationCtx: imagetest.Isolated()}
	_, err = copying.Copy(t.Context(), imagetest.Trusting(t), ref, m, &copying.CopyOptions{Options: *options})
	require.NoError(t, err)
	want := imagetest.Theirs(t, imagetest.Named{Source: m.InGzip(t), Name: "form:1"})
	assert.Equal(t, imagetest.Sum(want), imagetest.Sum(imagetest.ReadFile(t, path)))

	again, err := archive.ParseReference(filepath.Join(dir, "again.tar") + ":form:1")
	require.NoError(t, err)
	_, err = copying.Copy(t.Context(), imagetest.Trusting(t), again, ref, &copying.CopyOptions{Options: *options})
	require.NoError(t, err)
	assert.Equal(t, imagetest.Sum(want), imagetest.Sum(imagetest.ReadFile(t, filepath.Join(dir, "again.tar"))))
}

// Copy copies one platform of an index, the chosen ones, or all.
func TestCopyOfAnIndex(t *testing.T) {
	multi := imagetest.Saved(t, "multi")
	sys := imagetest.Isolated()
	sys.OSChoice, sys.ArchitectureChoice = "linux", "arm64"
	path, err := copyTo(t, dockerarchive.Transport, multi, &copy.Options{SourceCtx: sys})
	require.NoError(t, err)
	assert.Len(t, imagetest.Items(t, imagetest.ReadFile(t, path)), 1)
	path, err = copyTo(t, dockerarchive.ImageTransport, multi, &copy.Options{SourceCtx: sys, ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	contents, _ := imagetest.Files(t, imagetest.ReadFile(t, path))
	assert.Contains(t, contents, "blobs/sha256/"+manifestDigest(t, multi).Encoded())

	sys.ArchitectureChoice = "s390x"
	path, err = copyTo(t, dockerarchive.ImageTransport, multi, &copy.Options{SourceCtx: sys})
	var missing *errdef.NoPlatformError
	require.ErrorAs(t, err, &missing)
	assert.Equal(t, "linux/s390x", missing.Wanted)
	assert.Empty(t, imagetest.Leftovers(t, filepath.Dir(path)))
}

// To other transports Copy is copy.Image.
func TestCopyToALayout(t *testing.T) {
	ref, err := ocilayout.NewReference(t.TempDir(), "copy")
	require.NoError(t, err)
	got, err := copying.Copy(t.Context(), imagetest.Trusting(t), ref, imagetest.Saved(t, "one"), &copying.CopyOptions{Options: copy.Options{DestinationCtx: imagetest.Isolated()}})
	require.NoError(t, err)
	assert.Equal(t, manifestDigest(t, imagetest.Saved(t, "one")), digest.FromBytes(got))
}

// A copy that fails leaves nothing, and the next one succeeds.
func TestCopyFails(t *testing.T) {
	m := imagetest.Small(t)
	dir := t.TempDir()
	ref, err := dockerarchive.NewReference(filepath.Join(dir, "archive.tar"), nil)
	require.NoError(t, err)
	options := &copy.Options{DestinationCtx: imagetest.Isolated()}
	for _, p := range m.Positions(20) {
		m.Disturb = imagetest.BrokenAt(p.Blob, p.At, 100, errTest)
		_, err := copying.Copy(t.Context(), imagetest.Trusting(t), ref, m, &copying.CopyOptions{Options: *options})
		require.ErrorIs(t, err, errTest, "%v", p)
		require.Empty(t, imagetest.Leftovers(t, dir), "%v", p)
	}
	_, err = copying.Copy(t.Context(), imagetest.Rejecting(t), ref, m, &copying.CopyOptions{Options: *options})
	require.ErrorContains(t, err, "rejected")
	m.Disturb = nil
	_, err = copying.Copy(t.Context(), imagetest.Trusting(t), ref, m, &copying.CopyOptions{Options: *options})
	require.NoError(t, err)
}

// Law 8: Copy ends with its context although the source hangs.
func TestCopyFromAHangingSource(t *testing.T) {
	m := imagetest.NewImage(t, "hang", imagetest.Gzip(1, 200_000))
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	m.Disturb = func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
		if d != m.Layers[0].Digest {
			return r
		}
		return io.MultiReader(bytes.NewReader(m.Layers[0].Blob[:100]), imagetest.ReaderFunc(func([]byte) (int, error) {
			cancel()
			<-release
			return 0, io.ErrUnexpectedEOF
		}))
	}
	dir := t.TempDir()
	ref, err := dockerarchive.NewReference(filepath.Join(dir, "archive.tar"), nil)
	require.NoError(t, err)
	_, err = copying.Copy(ctx, imagetest.Trusting(t), ref, m, &copying.CopyOptions{Options: copy.Options{DestinationCtx: imagetest.Isolated()}})
	close(release)
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, imagetest.Leftovers(t, dir))
}
