//go:build interop

package interop

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A bucketCommand is a command line with ARCHIVE, an archive in a bucket; LOCAL, one in a file; OUT, a new file; and
// REGISTRY and STORAGE, where images go.
type bucketCommand struct{ name, line string }

// bucketReaders are the commands that read an archive in a bucket.
var bucketReaders = []bucketCommand{
	{"list", "list --json ARCHIVE"},
	{"inspect", "inspect ARCHIVE:example.com/app:1"},
	{"files", "files -l ARCHIVE:example.com/app:1"},
	{"cat", "cat ARCHIVE:example.com/app:1 /1"},
	{"verify", "verify ARCHIVE"},
	{"copy", "copy -q --insecure-policy ARCHIVE:example.com/app:1 image-archive:OUT:example.com/app:1"},
	{"save", "save -q --insecure-policy -o OUT ARCHIVE"},
	{"without", "save -q --insecure-policy -o OUT LOCAL --without ARCHIVE"},
	{"push", "push -q --tls-verify=false ARCHIVE REGISTRY"},
	{"load", "load --insecure-policy --to STORAGE ARCHIVE"},
}

// faultsBench has what tests of faults share: a store with an archive of each version, the same archives in files, and
// a registry.
type faultsBench struct {
	store    objectStore
	files    [2]string
	registry string
}

const faultyKey = "app.tar"

// newFaultsBench makes two archives with the same names and sizes, but other contents.
func newFaultsBench(t *testing.T, store objectStore) *faultsBench {
	t.Helper()
	b := &faultsBench{store: store, registry: startDistribution(t)}
	dir := t.TempDir()
	for v := range b.files {
		args := []string{"make", "-q", "--compress", "none", "--timestamp", "1", "--set-platform", "linux/amd64", "-t", "example.com/app:1"}
		for n := range 3 {
			path := filepath.Join(dir, fmt.Sprintf("%d-%d", v, n))
			data := make([]byte, 700_000)
			_, _ = rand.Read(data) // Never fails.
			require.NoError(t, os.WriteFile(path, data, 0o644))
			args = append(args, "--add", fmt.Sprintf("%s:/%d", path, n))
		}
		b.files[v] = filepath.Join(t.TempDir(), faultyKey) // A thin archive names its base.
		dockerArchive(t).run(t, append(args, "-o", b.files[v])...)
	}
	return b
}

// run runs a command on an archive, and returns what comes of it.
func (b *faultsBench) run(t *testing.T, c bucketCommand, command program, archive string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	out, storage := filepath.Join(dir, "out.tar"), "containers-storage:[vfs@"+filepath.Join(dir, "root")+"+"+filepath.Join(dir, "run")+"]"
	repository := strings.ToLower(filepath.Base(filepath.Dir(dir)))
	replace := strings.NewReplacer("ARCHIVE", archive, "LOCAL", b.files[0], "OUT", out, "REGISTRY", b.registry+"/"+repository, "STORAGE", storage)
	output, err := command.try(t, strings.Fields(replace.Replace(c.line))...)
	output = strings.ReplaceAll(output, archive, "ARCHIVE")
	switch data, failed := os.ReadFile(out); {
	case failed == nil && err != nil:
		assert.Fail(t, "a command that fails has left a file", "%s: %v", c.name, err)
	case failed == nil:
		output += digest.FromBytes(data).String()
	}
	if err == nil && strings.Contains(c.line, "REGISTRY") {
		output += servedDigest(t, b.registry, repository+"/app", "1").String()
	}
	return output, err
}

// TestFaults reads and writes archives in a bucket while the store breaks answers off, throttles and truncates. Each
// command does what it does without that.
func TestFaults(t *testing.T) {
	t.Parallel()
	store := startVersitygw(t)
	b := newFaultsBench(t, store)
	store.put(t, faultyKey, b.files[0])
	for _, c := range bucketReaders {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want, err := b.run(t, c, dockerArchive(t), b.files[0])
			require.NoError(t, err)
			faulty := store.faulty(t, inTurn(3, reads, fault{broken: true, bytes: 40_000}, fault{refuse: http.StatusServiceUnavailable}, fault{short: true, bytes: 50_000}))
			got, err := b.run(t, c, faulty.command(t), store.path(faultyKey))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

// TestFaultsWriting writes archives to a bucket while connections break, requests are throttled and answers get lost.
// The objects have the bytes of the files that the same commands make.
func TestFaultsWriting(t *testing.T) {
	t.Parallel()
	writeFaulty(t, startVersitygw(t))
}

func writeFaulty(t *testing.T, store objectStore) {
	large := filepath.Join(t.TempDir(), "large")
	data := make([]byte, 20<<20)
	_, _ = rand.Read(data) // Never fails.
	require.NoError(t, os.WriteFile(large, data, 0o644))
	for name, lines := range map[string]string{
		"save":    "save -q --insecure-policy -o A oci:../testdata/oci:one oci:../testdata/oci:multi",
		"replace": "save -q --insecure-policy -o A oci:../testdata/oci:one; save -q --insecure-policy --force -o A oci:../testdata/oci:multi",
		"copy":    "copy -q --insecure-policy oci:../testdata/oci:one image-archive:A:app:1; copy -q --insecure-policy oci:../testdata/oci:multi image-archive:A:app:2",
		"make":    "make -q --add LARGE:/large --compress none --timestamp 1 -t app:1 -o A",
		"change": "make -q --add LARGE:/large --compress none --timestamp 1 -t app:1 -o A; add -q --insecure-policy A oci:../testdata/oci:one; " +
			"tag -q A app:1 app:2; rename -q A one two:1; remove -q A two:1; compact -q A; verify A",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			local, key := filepath.Join(dir, "a.tar"), name+"/a.tar"
			faulty := store.faulty(t, inTurn(7, anything, fault{upload: true, bytes: 300_000}, fault{refuse: http.StatusServiceUnavailable}, fault{broken: true}))
			for path, command := range map[string]program{local: dockerArchive(t), store.path(key): faulty.command(t)} {
				for _, line := range strings.Split(lines, "; ") {
					line = strings.NewReplacer("LARGE", large, " A ", " "+path+" ", ":A:", ":"+path+":").Replace(line + " ")
					command.withEnv("XDG_CACHE_HOME="+filepath.Join(dir, "cache")).run(t, strings.Fields(line)...)
				}
			}
			object := filepath.Join(dir, "object")
			require.NoError(t, os.WriteFile(object, store.get(t, key), 0o644))
			requireSameFile(t, local, object)
		})
	}
}
