package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
)

// copiedPart is how many bytes of an object the store copies in one request, unless that would take too many
// requests. It is a variable so that tests need not copy much.
var copiedPart int64 = 128 << 20

// successor is the next version of an object. It implements output.ChangedObject.
type successor struct{ *upload }

// openSuccessor implements output.Scheme.
func openSuccessor(ctx context.Context, path string, o output.RemoteOptions) (output.ChangedObject, error) {
	t, err := newTarget(ctx, path)
	if err != nil {
		return nil, err
	}
	s := &successor{newUpload(ctx, t, o)}
	s.copies = true
	s.options.Resume = false
	s.old, s.replaces, err = t.client.open(s.ctx, t.key)
	if err == nil {
		err = s.clear(ctx)
	}
	if err != nil {
		s.close(err)
		return nil, err
	}
	return s, nil
}

// ReadAt implements io.ReaderAt.
func (s *successor) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.old.ReadAt(p, off)
	if errors.Is(err, ranged.ErrChanged) {
		err = fmt.Errorf("%w: %w", output.ErrChanged, err)
	}
	return n, err
}

// Size implements output.ChangedObject.
func (s *successor) Size() int64 { return s.old.Size() }

// Keep implements output.ChangedObject.
func (s *successor) Keep(n int64) error {
	if n < minPart { // No part but the last may be so small.
		_, err := io.Copy(s.upload, io.NewSectionReader(s, 0, n))
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.begin(); err != nil {
		return err
	}
	pieces := (n + copiedPart - 1) / copiedPart
	pieces = min(pieces, maxParts/2)
	s.sizes = sizesFor(s.expects, int(pieces))
	for i := range pieces {
		from, to := n*i/pieces, n*(i+1)/pieces
		if err := s.next(to-from, func(number int32) (types.CompletedPart, error) { return s.copyPart(number, from, to) }); err != nil {
			return err
		}
	}
	return nil
}

// escaped takes a key from the form of a query to that of a copy's source, in which S3 takes a plus sign for a space.
var escaped = strings.NewReplacer("+", "%20", "%2F", "/")

// copyPart has the store copy the bytes between two offsets of the old version.
func (s *successor) copyPart(number int32, from, to int64) (types.CompletedPart, error) {
	in := &s3.UploadPartCopyInput{
		Bucket: &s.bucket, Key: &s.key, UploadId: &s.id, PartNumber: &number,
		CopySource:        aws.String(s.bucket + "/" + escaped.Replace(url.QueryEscape(s.key))),
		CopySourceRange:   aws.String(fmt.Sprintf("bytes=%d-%d", from, to-1)),
		CopySourceIfMatch: &s.replaces,
	}
	var answer *s3.UploadPartCopyOutput
	err := policy.Do(s.ctx, nil, func() (err error) {
		answer, err = s.client.UploadPartCopy(s.ctx, in)
		return failed(err)
	})
	var refused *storeError
	switch {
	case errors.As(err, &refused) && (refused.status == http.StatusPreconditionFailed || refused.code == "NoSuchKey"):
		return types.CompletedPart{}, output.ErrChanged
	case err != nil:
		return types.CompletedPart{}, err
	case answer.CopyPartResult == nil || text(answer.CopyPartResult.ETag) == "":
		return types.CompletedPart{}, errors.New("the store names no ETag of the copied part")
	}
	return types.CompletedPart{PartNumber: &number, ETag: answer.CopyPartResult.ETag}, nil
}
