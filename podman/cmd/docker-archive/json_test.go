package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
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

// --sha256 prints the digest of the bytes that were written.
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
	out, _ := succeeds(t, "list", "--format", "{{.Repository}}:{{.Tag}} {{.Name}} {{.Layers}} {{.HumanSize}} {{.Platforms}} {{len .ID}} {{len (slice .Digest 7)}}", path)
	assert.Regexp(t, `^app:1 docker.io/library/app:1 \d+ [\d.]+k?B linux/amd64 12 64\n$`, out)
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

// Programs get JSON also when a command fails.
func TestJSONOfFailures(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "s.tar")
	succeeds(t, "save", "-q", "-o", path, "oci:../../../testdata/oci:one=app:1")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"verify", filepath.Join(dir, "none.tar")}, "open " + filepath.Join(dir, "none.tar")},
		{[]string{"verify", "--key", filepath.Join(dir, "none.pub"), path}, "none.pub"},
		{[]string{"save", "-o", filepath.Join(dir, "n.tar"), "oci:" + filepath.Join(dir, "none") + ":x"}, "none"},
		{[]string{"save", "-o", filepath.Join(dir, "n.tar"), "dir:" + filepath.Join(dir, "none")}, "none"},
		{[]string{"save", "-o", path, "oci:../../../testdata/oci:one"}, "file exists"},
		{[]string{"save", "-o", filepath.Join(dir, "n.tar"), "--dry-run", "dir:" + filepath.Join(dir, "none")}, "none"},
		{[]string{"save", "-o", filepath.Join(dir, "n.tar"), "No:1"}, "invalid reference format"},
		{[]string{"add", path, "dir:" + filepath.Join(dir, "none")}, "none"},
		{[]string{"push", filepath.Join(dir, "none.tar"), reg.Address}, "open " + filepath.Join(dir, "none.tar")},
		{[]string{"push", "--retry-times", "0", path, "127.0.0.1:1/x"}, "127.0.0.1:1"},
	} {
		out, errOut, status := command(t, append(c.args, "--json")...)
		assert.NotZero(t, status, c.args)
		assert.Contains(t, errOut, c.want, c.args)
		var failed struct {
			OK     *bool
			Error  string
			Images []any
		}
		require.NoError(t, json.Unmarshal([]byte(out), &failed), "%s: %s", c.args, out)
		require.NotNil(t, failed.OK, c.args)
		assert.False(t, *failed.OK, c.args)
		assert.Contains(t, failed.Error, c.want, c.args)
		assert.Equal(t, c.args[0] == "verify", failed.Images == nil, c.args)
	}
	// An image that cannot be listed counts as not saved.
	out, _, status := command(t, "save", "--json", "--keep-going", "-o", filepath.Join(dir, "k.tar"), "oci:../../../testdata/oci:one=r.example/o:1", filepath.Join(dir, "none.tar"))
	assert.Equal(t, exitFailure, status)
	var saved savedJSON
	decode(t, out, &saved)
	require.Len(t, saved.Images, 2, out)
	assert.False(t, saved.OK)
	assert.Contains(t, saved.Images[1].Error, "none.tar")
}

// All keys of --json are written in one way.
func TestJSONKeys(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	path := filepath.Join(t.TempDir(), "s.tar")
	results := map[string]string{}
	run := func(args ...string) {
		out, _, _ := command(t, append(args, "--json")...)
		results[strings.Join(args, " ")] = out
	}
	run("save", "--dry-run", "-o", path, "oci:../../../testdata/oci:one=app:1")
	run("save", "-o", path, "oci:../../../testdata/oci:one=app:1")
	run("push", "--tls-verify=false", path, reg.Address)
	run("push", "--retry-times", "0", path, "127.0.0.1:1")
	run("verify", path)
	run("list", path)
	run("layers", path)
	run("files", path)
	for args, out := range results {
		var v any
		require.NoError(t, json.Unmarshal([]byte(out), &v), args)
		for _, key := range regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(out, -1) {
			assert.Equal(t, strings.ToLower(key[1][:1]), key[1][:1], "%s: %s", args, key[1])
		}
	}
	var planned savedJSON
	decode(t, results["save --dry-run -o "+path+" oci:../../../testdata/oci:one=app:1"], &planned)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, info.Size(), *planned.Size)
}

// json is a format as it is one of docker's and podman's.
func TestFormatJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.tar")
	succeeds(t, "save", "-q", "-o", path, "oci:../../../testdata/oci:one=app:1")
	listed, _ := succeeds(t, "list", "--json", path)
	out, _ := succeeds(t, "list", "--format", "json", path)
	assert.Equal(t, listed, out)
	inspected, _ := succeeds(t, "inspect", path)
	out, _ = succeeds(t, "inspect", "--format", "json", path)
	assert.Equal(t, inspected, out)
	config, _ := succeeds(t, "inspect", "--config", path)
	out, _ = succeeds(t, "inspect", "--config", "--format=json", path)
	assert.Equal(t, config, out)
}

// The error for an unknown field lists the existing ones.
func TestFormatFields(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.tar")
	succeeds(t, "save", "-q", "-o", path, "oci:../../../testdata/oci:one=app:1")
	_, errOut, status := command(t, "inspect", "--format", "{{.Config}}", path)
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "--format: there is no field Config; there are Name, Tag, Digest, RepoTags, Created,")
	assert.Contains(t, errOut, "hint: The config is printed by docker-archive inspect --config.")
	_, errOut, _ = command(t, "list", "--format", "{{.Image}}", path)
	assert.Contains(t, errOut, "there is no field Image; there are ")
	assert.Contains(t, errOut, " Names,")
	assert.Contains(t, errOut, " Repository,")
	assert.NotContains(t, errOut, "main.")
}
