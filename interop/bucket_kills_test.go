//go:build interop && interopall

package interop

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestKillBucket kills save, add and compact 300 times while they write to a bucket. The object is always the old or the
// new one, and the next run aborts or lists each upload that is left.
func TestKillBucket(t *testing.T) {
	store := startVersitygw(t)
	dir := t.TempDir()
	command := store.command(t).withEnv("XDG_CACHE_HOME=" + filepath.Join(dir, "cache"))
	data := make([]byte, 30<<20)
	_, _ = rand.Read(data) // Never fails.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large"), data, 0o644))
	base, added := filepath.Join(dir, "base.tar"), filepath.Join(dir, "added.tar")
	command.run(t, "make", "-q", "--add", filepath.Join(dir, "large")+":/large", "--compress", "none", "--timestamp", "1", "-t", "base:1", "-o", base)
	command.run(t, "make", "-q", "--add", filepath.Join(dir, "large")+":/other", "--compress", "none", "--timestamp", "1", "-t", "added:1", "-o", added)

	path := store.path("a.tar")
	save := []string{"save", "--insecure-policy", "--force", "-o", path, base}
	add := []string{"add", "-q", "--insecure-policy", path, added}
	command.run(t, save...)
	saved := store.get(t, "a.tar")
	command.run(t, add...)
	grown := store.get(t, "a.tar")

	command.run(t, "remove", "-q", path, "base:1")
	holed, compact := store.get(t, "a.tar"), []string{"compact", "-q", "--insecure-policy", path}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "holed"), holed, 0o644))
	command.run(t, compact...)
	compacted := store.get(t, "a.tar")
	require.Less(t, len(compacted), len(holed))

	left, ended := 0, 0
	took := [3]time.Duration{time.Second, time.Second, time.Second} // that each command takes, as far as is known
	for n := range 300 {
		args, possible := save, [][]byte{saved, grown, holed, compacted}
		switch n % 3 {
		case 1:
			command.run(t, save...) // It ends what the kill before has left.
			args, possible = add, [][]byte{saved, grown}
		case 2:
			store.put(t, "a.tar", filepath.Join(dir, "holed"))
			args, possible = compact, [][]byte{holed, compacted}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(mathrand.Int64N(int64(took[n%3]*5/4))))
		start := time.Now()
		if _, err := both(ctx, command, args...); err == nil {
			ended, took[n%3] = ended+1, time.Since(start)
		}
		cancel()
		got := store.get(t, "a.tar")
		require.True(t, slices.ContainsFunc(possible, func(want []byte) bool { return slices.Equal(got, want) }), "after kill %d it is another object, of %d bytes", n, len(got))
		before := store.uploads(t)
		if left += len(before); len(before) == 0 {
			continue
		}
		said, err := both(t.Context(), command, save...)
		require.NoError(t, err, said)
		for _, id := range before {
			assert.Contains(t, said, id)
		}
		for _, id := range store.uploads(t) {
			command.run(t, "save", "-q", "--insecure-policy", "--force", "--abort-upload", id, "-o", path, base)
		}
		require.Empty(t, store.uploads(t))
	}
	t.Logf("300 kills, %d too late, %d uploads were left", ended, left)
}

// both runs a program until ctx kills it, and returns all that it prints.
func both(ctx context.Context, p program, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.argv[0], append(slices.Clone(p.argv[1:]), args...)...)
	cmd.Env = append(os.Environ(), p.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
