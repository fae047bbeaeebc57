//go:build interop

package interop

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// storeBucket is the bucket of every objectStore.
const storeBucket = "images"

// An objectStore is a real S3-compatible store on this machine, with a bucket.
type objectStore struct {
	endpoint string
	env      []string // for programs to find it
	client   *s3.Client
	daemon   *daemon
}

// startVersitygw starts versitygw on an empty directory.
func startVersitygw(t *testing.T) objectStore {
	t.Helper()
	dir := daemonDir(t)
	for _, name := range []string{"data", "metadata"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	// versitygw keeps metadata in extended attributes. In files of their own, they change before the object does: a
	// reader may then get old bytes with the new ETag, and what it adds to them replaces what was added in between.
	arguments := []string{"posix", filepath.Join(dir, "data")}
	if errors.Is(unix.Setxattr(filepath.Join(dir, "data"), "user.test", []byte("1"), 0), unix.ENOTSUP) {
		t.Logf("%s has no extended attributes: changes at the same time may be lost", dir)
		arguments = []string{"posix", "--sidecar", filepath.Join(dir, "metadata"), filepath.Join(dir, "data")}
	}
	return startObjectStore(t, dir, func(address string) program {
		return built(t, "versitygw").with("--port", address, "--access", "interop", "--secret", "interop-secret", "--quiet", "--keep-alive").with(arguments...)
	})
}

// startObjectStore starts a store whose user is interop with the password interop-secret, and makes the bucket.
func startObjectStore(t *testing.T, dir string, server func(address string) program) objectStore {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	s := objectStore{endpoint: "http://" + address, env: []string{
		"AWS_ENDPOINT_URL=http://" + address, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=interop", "AWS_SECRET_ACCESS_KEY=interop-secret",
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_EC2_METADATA_DISABLED=true",
	}}
	s.client = s3.New(s3.Options{
		BaseEndpoint: &s.endpoint, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("interop", "interop-secret", ""),
		Retryer:     aws.NopRetryer{}, HTTPClient: &http.Client{Transport: &http.Transport{}},
	})
	bucket := storeBucket
	s.daemon = startDaemon(t, dir, server(address), func() error {
		_, err := s.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket})
		return err
	})
	return s
}

// command returns the command under test, set up for this store.
func (s objectStore) command(t *testing.T) program { return dockerArchive(t).withEnv(s.env...) }

// path returns the path of an object for the command.
func (s objectStore) path(key string) string { return "s3://" + storeBucket + "/" + key }

// put stores a file.
func (s objectStore) put(t *testing.T, key, file string) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	bucket := storeBucket
	_, err = s.client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: f})
	require.NoError(t, err)
}

// get returns an object.
func (s objectStore) get(t *testing.T, key string) []byte {
	t.Helper()
	bucket := storeBucket
	answer, err := s.client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	require.NoError(t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return data
}

// keys returns the keys of all objects.
func (s objectStore) keys(t *testing.T) (keys []string) {
	t.Helper()
	bucket := storeBucket
	answer, err := s.client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	require.NoError(t, err)
	for _, o := range answer.Contents {
		keys = append(keys, *o.Key)
	}
	return keys
}
