//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLoadPodman loads images with docker-archive into podman's storage, from archives of both
// layouts, and counts the bytes that it reads of them.
func TestLoadPodman(t *testing.T) {
	layout, images := thinLayout(t, t.TempDir())
	for _, transport := range []string{"image-archive", "docker-archive"} {
		t.Run(transport, func(t *testing.T) {
			dir := daemonDir(t)
			podman := podmanIn(t, dir)
			storage := "containers-storage:[vfs@" + filepath.Join(dir, "root") + "+" + filepath.Join(dir, "run") + "]"
			load := func(n int) int64 {
				t.Helper()
				img := images[n]
				want := layoutImage(t, layout, img.name)
				output, read := dockerArchive(t).reading(t, img.archive(t, layout, transport), "load", "--insecure-policy", "--to", storage)
				assert.Equal(t, img.name+" "+want.config.String(), strings.TrimSpace(output))
				id := podman.run(t, "image", "inspect", "--format", "sha256:{{.Id}}", img.name)
				assert.Equal(t, want.config.String(), strings.TrimSpace(id))
				return read - 64<<10 // The end of an archive, where a list of its entries may be, is read at once.
			}
			within(t, "empty", load(0), sum(images[0].sizes(transport)))
			within(t, "base there", load(1), images[1].sizes(transport)[2])
			within(t, "all there", load(1), 0)
		})
	}
}

// readLine matches strace's lines for a call that has returned a number, for one that has begun,
// and for the end of that.
var readLine = regexp.MustCompile(`^(\d+) +(<\.\.\. )?\w+(?:\(\d+<(.*?)>| resumed>).*?( <unfinished \.\.\.>|= (\d+))$`)

// reading runs the program with a file as its last argument, and returns how many bytes of that
// it has read.
func (p program) reading(t *testing.T, path string, args ...string) (output string, read int64) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	strace := debian(t, "strace").with("-f", "-y", "-o", log, "-e", "trace=read,readv,pread64,preadv,sendfile,splice,copy_file_range").with(p.argv...)
	output = strace.run(t, append(args, path)...)
	data, err := os.ReadFile(log)
	require.NoError(t, err)
	begun := map[string]string{} // the file that a thread is reading
	for line := range strings.Lines(string(data)) {
		m := readLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		thread, resumed, file, unfinished, count := m[1], m[2] != "", m[3], m[4] == " <unfinished ...>", m[5]
		if resumed {
			file = begun[thread]
		}
		if begun[thread] = file; unfinished || file != path {
			continue
		}
		n, err := strconv.ParseInt(count, 10, 64)
		require.NoError(t, err, line)
		read += n
	}
	return output, read
}
