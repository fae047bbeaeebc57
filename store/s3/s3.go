// Package s3 reads and writes archives in buckets of Amazon S3 and of compatible stores. A program gets that by
// importing it:
//
//	import _ "github.com/dockerarchive/dockerarchive/store/s3"
//
// Then s3://BUCKET/KEY is a path of an archive, which is read in place by requests for ranges. Endpoint, region and
// credentials come from where the AWS tools find them: the environment (AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE,
// AWS_ACCESS_KEY_ID and so on), the shared files, single sign-on, a web identity, the instance or the container.
// With AWS_NO_SIGN_REQUEST=true requests are not signed. A colon in a key is written %3A, a percent sign %25.
//
// A request that fails for a passing reason is repeated up to five times. If the object is replaced while it is
// read, reading fails: the bytes are never a mixture. Reading ends with the context that the archive was opened with.
//
// An archive is written as one object, by one multipart upload, and appears whole. The upload is completed on the
// condition that the key is still free, or still has the object that was added to or replaced. Memory is five
// parts, of 8 MiB each unless the archive has more than 62 GiB. Writing ends with the context that it was begun with.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/sirupsen/logrus"

	"github.com/dockerarchive/dockerarchive/internal/address"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
)

func init() {
	input.Register("s3", input.Scheme{Open: open, Store: store, Copied: func(address, reason string) {
		logrus.Warnf("%s is copied to a temporary file: %s", address, reason)
	}})
	output.Register("s3", output.Scheme{Create: create, Open: openSuccessor})
}

// firstRange is how much the first request asks for.
const firstRange = 64 << 10

var errEmpty = errors.New("the object is empty")

// object is a version of an object.
type object struct {
	client      *bucketClient
	bucket, key string
	etag        string // "" before it is known
	size        int64
}

func open(ctx context.Context, path string, access input.Access) (input.Remote, error) {
	bucket, key, err := address.Object(path)
	if err != nil {
		return nil, err
	}
	client, err := newClient(ctx, bucket, access)
	if err != nil {
		return nil, err
	}
	r, etag, err := client.open(ctx, key)
	if err != nil {
		client.close()
		return nil, err
	}
	return &remote{r, client, key, etag}, nil
}

// remote is a Reader of a version of an object that also closes the connections.
type remote struct {
	*ranged.Reader
	client    *bucketClient
	key, etag string
}

// Close ends all requests.
func (r *remote) Close() error {
	err := r.Reader.Close()
	r.client.close()
	return err
}

// first requests the first bytes, and learns the size and the version.
func (o *object) first(ctx context.Context) ([]byte, error) {
	answer, err := o.get(ctx, 0, firstRange)
	var refused *storeError
	if errors.As(err, &refused) && refused.status == http.StatusRequestedRangeNotSatisfiable {
		return nil, errEmpty
	}
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	from, to, size, ok := ranged.ContentRange(text(answer.ContentRange))
	switch {
	case !ok && answer.ContentLength != nil && *answer.ContentLength == 0:
		return nil, errEmpty
	case !ok || from != 0 || to > firstRange:
		return nil, errors.New("the store does not answer requests for ranges")
	case !strings.HasPrefix(text(answer.ETag), `"`):
		return nil, errors.New("the store names no version of the object (a strong ETag)")
	}
	start := make([]byte, to)
	if _, err := io.ReadFull(answer.Body, start); err != nil {
		return nil, fmt.Errorf("reading the first bytes: %w", err)
	}
	o.etag, o.size = *answer.ETag, size
	return start, nil
}

// Range implements ranged.Source.
func (o *object) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	answer, err := o.get(ctx, off, n)
	var refused *storeError
	if errors.As(err, &refused) {
		switch refused.status {
		case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable, http.StatusNotFound:
			return nil, fmt.Errorf("%w: %w", ranged.ErrChanged, err)
		}
	}
	if err != nil {
		return nil, err
	}
	from, to, size, ok := ranged.ContentRange(text(answer.ContentRange))
	switch {
	case text(answer.ETag) != o.etag || ok && size != o.size:
		err = ranged.ErrChanged
	case !ok || from != off || to != off+n:
		err = errors.New("the store answers with another range than it was asked for")
	default:
		return answer.Body, nil
	}
	return nil, errors.Join(err, answer.Body.Close())
}

// get requests n bytes at an offset.
func (o *object) get(ctx context.Context, off, n int64) (*s3.GetObjectOutput, error) {
	part := fmt.Sprintf("bytes=%d-%d", off, off+n-1)
	request := &s3.GetObjectInput{Bucket: &o.bucket, Key: &o.key, Range: &part}
	if o.etag != "" {
		request.IfMatch = &o.etag
	}
	answer, err := o.client.GetObject(ctx, request)
	if err != nil {
		return nil, failed(err)
	}
	return answer, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
