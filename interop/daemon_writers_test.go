//go:build interop

package interop

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func writeDebianDocker(t *testing.T, dir string) []archive {
	t.Helper()
	docker := startDockerd(t, debian(t, "dockerd"), startDebianContainerd(t), false)
	return dockerSave(t, docker.docker, dir)
}

func writeBuiltDocker(containerdStore bool) func(*testing.T, string) []archive {
	return func(t *testing.T, dir string) []archive {
		t.Helper()
		docker := startDockerd(t, built(t, "dockerd"), startBuiltContainerd(t), containerdStore)
		archives := dockerSave(t, docker.docker, dir)
		if containerdStore {
			// Only this store keeps an index and the images of all its platforms.
			docker.docker.run(t, "load", "--input", regctlExport(t, dir, "multi", writtenMulti))
			platforms := filepath.Join(dir, "platforms.tar")
			docker.docker.run(t, "save", "--output", platforms, writtenMulti)
			archives = append(archives, archive{
				name: "save platforms", path: platforms, images: []expectation{expectPlatforms(t, writtenMulti)},
			})
		}
		return archives
	}
}

// dockerSave loads the images one and two, and saves them one by one, together, and without a name.
func dockerSave(t *testing.T, docker program, dir string) []archive {
	t.Helper()
	docker.run(t, "load", "--input", skopeoArchive(t, dir, "one", writtenOne, writtenAgain))
	docker.run(t, "load", "--input", skopeoArchive(t, dir, "two", writtenTwo))
	one, several, unnamed := filepath.Join(dir, "one.tar"), filepath.Join(dir, "several.tar"), filepath.Join(dir, "unnamed.tar")
	docker.run(t, "save", "--output", one, writtenOne)
	docker.run(t, "save", "--output", several, writtenOne, writtenAgain, writtenTwo)
	id := docker.run(t, "image", "inspect", "--format", "{{.Id}}", writtenOne)
	docker.run(t, "save", "--output", unnamed, id[:len(id)-1])
	return []archive{
		{name: "save", path: one, images: []expectation{expectOne(t, writtenOne)}},
		{
			name: "save several", path: several,
			images: []expectation{expectOne(t, writtenOne, writtenAgain), expectTwo(t, writtenTwo)},
		},
		{name: "save by ID", path: unnamed, images: []expectation{expectOne(t)}},
	}
}

func writeCtr(start func(*testing.T) containerd) func(*testing.T, string) []archive {
	return func(t *testing.T, dir string) []archive {
		t.Helper()
		ctr := start(t).ctr
		ctr.run(t, "images", "import", skopeoArchive(t, dir, "one", writtenOne))
		ctr.run(t, "images", "import", "--all-platforms", "--no-unpack", regctlExport(t, dir, "multi", writtenMulti))
		one, all := filepath.Join(dir, "one.tar"), filepath.Join(dir, "all.tar")
		exportWhole(t, ctr, one, writtenOne)
		exportWhole(t, ctr, all, "--all-platforms", writtenOne, writtenMulti)
		return []archive{
			{name: "export", path: one, images: []expectation{expectOne(t, writtenOne)}},
			{
				name: "export all platforms", path: all,
				images: []expectation{expectPlatforms(t, writtenMulti), expectOne(t, writtenOne)},
			},
		}
	}
}

// exportWhole exports images with ctr, again if the file is cut off. On a busy machine, ctr of
// containerd 2.4 sometimes ends with success before the last bytes are in the file; the tests
// need whole files.
func exportWhole(t *testing.T, ctr program, path string, args ...string) {
	t.Helper()
	flags, images := args, args
	for i, arg := range args {
		if !strings.HasPrefix(arg, "--") {
			flags, images = args[:i], args[i:]
			break
		}
	}
	for range 5 {
		ctr.run(t, slices.Concat([]string{"images", "export"}, flags, []string{path}, images)...)
		if isWholeTar(t, path) {
			return
		}
		require.NoError(t, os.Remove(path))
	}
	require.Fail(t, "five exports were cut short")
}

// isWholeTar reports whether a tar file ends with its two blocks of zeros. A reader that merely
// finds no further entry takes a file that was cut between two entries, or before the first, for
// a whole one.
func isWholeTar(t *testing.T, path string) bool {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return len(content)%512 == 0 && bytes.HasSuffix(content, make([]byte, 1024))
}
