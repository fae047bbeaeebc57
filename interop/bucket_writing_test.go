//go:build interop

package interop

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWriteBucket writes archives to a bucket with each command that writes archives. They have the bytes of the
// files that the same commands make.
func TestWriteBucket(t *testing.T) {
	t.Parallel()
	writeStore(t, startVersitygw(t))
}

func writeStore(t *testing.T, store objectStore) {
	dir := t.TempDir()
	command := store.command(t).withEnv("XDG_CACHE_HOME=" + filepath.Join(dir, "cache"))
	large := filepath.Join(dir, "large")
	data := make([]byte, 20<<20)
	_, _ = rand.Read(data) // Never fails.
	require.NoError(t, os.WriteFile(large, data, 0o644))
	places := map[string]func(string) string{
		"file":   func(name string) string { return filepath.Join(dir, name) },
		"object": store.path,
	}
	for _, lines := range []string{
		"save -q --insecure-policy -o A oci:../testdata/oci:one oci:../testdata/oci:multi",
		"save -q --insecure-policy --layout docker -o A oci:../testdata/oci:one",
		"save -q --insecure-policy --compress gzip -o A oci:../testdata/oci:one",
		"save -q --insecure-policy -o A oci:../testdata/oci:one; save -q --insecure-policy --force -o A oci:../testdata/oci:multi",
		"copy -q --insecure-policy oci:../testdata/oci:one image-archive:A:app:1; copy -q --insecure-policy oci:../testdata/oci:multi image-archive:A:app:2",
		"copy -q --insecure-policy oci:../testdata/oci:one docker-archive:A:app:1",
		"make -q --add LARGE:/large --compress none --timestamp 1 -t app:1 -o A; add -q --insecure-policy A oci:../testdata/oci:one oci:../testdata/oci:multi; " +
			"tag -q A app:1 app:2; rename -q A multi many:1; remove -q A one; verify A",
		"make -q --add LARGE:/large --compress none --timestamp 1 -t app:1 -o A; add -q --insecure-policy A oci:../testdata/oci:one; remove -q A one; compact -q A; verify A",
	} {
		for place, path := range places {
			for _, line := range strings.Split(lines, "; ") {
				line = strings.NewReplacer("LARGE", large, " A ", " "+path("a.tar")+" ", ":A:", ":"+path("a.tar")+":").Replace(line + " ")
				command.run(t, strings.Fields(line)...)
			}
			if place == "object" {
				assert.Len(t, store.metadata(t, "a.tar")["docker-archive-upload"], 32)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "object"), store.get(t, "a.tar"), 0o644))
			}
		}
		requireSameFile(t, filepath.Join(dir, "a.tar"), filepath.Join(dir, "object"))
		assert.Equal(t, []string{"a.tar"}, store.keys(t))
		require.NoError(t, os.Remove(filepath.Join(dir, "a.tar")))
		store.remove(t, "a.tar")
	}
	addAtOnce(t, store, command)
	assert.Empty(t, store.uploads(t))
}

// addAtOnce adds to one archive with several processes at the same time. No image gets lost.
func addAtOnce(t *testing.T, store objectStore, command program) {
	command.run(t, "save", "-q", "--insecure-policy", "-o", store.path("a.tar"), "--name", "app:0", "oci:../testdata/oci:one")
	var group sync.WaitGroup
	names := []string{"app:1", "app:2", "app:3", "app:4"}
	for _, name := range names {
		group.Go(func() {
			command.run(t, "add", "-q", "--insecure-policy", store.path("a.tar"), "--name", name, "oci:../testdata/oci:multi")
		})
	}
	group.Wait()
	list := command.run(t, "list", store.path("a.tar"))
	for _, name := range names {
		assert.Contains(t, list, name)
	}
	assert.Contains(t, command.run(t, "verify", store.path("a.tar")), "OK")
}

// remove deletes an object.
func (s objectStore) remove(t *testing.T, key string) {
	t.Helper()
	bucket := storeBucket
	_, err := s.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	require.NoError(t, err)
}

// metadata returns the metadata of an object, by which a lost completion is settled.
func (s objectStore) metadata(t *testing.T, key string) map[string]string {
	t.Helper()
	bucket := storeBucket
	answer, err := s.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	require.NoError(t, err)
	return answer.Metadata
}

// uploads returns the IDs of the unfinished uploads.
func (s objectStore) uploads(t *testing.T) (ids []string) {
	t.Helper()
	bucket := storeBucket
	answer, err := s.client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
	require.NoError(t, err)
	for _, u := range answer.Uploads {
		ids = append(ids, *u.UploadId)
	}
	return ids
}
