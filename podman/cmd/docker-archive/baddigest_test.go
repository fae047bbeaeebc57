package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// A manifest with invalid digests crashes no command: it reports an error that says so, or
// takes the image from another document.
func TestBadDigestsInEveryCommand(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.tar")
	_, errOut, status := runSave(t, "", "-o", good, "--name", "example.com/good:1", images+"one")
	require.Zero(t, status, errOut)
	reg := imagetest.NewRegistry(t)
	commands := map[string][]string{
		"list":        {"list", "BAD"},
		"inspect":     {"inspect", "BAD:NAME"},
		"verify":      {"verify", "BAD"},
		"files":       {"files", "BAD:NAME"},
		"layers":      {"layers", "BAD:NAME"},
		"copy":        {"copy", "image-archive:BAD:NAME", "image-archive:NEW"},
		"copy all":    {"copy", "--all", "image-archive:BAD:NAME", "image-archive:NEW"},
		"copy layers": {"copy", "docker-archive:BAD:NAME", "docker-archive:NEW"},
		"save":        {"save", "-o", "NEW", "image-archive:BAD"},
		"save layers": {"save", "--layout", "docker", "-o", "NEW", "docker-archive:BAD:NAME"},
		"add to it":   {"add", "BAD", "image-archive:" + good},
		"add it":      {"add", "GOOD", "image-archive:BAD:NAME"},
		"compact":     {"compact", "BAD"},
		"push":        {"push", "--tls-verify=false", "BAD", reg.Address + "/app"},
		"make":        {"make", "--base", "image-archive:BAD:NAME", "--label", "a=b", "-o", "NEW"},
		"remove":      {"remove", "BAD", "NAME"},
		"copy inside": {"copy", "image-archive:BAD:NAME", "image-archive:BAD:example.com/other:1"},
	}
	for file, names := range map[string][]string{
		"digest-empty.tar": {"example.com/a:1"},
		"remove-panic.tar": {"e.com/a:1", "e.com/m:1"},
	} {
		for _, name := range names {
			for what, args := range commands {
				t.Run(file+"/"+name+"/"+what, func(t *testing.T) {
					dir := t.TempDir()
					bad, to := filepath.Join(dir, "bad.tar"), filepath.Join(dir, "good.tar")
					require.NoError(t, os.WriteFile(bad, imagetest.ReadFile(t, cases+file), 0o600))
					require.NoError(t, os.WriteFile(to, imagetest.ReadFile(t, good), 0o600))
					var replaced []string
					for _, arg := range args {
						replaced = append(replaced, strings.NewReplacer("BAD", bad, "GOOD", to, "NEW", filepath.Join(dir, "new.tar"), "NAME", name).Replace(arg))
					}
					out, errOut, status := command(t, replaced...)
					if what == "verify" {
						assert.Equal(t, exitFailure, status)
						assert.Contains(t, out, `digest ""`)
					}
					if status != 0 {
						assert.Equal(t, exitFailure, status, errOut)
						assert.NotEmpty(t, errOut)
						return
					}
					if _, err := os.Stat(filepath.Join(dir, "new.tar")); err == nil {
						succeeds(t, "verify", filepath.Join(dir, "new.tar"))
					}
				})
			}
		}
	}
}
