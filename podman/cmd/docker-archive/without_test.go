package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An archive saved without another says so in every command, and is complete with it.
func TestSaveWithout(t *testing.T) {
	dir := t.TempDir()
	full, delta := filepath.Join(dir, "full.tar"), filepath.Join(dir, "delta.tar")
	run := func(status int, args ...string) (out, errOut string) {
		t.Helper()
		out, errOut, got := runCommand(t, append([]string{"--insecure-policy"}, args...)...)
		require.Equal(t, status, got, errOut)
		return out, errOut
	}
	run(0, "save", "-q", "-o", full, "--name", "app:1", images+"one")
	list, _ := run(0, "list", "--json", full)
	out, _ := run(0, "save", "-o", delta, "--without", full, "--name", "app:2", images+"one")
	assert.Contains(t, out, "left out:\n  3 layers, ")
	assert.Contains(t, out, " in full.tar\n", "not where it is on this machine")

	out, _ = run(exitLeftOut, "verify", delta)
	assert.Contains(t, out, "except for layers that are left out:\n  3 layers, ")
	out, _ = run(exitLeftOut, "verify", "-q", delta)
	assert.Empty(t, out)
	out, _ = run(exitLeftOut, "verify", "--json", delta)
	var verified verifiedJSON
	require.NoError(t, json.Unmarshal([]byte(out), &verified))
	assert.True(t, verified.OK)
	require.Len(t, verified.LeftOut, 3)
	assert.Equal(t, "full.tar", verified.LeftOut[0].Archive)
	out, _ = run(0, "list", delta)
	assert.Contains(t, out, "LEFT OUT:\n  3 layers, ")
	assert.NotContains(t, out, "broken")
	out, _ = run(0, "inspect", "--format", "{{json .LeftOut}}", delta)
	assert.Contains(t, out, verified.LeftOut[0].Digest.String())

	copied := filepath.Join(dir, "copied.tar")
	_, errOut := run(exitFailure, "save", "-o", copied, "image-archive:"+delta)
	assert.Contains(t, errOut, verified.LeftOut[0].Digest.String()+" is in full.tar")
	assert.Contains(t, errOut, "docker-archive add FULL.tar")
	assert.NoFileExists(t, copied)
	_, errOut = run(exitFailure, "copy", "image-archive:"+delta, "image-archive:"+copied)
	assert.Contains(t, errOut, " is in full.tar")

	run(0, "add", full, "image-archive:"+delta)
	run(0, "verify", full)
	out, _ = run(0, "list", "-q", full)
	assert.Equal(t, "docker.io/library/app:1\ndocker.io/library/app:2\n", out)

	// For a site that cannot send its archive, a list will do.
	require.NoError(t, os.Remove(delta))
	listed := filepath.Join(dir, "list.json")
	require.NoError(t, os.WriteFile(listed, []byte(list), 0o600))
	out, _ = run(0, "save", "--json", "-o", delta, "--without", listed, images+"one")
	var saved savedJSON
	require.NoError(t, json.Unmarshal([]byte(out), &saved))
	assert.Len(t, saved.Images[0].LeftOut, 3)
	out, errOut, status := runSave(t, verified.LeftOut[0].Digest.String()+"\n", "--dry-run", "--without", "-", images+"one")
	require.Zero(t, status, errOut)
	assert.Contains(t, out, "in standard input\n")
	out, _, _ = runSave(t, twoDigest, "-o", filepath.Join(dir, "all.tar"), "--without", "-", images+"one")
	assert.Contains(t, out, "nothing is left out")
}

func TestSaveWithoutUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"--without is for the others": {"--layout", "docker", "--without", "x", images + "one"},
		"standard input is read once": {"--without", "-", "--from-file", "-"},
	} {
		_, errOut, status := runSave(t, "", args...)
		assert.Equal(t, exitUsage, status)
		assert.Contains(t, errOut, want)
	}
	_, errOut, status := runSave(t, "", "--without", "../../go.mod", images+"one")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "--without: reading go.mod: ")
	_, errOut, status = runSave(t, "", "--without", "none.tar", images+"one")
	assert.Equal(t, exitFailure, status)
	assert.Contains(t, errOut, "--without: open none.tar: ")
}

func TestAddKeepUntagged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.tar")
	for _, args := range [][]string{
		{"save", "-q", "-o", path, "--name", "app:1", images + "one"},
		{"add", "--keep-untagged", "-q", "--name", "app:1", path, images + "two"},
	} {
		_, errOut, status := runCommand(t, append([]string{"--insecure-policy"}, args...)...)
		require.Zero(t, status, errOut)
	}
	out, _, _ := runCommand(t, "list", "-q", path)
	assert.Equal(t, "@0\ndocker.io/library/app:1\n", out)
	_, _, status := runCommand(t, "verify", path)
	assert.Zero(t, status)
}
