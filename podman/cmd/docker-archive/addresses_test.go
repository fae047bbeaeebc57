package main

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/storetest"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// remotes are a bucket and a server for https, and the flags that reach them.
var remotes = map[string]func(t testing.TB) (s *storetest.Server, flags []string){
	"s3": func(t testing.TB) (*storetest.Server, []string) { return storetest.NewS3(t), nil },
	"https": func(t testing.TB) (*storetest.Server, []string) {
		s := storetest.NewHTTPS(t)
		return s, []string{"cert-dir=" + s.CertDir}
	},
}

// put stores a file, and returns its address.
func put(t *testing.T, s *storetest.Server, key, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return s.Put(key, data)
}

// Every command that reads an archive reads one at an address in place, with the same result.
func TestReadAddresses(t *testing.T) {
	for name, start := range remotes {
		t.Run(name, func(t *testing.T) {
			m := newMonths(t, gzip.DefaultCompression)
			s, flags := start(t)
			both, january := put(t, s, "both.tar", m.both), put(t, s, "dir/january.tar", m.january)
			var whole atomic.Int32 // requests for all of an object
			s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Range") == "" {
					whole.Add(1)
				}
				return false
			})
			remote := func(args ...string) []string { return withFlags("", flags, args...) }
			for _, line := range []string{
				"list ARCHIVE", "inspect ARCHIVE:example.com/app:2", "files -l ARCHIVE:@1", "layers ARCHIVE:@0",
				"cat ARCHIVE:@1 /usr/file-7", "export --path /usr/file-3 -o - ARCHIVE:@0",
			} {
				args := func(path string) []string { return strings.Fields(strings.ReplaceAll(line, "ARCHIVE", path)) }
				want, _ := m.run(t, 0, args(m.both)...)
				got, _ := m.run(t, 0, remote(args(both)...)...)
				assert.Equal(t, want, got, line)
				assert.NotEmpty(t, got)
			}
			want, _ := m.run(t, 1, "diff", m.both+":@0", m.both+":@1")
			got, _ := m.run(t, 1, remote("diff", both+":@0", both+":@1")...)
			assert.Equal(t, want, got)
			out, _ := m.run(t, 0, remote("verify", both)...)
			assert.Contains(t, out, ": OK (")
			m.run(t, 0, remote("extract", both+":@1", "/usr", m.path("usr"))...)
			assert.FileExists(t, m.path("usr/file-39"))
			m.run(t, 0, withFlags("src-", flags, "copy", "-q", both+":example.com/app:2", "image-archive:"+m.path("copied.tar")+":example.com/app:2")...)
			assertSame(t, m.february, m.path("copied.tar"))
			m.run(t, 0, remote("save", "-q", "-o", m.path("saved.tar"), both)...)
			assertSame(t, m.both, m.path("saved.tar"))

			reg := imagetest.NewRegistry(t)
			m.run(t, 0, remote("push", "-q", "--tls-verify=false", both, reg.Address)...)
			m.run(t, 0, "save", "-q", "--tls-verify=false", "--name", "example.com/app:2", "-o", m.path("pulled.tar"), "docker://"+reg.Address+"/app:2")
			assertSame(t, m.february, m.path("pulled.tar"))
			if name == "s3" { // load has no flags for certificates of servers with archives.
				d := imagetest.NewLoadDaemon(t)
				m.run(t, 0, "load", "-q", "--host", d.Host, both)
				assert.Len(t, d.Names(), 2)
			}
			for _, way := range []string{"--without", "--delta"} {
				m.run(t, 0, remote("save", "-q", way, january, "-o", m.path("thin.tar"), m.february)...)
				assert.Less(t, sizeOf(t, m.path("thin.tar")), sizeOf(t, m.february))
				thin := put(t, s, "thin.tar", m.path("thin.tar"))
				m.run(t, 0, remote("save", "-q", "--base", january, "-o", m.path("again.tar"), thin)...)
				assertSame(t, m.february, m.path("again.tar"))
				for _, file := range []string{"thin.tar", "again.tar"} {
					require.NoError(t, os.Remove(m.path(file)))
				}
			}
			assert.Zero(t, whole.Load(), "all is read by ranges")
		})
	}
}

// An object that is replaced while it is read is an error, and nothing is written.
func TestAddressChanges(t *testing.T) {
	for name, start := range remotes {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, other := filepath.Join(dir, "app.tar"), filepath.Join(dir, "other.tar")
			saved(t, path, "1", imagetest.Gzip(1, 2<<20), imagetest.Gzip(2, 2<<20))
			saved(t, other, "1", imagetest.Gzip(3, 2<<20), imagetest.Gzip(4, 2<<20))
			s, flags := start(t)
			address := put(t, s, "app.tar", path)
			var requests atomic.Int32
			s.Before(func(http.ResponseWriter, *http.Request) bool {
				if requests.Add(1) == 4 {
					put(t, s, "app.tar", other)
				}
				return false
			})
			out := filepath.Join(dir, "copied.tar")
			_, errOut, status := runCommand(t, withFlags("src-", flags, "copy", "--insecure-policy", address+":example.com/app:1", "image-archive:"+out)...)
			assert.Equal(t, exitFailure, status)
			assert.Contains(t, errOut, "it has changed while it was read")
			assert.NoFileExists(t, out)
		})
	}
}

// A part of an archive at an address is an error that says so. A whole archive may have the name of a part.
func TestPartsAtAddresses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.tar")
	saved(t, path, "1", imagetest.Gzip(1, 1_300_000), imagetest.Gzip(2, 1_300_000))
	_, errOut, status := runSave(t, "", "-q", "--insecure-policy", "--split", "1MiB", "-o", filepath.Join(dir, "parts.tar"), path)
	require.Zero(t, status, errOut)
	s := storetest.NewS3(t)
	for _, part := range []string{"parts.tar.000", "parts.tar.001"} {
		_, errOut, status := runCommand(t, "list", put(t, s, part, filepath.Join(dir, part)))
		assert.Equal(t, exitFailure, status)
		assert.Contains(t, errOut, "it is a part of an archive, and parts are read as local files only: join them (cat parts.tar.[0-9]*)")
	}
	_, errOut, status = runCommand(t, "list", put(t, s, "app.tar.001", path))
	assert.Zero(t, status, errOut)
}

// A policy names addresses.
func TestPolicyOfAddresses(t *testing.T) {
	dir := t.TempDir()
	path, policy := filepath.Join(dir, "app.tar"), filepath.Join(dir, "policy.json")
	saved(t, path, "1", imagetest.Gzip(1, 1000))
	s := storetest.NewS3(t)
	require.NoError(t, os.WriteFile(policy, []byte(`{"default": [{"type": "reject"}], "transports": {"image-archive": {"s3://images/good": [{"type": "insecureAcceptAnything"}]}}}`), 0o600))
	for n, key := range []string{"good/app.tar", "goody/app.tar"} {
		_, errOut, status := runCommand(t, "copy", "-q", "--policy", policy, put(t, s, key, path)+":example.com/app:1", "dir:"+t.TempDir())
		assert.Equal(t, n, status, errOut)
	}
}

// Opening an archive of 500 images takes few requests. Listing it takes two more for each image, several at a time.
func TestListOfManyImages(t *testing.T) {
	const count = 500
	path := filepath.Join(t.TempDir(), "many.tar")
	var images []copying.SaveImage
	for n := range count {
		label := fmt.Sprint(n)
		images = append(images, copying.SaveImage{Source: imagetest.NewImage(t, label, imagetest.Stored(uint64(n), 100<<10)), Name: imagetest.Tagged(t, "example.com/app:"+label)})
	}
	_, err := copying.Save(t.Context(), imagetest.Trusting(t), path, images, &copying.SaveOptions{Transport: dockerarchive.ImageTransport})
	require.NoError(t, err)
	s := storetest.NewS3(t)
	address := put(t, s, "many.tar", path)
	r, err := dockerarchive.NewReaderContext(t.Context(), nil, address)
	require.NoError(t, err)
	defer r.Close()
	requests, sent := s.Count()
	assert.LessOrEqual(t, len(requests), 6, requests)
	assert.LessOrEqual(t, sent, int64(2<<20))

	// The first request is answered only when a second one has arrived.
	waiting := make(chan struct{})
	var first atomic.Bool
	var once sync.Once
	s.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		if first.CompareAndSwap(false, true) {
			select {
			case <-waiting:
			case <-r.Context().Done():
			}
			return false
		}
		once.Do(func() { close(waiting) })
		return false
	})
	infos, err := r.Images(t.Context())
	require.NoError(t, err)
	require.Len(t, infos, count)
	for n, info := range infos {
		assert.Equal(t, []string{fmt.Sprintf("example.com/app:%d", n)}, info.Names)
		assert.Empty(t, info.Error)
	}
	requests, sent = s.Count()
	t.Logf("%d requests, %d bytes", len(requests), sent)
	assert.LessOrEqual(t, len(requests), 2*count)
}
