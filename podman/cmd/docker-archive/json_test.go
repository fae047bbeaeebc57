package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// decode parses JSON that must have no fields besides those of v, as documented.
func decode(t *testing.T, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(v), text)
}

func TestSaveJSON(t *testing.T) {
	for _, name := range []string{"s.tar", "s.tar.zst", "s.tgz"} {
		path, digests := filepath.Join(t.TempDir(), name), filepath.Join(t.TempDir(), "digests")
		out, _ := succeeds(t, "save", "--json", "--sha256", "--digestfile", digests, "--all-platforms", "-o", path,
			"oci:../../../testdata/oci:multi=r.example/m:1", "oci:../../../testdata/oci:one=r.example/o:1")
		var saved savedJSON
		decode(t, out, &saved)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(data)), saved.SHA256)
		assert.Equal(t, path, saved.Archive)
		require.Len(t, saved.Images, 2)
		first := saved.Images[0]
		assert.Equal(t, "r.example/m:1", first.Name)
		assert.Equal(t, []string{"r.example/m:1"}, first.Names)
		assert.Equal(t, []string{"linux/amd64", "linux/arm64/v8"}, first.Platforms)
		assert.Contains(t, first.Source, "oci:../../../testdata/oci:multi")
		assert.Positive(t, first.Size)
		lines, err := os.ReadFile(digests)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("r.example/m:1 %s\nr.example/o:1 %s\n", first.Digest, saved.Images[1].Digest), string(lines))

		out, _ = succeeds(t, "list", "-q", path)
		assert.Equal(t, "r.example/m:1\nr.example/o:1\n", out)
	}
}

func TestSaveJSONOfFailures(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.tar")
	out, _, status := command(t, "save", "--json", "--keep-going", "-o", path, "oci:../../../testdata/oci:one=r.example/o:1", "dir:/nonexistent=r.example/n:1")
	assert.Equal(t, exitFailure, status)
	var saved savedJSON
	decode(t, out, &saved)
	require.Len(t, saved.Images, 2)
	assert.Empty(t, saved.Images[0].Error)
	assert.Contains(t, saved.Images[1].Error, "/nonexistent")
	assert.Empty(t, saved.Images[1].Platforms)
}

// The digest of what goes to a pipe is that of what arrives.
func TestSHA256(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.tar")
	out, _ := succeeds(t, "save", "-q", "--sha256", "-o", path, "oci:../../../testdata/oci:one=r.example/o:1")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%x  %s\n", sha256.Sum256(data), path), out)
}

func TestListFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.tar")
	succeeds(t, "save", "-q", "-o", path, "oci:../../../testdata/oci:one=app:1")
	out, _ := succeeds(t, "list", "--format", "{{.Repository}}:{{.Tag}} {{.Name}} {{.Layers}} {{.HumanSize}} {{.Platforms}} {{len .ID}}", path)
	assert.Regexp(t, `^app:1 docker.io/library/app:1 \d+ [\d.]+k?B linux/amd64 12\n$`, out)
	out, _ = succeeds(t, "list", "--format", "{{.ID}}", cases+"one-of-two-broken.tar")
	assert.Equal(t, 2, strings.Count(out, "\n"), "%q", out)
	_, _, status := command(t, "list", "-q", "--json", path)
	assert.Equal(t, exitUsage, status)
	_, errOut, status := command(t, "list", "--format", "{{.None}}", path)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "--format")
}

func TestVerifyJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.tar")
	succeeds(t, "save", "-q", "-o", path, "oci:../../../testdata/oci:one=app:1")
	out, _ := succeeds(t, "verify", "--json", path)
	var verified verifiedJSON
	decode(t, out, &verified)
	assert.Equal(t, verifiedJSON{Archive: path, OK: true, Problems: []string{}, Notes: []string{}}, verified)

	out, errOut, status := command(t, "verify", "--json", cases+"one-of-two-broken.tar")
	assert.Equal(t, exitFailure, status)
	assert.Empty(t, errOut)
	decode(t, out, &verified)
	assert.False(t, verified.OK)
	assert.NotEmpty(t, verified.Problems)
}
