package s3

import (
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/address"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/output"
)

// target is the bucket and the key of an object that is written.
type target struct {
	client      *bucketClient
	bucket, key string
	shown       string
}

func newTarget(ctx context.Context, path string, o output.RemoteOptions) (target, error) {
	bucket, key, err := address.Object(path)
	if err != nil {
		return target{}, err
	}
	client, err := newClient(ctx, bucket, input.Access{CertDir: o.CertDir, SkipVerify: o.SkipVerify, UserAgent: o.UserAgent})
	return target{client: client, bucket: bucket, key: key, shown: path}, err
}

// at returns the target for another key in the bucket.
func (t target) at(key string) target {
	t.key = key
	return t
}

// create implements output.Scheme.
func create(ctx context.Context, path string, o output.RemoteOptions) (output.Object, error) {
	t, err := newTarget(ctx, path, o)
	if err != nil {
		return nil, err
	}
	u := newUpload(ctx, t, o)
	u.replaces, err = t.head(ctx)
	if o.Copies {
		u.setCopies()
	}
	if err == nil && u.replaces != "" && !o.Force {
		err = errdef.ErrNotEmpty
	}
	if err == nil {
		err = u.clear(ctx)
	}
	if err != nil {
		u.close(err)
		return nil, err
	}
	return u, nil
}

// look requests the object's properties. The answer is nil if there is no object.
func (t *target) look(ctx context.Context) (*s3.HeadObjectOutput, error) {
	var answer *s3.HeadObjectOutput
	err := policy.Do(ctx, nil, func() (err error) {
		answer, err = t.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &t.bucket, Key: &t.key})
		return failed(err)
	})
	var refused *storeError
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// head returns the ETag of the object, "" if there is none.
func (t *target) head(ctx context.Context) (etag string, err error) {
	answer, err := t.look(ctx)
	if answer == nil || err != nil {
		return "", err
	}
	if etag = text(answer.ETag); etag == "" {
		return "", errors.New("the store names no version of the object (an ETag)")
	}
	return etag, nil
}
