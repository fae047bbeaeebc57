package s3

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/dockerarchive/dockerarchive/internal/address"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
	"github.com/dockerarchive/dockerarchive/internal/webclient"
)

// bucketStore looks up and opens objects of one bucket with one client.
type bucketStore struct{ client *bucketClient }

func store(ctx context.Context, path string, access input.Access) (input.Store, error) {
	bucket, _, err := address.Bucket(path)
	if err != nil {
		return nil, err
	}
	client, err := newClient(ctx, bucket, access)
	if err != nil {
		return nil, err
	}
	return &bucketStore{client}, nil
}

// key returns the key of an address in this bucket, which may be empty.
func (s *bucketStore) key(path string) (string, error) {
	bucket, key, err := address.Bucket(path)
	if err == nil && bucket != s.client.bucket {
		err = fmt.Errorf("%s is not in the bucket %s", path, s.client.bucket)
	}
	return key, err
}

// Stat implements input.Store.
func (s *bucketStore) Stat(ctx context.Context, path string) (info input.Info, err error) {
	key, err := s.key(path)
	if err != nil {
		return input.Info{}, err
	}
	if key == "" {
		return input.Info{}, fmt.Errorf("%s is a bucket: %w", path, fs.ErrNotExist)
	}
	err = s.client.do(ctx, func() error {
		answer, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.client.bucket, Key: &key})
		if err != nil {
			return failed(err)
		}
		info = input.Info{Address: path, Size: -1, Version: text(answer.ETag)}
		if answer.ContentLength != nil {
			info.Size = *answer.ContentLength
		}
		return nil
	})
	return info, err
}

// List implements input.Store. It also takes an address without a slash at its end for a folder.
func (s *bucketStore) List(ctx context.Context, path string) (found []input.Info, err error) {
	prefix, err := s.key(path)
	if err != nil {
		return nil, err
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.client.bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		var page *s3.ListObjectsV2Output
		err := s.client.do(ctx, func() (err error) {
			page, err = pages.NextPage(ctx)
			return failed(err)
		})
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			if o.Key == nil || o.Size == nil {
				continue
			}
			found = append(found, input.Info{Address: address.ObjectPath(s.client.bucket, *o.Key), Size: *o.Size, Version: text(o.ETag)})
		}
	}
	slices.SortFunc(found, func(a, b input.Info) int { return strings.Compare(a.Address, b.Address) })
	return found, nil
}

// Open implements input.Store.
func (s *bucketStore) Open(ctx context.Context, path string) (input.Remote, error) {
	key, err := s.key(path)
	if err != nil {
		return nil, err
	}
	r, _, err := s.client.open(ctx, key)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Close implements input.Store.
func (s *bucketStore) Close() { s.client.close() }

// open opens the object with a key, and returns its ETag too.
func (c *bucketClient) open(ctx context.Context, key string) (r *ranged.Reader, etag string, err error) {
	o := &object{client: c, bucket: c.bucket, key: key}
	var start []byte
	err = c.do(ctx, func() (err error) {
		start, err = o.first(ctx)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return ranged.New(ctx, o, o.size, c.policy, start), o.etag, nil
}

func (c *bucketClient) do(ctx context.Context, f func() error) error {
	return c.policy.Do(ctx, func(error) { webclient.MeterOf(ctx).Again() }, f)
}
