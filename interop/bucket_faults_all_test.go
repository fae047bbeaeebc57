//go:build interop && interopall

package interop

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFaultsMinIO is TestFaultsWriting with MinIO.
func TestFaultsMinIO(t *testing.T) {
	t.Parallel()
	writeFaulty(t, startMinIO(t))
}

// TestEachFault reads an archive by each command under each fault that passes.
func TestEachFault(t *testing.T) {
	t.Parallel()
	store := startMinIO(t)
	b := newFaultsBench(t, store)
	store.put(t, faultyKey, b.files[0])
	for _, c := range bucketReaders {
		want, err := b.run(t, c, dockerArchive(t), b.files[0])
		require.NoError(t, err)
		for name, s := range map[string]func() script{
			"broken at once": func() script { return every(2, reads, fault{broken: true}) },
			"broken":         func() script { return every(2, reads, fault{broken: true, bytes: 30_000}) },
			"truncated":      func() script { return every(2, reads, fault{short: true, bytes: 30_000}) },
			"throttled":      func() script { return every(3, anything, fault{refuse: http.StatusServiceUnavailable, after: 2}) },
			"delayed":        func() script { return every(1, anything, fault{delay: 300 * time.Millisecond}) },
			"internal error": func() script { return every(3, anything, fault{refuse: http.StatusInternalServerError}) },
		} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				t.Parallel()
				got, err := b.run(t, c, store.faulty(t, s()).command(t), store.path(faultyKey))
				require.NoError(t, err)
				assert.Equal(t, want, got)
			})
		}
	}
}

// TestSwapped replaces the archive before each request of each command that reads it. The result is that of one of
// the archives, or an error that says that the archive has changed.
func TestSwapped(t *testing.T) {
	t.Parallel()
	store := startVersitygw(t)
	b := newFaultsBench(t, store)
	for _, c := range bucketReaders {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var want [2]string
			for v, file := range b.files {
				var err error
				want[v], err = b.run(t, c, dockerArchive(t), file)
				require.NoError(t, err)
			}
			key := strings.ToLower(c.name) + "/" + faultyKey
			refused := 0
			for n := int64(1); ; n++ {
				require.Less(t, n, int64(200))
				store.put(t, key, b.files[0])
				var swapped atomic.Bool
				faulty := store.faulty(t, once(n, anything, fault{before: func() {
					store.put(t, key, b.files[1])
					swapped.Store(true)
				}}))
				got, err := b.run(t, c, faulty.command(t), store.path(key))
				if err != nil {
					refused++
					require.ErrorContains(t, err, "changed while it was read", "swapped before request %d", n)
					require.ErrorContains(t, err, key)
				} else {
					require.True(t, got == want[0] || got == want[1], "swapped before request %d: %s", n, got)
				}
				if !swapped.Load() {
					require.Equal(t, want[0], got)
					t.Logf("swapped before each of %d requests: %d errors", n-1, refused)
					return
				}
			}
		})
	}
}

// TestDamagedTransfer changes one byte of an answer. No command takes wrong content for right, but cat: it reads only
// what it prints of a layer, also of a file.
func TestDamagedTransfer(t *testing.T) {
	t.Parallel()
	store := startVersitygw(t)
	b := newFaultsBench(t, store)
	store.put(t, faultyKey, b.files[0])
	for _, c := range bucketReaders {
		if c.name == "cat" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want, err := b.run(t, c, dockerArchive(t), b.files[0])
			require.NoError(t, err)
			for n := int64(1); n < 8; n++ {
				faulty := store.faulty(t, once(n, reads, fault{wrong: true, bytes: 20_000}))
				if got, err := b.run(t, c, faulty.command(t), store.path(faultyKey)); err == nil {
					assert.Equal(t, want, got, "answer %d", n)
				}
			}
		})
	}
}

// TestSwappedWriting replaces an archive while a command changes it. A change that can begin anew is made to the new
// archive; others fail, and leave it as it is.
func TestSwappedWriting(t *testing.T) {
	t.Parallel()
	store := startVersitygw(t)
	b := newFaultsBench(t, store)
	for _, c := range []struct {
		bucketCommand
		anew bool
	}{
		{bucketCommand{"add", "add -q --insecure-policy ARCHIVE oci:../testdata/oci:one"}, true},
		{bucketCommand{"tag", "tag -q ARCHIVE example.com/app:1 example.com/app:2"}, true},
		{bucketCommand{"rename", "rename -q ARCHIVE example.com/app:1 example.com/app:2"}, true},
		{bucketCommand{"compact", "compact -q ARCHIVE"}, true},
		{bucketCommand{"replace", "save -q --insecure-policy --force -o ARCHIVE oci:../testdata/oci:one"}, false},
		{bucketCommand{"copy", "copy -q --insecure-policy oci:../testdata/oci:one image-archive:ARCHIVE:example.com/app:3"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var want [2][]byte
			for v := range b.files {
				copied := filepath.Join(t.TempDir(), faultyKey)
				data, err := os.ReadFile(b.files[v])
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(copied, data, 0o600))
				_, err = b.run(t, c.bucketCommand, dockerArchive(t), copied)
				require.NoError(t, err)
				want[v], err = os.ReadFile(copied)
				require.NoError(t, err)
			}
			swappedOnly, err := os.ReadFile(b.files[1])
			require.NoError(t, err)
			key := c.name + "/" + faultyKey
			store.put(t, key, b.files[0])
			faulty := store.faulty(t, once(1, completions, fault{before: func() { store.put(t, key, b.files[1]) }}))
			command := faulty.command(t).withEnv("XDG_CACHE_HOME=" + t.TempDir())
			_, err = b.run(t, c.bucketCommand, command, store.path(key))
			got := store.get(t, key)
			if c.anew {
				require.NoError(t, err)
				assert.Equal(t, len(want[1]), len(got))
				assert.True(t, string(want[1]) == string(got), "another archive")
				return
			}
			if assert.Error(t, err) {
				assert.ErrorContains(t, err, key)
				t.Log(err)
			}
			assert.True(t, string(swappedOnly) == string(got), "the archive that has appeared is lost")
		})
	}
}

// TestResumeFaulty ends uploads by a refusal in the middle. --resume sends only the parts that are missing.
func TestResumeFaulty(t *testing.T) {
	t.Parallel()
	store, dir := startVersitygw(t), t.TempDir()
	b := newFaultsBench(t, store)
	var args []string
	for n := range 4 {
		path := filepath.Join(dir, fmt.Sprint(n))
		require.NoError(t, os.WriteFile(path, []byte(strings.Repeat(fmt.Sprint(n), 12<<20)), 0o600))
		args = append(args, "--add", path+":/"+fmt.Sprint(n))
	}
	local := filepath.Join(dir, "local.tar")
	dockerArchive(t).run(t, append([]string{"make", "-q", "--compress", "none", "--timestamp", "1", "-t", "app:1", "-o", local}, args...)...)
	env := "XDG_CACHE_HOME=" + filepath.Join(dir, "cache")
	save := bucketCommand{"save", "save -q --insecure-policy --resume -o ARCHIVE " + local}
	var refusing atomic.Bool
	refusing.Store(true)
	var sent atomic.Int64
	faulty := store.faulty(t, func(r *http.Request) fault {
		if !parts(r) {
			return fault{}
		}
		if sent.Add(1) > 4 && refusing.Load() {
			return fault{refuse: http.StatusForbidden, code: "AccessDenied"}
		}
		return fault{}
	})
	_, err := b.run(t, save, faulty.command(t).withEnv(env), store.path("a.tar"))
	require.ErrorContains(t, err, "403")
	require.ErrorContains(t, err, "a.tar")
	require.Empty(t, store.keys(t), "nothing but a whole archive appears")
	require.Len(t, store.uploads(t), 1)
	refusing.Store(false)
	before := sent.Swap(0)
	_, err = b.run(t, save, faulty.command(t).withEnv(env), store.path("a.tar"))
	require.NoError(t, err)
	t.Logf("%d requests for parts before, %d after", before, sent.Load())
	assert.Less(t, sent.Load(), int64(6), "of 6 parts, some are there")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "got"), store.get(t, "a.tar"), 0o600))
	want := filepath.Join(dir, "want.tar")
	dockerArchive(t).run(t, "save", "-q", "--insecure-policy", "-o", want, local)
	requireSameFile(t, want, filepath.Join(dir, "got"))
}

// TestStoreIsAway has each command that reads an archive meet a store that never comes back. The error names the
// archive and the reason.
func TestStoreIsAway(t *testing.T) {
	t.Parallel()
	store := startVersitygw(t)
	b := newFaultsBench(t, store)
	store.put(t, faultyKey, b.files[0])
	for _, c := range bucketReaders {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var count atomic.Int64
			faulty := store.faulty(t, func(r *http.Request) fault {
				if count.Add(1) > 2 {
					return fault{refuse: http.StatusServiceUnavailable}
				}
				return fault{}
			})
			_, err := b.run(t, c, faulty.command(t), store.path(faultyKey))
			if count.Load() <= 2 {
				require.NoError(t, err) // It does not need more.
				return
			}
			require.Error(t, err)
			require.ErrorContains(t, err, faultyKey)
			require.ErrorContains(t, err, "503 Service Unavailable (SlowDown)")
		})
	}
}

// once returns a script that has a fault for the request number n of those that match.
func once(n int64, matches func(*http.Request) bool, f fault) script {
	var count atomic.Int64
	return func(r *http.Request) fault {
		if !matches(r) || count.Add(1) != n {
			return fault{}
		}
		return f
	}
}

// parts matches requests that send or copy a part of an archive.
func parts(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("partNumber") && !strings.Contains(r.URL.Path, ".probe-")
}

// completions matches requests that complete an upload of an archive.
func completions(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") && !strings.Contains(r.URL.Path, ".probe-")
}
