//go:build interop && interopall

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRecipes runs the recipes of docs/works-with.md one after the other, as a reader types them, except
// BuildKit's, which TestBuildKit runs. registry.example has a signed image, inner.example is empty.
func TestRecipes(t *testing.T) {
	page, err := os.ReadFile("../docs/works-with.md")
	require.NoError(t, err)
	_, recipes, found := strings.Cut(string(page), "\n## Recipes\n")
	require.True(t, found)
	dir, bin, outer, inner := t.TempDir(), t.TempDir(), startRegistry(t), startRegistry(t)
	digest := recipeImage(t, dir, outer)
	for name, p := range map[string]program{
		"docker-archive": dockerArchive(t), "dive": built(t, "dive").withEnv("CI=true"),
		"syft":   built(t, "syft").withEnv("HOME="+dir, "SYFT_CHECK_FOR_APP_UPDATE=false"),
		"cosign": built(t, "cosign").withEnv("HOME="+dir, "COSIGN_PASSWORD="),
		"regctl": built(t, "regctl").withEnv("HOME="+dir).with("--host", "reg="+inner+",tls=disabled"),
	} {
		script := fmt.Sprintf("#!/bin/sh\n%s exec '%s' \"$@\"\n", strings.Join(p.env, " "), strings.Join(p.argv, "' '"))
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755))
	}
	run := 0
	for _, block := range regexp.MustCompile(`(?m)(?:^    .*\n)+`).FindAllString(recipes, -1) {
		if strings.Contains(block, "buildctl ") {
			continue
		}
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "app.tar")))
		if !strings.Contains(block, "save ") { // It goes on with the archive of the block before.
			recipe(t, dir, bin, "docker-archive save -q --all-platforms --referrers --tls-verify=false -o app.tar "+outer+"/app:1")
		}
		if line, rest, serves := strings.Cut(block, "\n"); serves && strings.Contains(line, "serve ") {
			recipe(t, dir, bin, "docker-archive save -q --tls-verify=false -o images.tar.zst "+outer+"/app:1")
			block = strings.ReplaceAll(rest, "127.0.0.1:5000", servedAt(t, filepath.Join(dir, "images.tar.zst")))
		}
		block = strings.NewReplacer("registry.example/", outer+"/", "inner.example/", inner+"/", "HEX", strings.TrimPrefix(digest, "sha256:")).Replace(block)
		out := recipe(t, dir, bin, block)
		if strings.Contains(block, "syft ") {
			assert.Contains(t, out, "bash", block)
		}
		run++
	}
	assert.Equal(t, 5, run)
	assert.Contains(t, built(t, "crane").run(t, "ls", "--insecure", inner+"/app"), "sha256-"+strings.TrimPrefix(digest, "sha256:")+".sig")
}

// recipeImage pushes an image with a package, signs it under the tag of a signature, and leaves the
// key's public half in dir as cosign.pub. It returns the image's digest.
func recipeImage(t *testing.T, dir, registry string) string {
	t.Helper()
	signer := cosigns(t)["cosign2"]
	crane := built(t, "crane")
	crane.run(t, "copy", "--insecure", packagedImage(t, registry), registry+"/app:1")
	digest := strings.TrimSpace(crane.run(t, "digest", "--insecure", registry+"/app:1"))
	signer.sign(t, registry+"/app@"+digest)
	key, err := os.ReadFile(signer.public)
	require.NoError(t, err)
	writeText(t, filepath.Join(dir, "cosign.pub"), string(key))
	return digest
}

// recipe runs lines in a directory, with another directory first in PATH, and returns their output.
func recipe(t *testing.T, dir, bin, lines string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", lines)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", lines, out)
	return string(out)
}
