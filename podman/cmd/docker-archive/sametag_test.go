package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Two images whose names end in the same tag have the same reference name in index.json:
// the second is written, with a warning.
func TestSameTagOfTwoRepositories(t *testing.T) {
	dir := t.TempDir()
	a, b, same := filepath.Join(dir, "a.tar"), filepath.Join(dir, "b.tar"), filepath.Join(dir, "same.tar")
	for path, args := range map[string][]string{a: {"quay.io/a/app:1", images + "one"}, b: {"ghcr.io/b/app:1", images + "two"}, same: {"example.com/c:1", images + "one"}} {
		_, errOut, status := runSave(t, "", "-o", path, "--name", args[0], args[1])
		require.Zero(t, status, errOut)
		assert.NotContains(t, errOut, "same tag")
	}
	for name, args := range map[string][]string{
		"save":         {"save", "-o", "NEW", "image-archive:" + a, "image-archive:" + b},
		"save, a plan": {"save", "-o", "NEW", "--dry-run", "image-archive:" + a, "image-archive:" + b},
		"add":          {"add", "OLD", "image-archive:" + b},
		"copy":         {"copy", "image-archive:" + b, "image-archive:OLD:ghcr.io/b/app:1"},
		"make":         {"make", "--base", "image-archive:" + b, "--label", "a=b", "image-archive:OLD:ghcr.io/b/app:1"},
	} {
		t.Run(name, func(t *testing.T) {
			old := filepath.Join(t.TempDir(), "old.tar")
			_, errOut, status := runSave(t, "", "-o", old, "image-archive:"+a)
			require.Zero(t, status, errOut)
			for i := range args {
				args[i] = strings.NewReplacer("OLD", old, "NEW", old+".new").Replace(args[i])
			}
			_, errOut, status = runCommand(t, append([]string{"--insecure-policy"}, args...)...)
			require.Zero(t, status, errOut)
			assert.Equal(t, 1, strings.Count(errOut, "quay.io/a/app:1 and ghcr.io/b/app:1 have the same tag"), errOut)
		})
	}
	for name, args := range map[string][]string{
		"one image":     {"image-archive:" + a, "image-archive:" + same},
		"docker layout": {"--layout", "docker", "image-archive:" + a, "image-archive:" + b},
	} {
		_, errOut, status := runSave(t, "", append([]string{"-o", filepath.Join(t.TempDir(), "x.tar")}, args...)...)
		require.Zero(t, status, errOut)
		assert.NotContains(t, errOut, "same tag", name)
	}
}
