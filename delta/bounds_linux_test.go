//go:build !race

package delta

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gauge measures what the process has in memory, and in unnamed files of a directory, whenever
// a caller asks whether it has ended: it is a context, which everything that is made or applied
// asks.
type gauge struct {
	context.Context
	t            testing.TB
	dir          string
	asked        int
	memory, disk int64 // the most so far, in bytes
}

// Err implements context.Context. context.Cause calls it, or Value, first.
func (g *gauge) Err() error {
	g.ask()
	return g.Context.Err()
}

// Value implements context.Context.
func (g *gauge) Value(key any) any {
	g.ask()
	return g.Context.Value(key)
}

func (g *gauge) ask() {
	if g.asked++; g.asked%4 == 0 {
		g.measure()
	}
}

func (g *gauge) measure() {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	g.memory = max(g.memory, int64(stats.HeapInuse+stats.StackInuse))
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(g.t, err)
	var disk int64
	for _, fd := range fds {
		path := filepath.Join("/proc/self/fd", fd.Name())
		if target, err := os.Readlink(path); err != nil || !strings.HasPrefix(target, g.dir+"/") {
			continue // Closed meanwhile, or of somebody else.
		}
		if info, err := os.Stat(path); err == nil {
			disk += info.Size()
		}
	}
	g.disk = max(g.disk, disk)
}

// fileOf returns a file with data, which is in no memory.
func fileOf(t testing.TB, data []byte) *io.SectionReader {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blob")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.Close()) })
	return io.NewSectionReader(f, 0, int64(len(data)))
}

// A delta of blobs of any size and compression is made and applied in 96 MB of memory, with
// temporary files of at most three times the texts.
func TestBounds(t *testing.T) {
	const maxMemory = 96_000_000
	size := rounds(t, 12, 200) << 20
	for _, kind := range []string{"plain", "go", "pgzip", "unknown", "zstd", "huffman"} {
		t.Run(kind, func(t *testing.T) {
			old, target, texts := boundedPair(t, kind, size)
			debug.FreeOSMemory()
			debug.FreeOSMemory() // Pools keep compressors over one collection.
			g := &gauge{Context: t.Context(), t: t, dir: t.TempDir()}
			file, err := os.Create(filepath.Join(t.TempDir(), "delta"))
			require.NoError(t, err)
			defer file.Close()
			_, err = Make(g, file, target, []Source{old}, &MakeOptions{TempDir: g.dir})
			require.NoError(t, err)
			assert.Less(t, g.memory, int64(maxMemory), "making")
			assert.LessOrEqual(t, g.disk, 3*texts, "making")
			assert.Greater(t, g.asked, 100)
			t.Logf("made: %d MB of memory, %d MB of temporary files for texts of %d MB", g.memory/1e6, g.disk/1e6, texts/1e6)

			info, err := file.Stat()
			require.NoError(t, err)
			d, err := Open(file, info.Size())
			require.NoError(t, err)
			debug.FreeOSMemory()
			g = &gauge{Context: t.Context(), t: t, dir: t.TempDir()}
			require.NoError(t, d.Apply(g, io.Discard, []Source{old}, &ApplyOptions{TempDir: g.dir}))
			assert.Less(t, g.memory, int64(maxMemory), "applying")
			assert.LessOrEqual(t, g.disk, 3*texts, "applying")
			t.Logf("applied: %d MB of memory, %d MB of temporary files", g.memory/1e6, g.disk/1e6)
		})
	}
}

// boundedPair returns blobs in files, and the size of their texts in bytes.
func boundedPair(t testing.TB, kind string, size int) (old, target *io.SectionReader, texts int64) {
	t.Helper()
	r := rand.New(rand.NewPCG(9, 9))
	oldText := someText(r, size)
	text := oldText
	for range 4 {
		text = changed(r, text)
	}
	level := -1
	if name, ok := strings.CutPrefix(kind, "huffman"); ok { // Every byte is a token.
		kind, level = "klauspost"+name, -2
	}
	return fileOf(t, compress(t, kind, level, oldText)), fileOf(t, compress(t, kind, level, text)), int64(len(oldText) + len(text))
}
