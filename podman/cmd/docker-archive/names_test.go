package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Every command that takes an archive takes it in every form that it has elsewhere,
// and a file's name comes first.
func TestFormsOfAnArchive(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile(cases + "free-ref-name.tar")
	require.NoError(t, err)
	path := filepath.Join(dir, "app-09:30.tar")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	for _, archive := range []string{path, "docker-archive:" + path, "image-archive:" + path, "oci-archive:" + path, "docker-archive:" + cases + "free-ref-name.tar"} {
		for _, args := range [][]string{{"list", archive}, {"inspect", archive}, {"inspect", archive + ":V1.0_RC"}, {"verify", archive}} {
			_, err := run(t, args...)
			require.NoError(t, err, args)
		}
	}
	layout := imagetest.Testdata(t, "oci")
	for _, dir := range []string{layout, "oci:" + layout} {
		for _, args := range [][]string{{"list", dir}, {"inspect", dir + ":one"}, {"verify", dir}} {
			out, err := run(t, args...)
			require.NoError(t, err, args)
			assert.NotEmpty(t, out, args)
		}
	}
}

// A name is listed and saved as the archive's author wrote it.
func TestNamesAsWritten(t *testing.T) {
	for file, name := range map[string]string{
		"digest-name.tar":   "docker.io/library/busybox@sha256:45d2602b344571424277f0ae5515e160520a245712357743d45b1e1e3095c07e",
		"free-ref-name.tar": "V1.0_RC",
		"tag-only.tar":      "1.0",
	} {
		out, err := run(t, "list", cases+file)
		require.NoError(t, err)
		assert.Contains(t, out, "\n"+name+" ", file)
		assert.NotContains(t, out, "latest", file)
		path := filepath.Join(t.TempDir(), "saved.tar")
		_, errOut, status := runSave(t, "", "-q", "-o", path, "--all-platforms", "docker-archive:"+cases+file)
		require.Zero(t, status, errOut)
		again, err := run(t, "list", path)
		require.NoError(t, err)
		assert.Equal(t, out, again, file)
	}
}

// An archive as a source without a name means all of its images.
func TestSaveMergesArchives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "saved.tar")
	_, errOut, status := runSave(t, "", "-q", "-o", path, "docker-archive:"+archives+"podman-multi.tar", "docker-archive:"+cases+"free-ref-name.tar", "oci:../../../testdata/oci")
	require.Zero(t, status, errOut)
	out, err := run(t, "list", path)
	require.NoError(t, err)
	for _, name := range []string{"127.0.0.1:5111/tiny/one:v1", "127.0.0.1:5111/tiny/one:again", "127.0.0.1:5111/tiny/two:v1", "V1.0_RC", "one", "two", "zstd", "multi"} {
		assert.Contains(t, out, "\n"+name+" ")
	}
	report, err := run(t, "verify", path)
	require.NoError(t, err, report)
}

// Two images of one name and no image at all are problems that verify tells.
func TestVerifyTellsWhatIsWrong(t *testing.T) {
	for file, want := range map[string]string{
		"stale-manifest-json.tar":     "docker.io/library/x:1: manifest.json has the name x:1 for another image",
		"gzip-diff-id.tar":            "app:1: its config has sha256:60bc1713d3d76630ab5fb9612c844af567e40b952325841f1d5324544631c195 for the diff ID of layer 0, which is the digest of",
		"moby25.0.0-two-versions.tar": "docker.io/library/app:1: the manifest lists the layers in another order than the config",
		"one-of-two-broken.tar":       "docker.io/library/one:v1: the archive was saved without the manifest",
		"kaniko-null.tar":             "",
	} {
		out, err := run(t, "verify", cases+file)
		require.Error(t, err, file)
		assert.Contains(t, out, want)
		assert.NotContains(t, out, "damaged")
	}
	for file, want := range map[string]string{
		"partial-arm64.tar":            "note: docker.io/library/m:v1: the archive was saved without the manifest for linux/amd64",
		"nondistributable-present.tar": ": OK (",
		"sha512.tar":                   ": OK (",
		"same-name-per-arch.tar":       ": OK (",
		"config-octet-stream.tar":      ": OK (",
		"created-u002b.tar":            ": OK (",
	} {
		out, err := run(t, "verify", cases+file)
		require.NoError(t, err, file)
		assert.Contains(t, out, want, file)
	}
}
