package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// errUnconditional means that a store ignores the conditions of completions.
var errUnconditional = errors.New("the store completes uploads without looking at their conditions, so that another program's archive could be lost; --unconditional writes all the same")

// needsProbe reports whether the store has to prove that it obeys conditions. Amazon's default endpoint does.
func (u *upload) needsProbe() bool {
	return !u.options.Unconditional && u.client.Options().BaseEndpoint != nil
}

// probe finds out whether the store obeys the conditions of completions. It tries them on an object of its own,
// beside the archive, and deletes that object.
//
// Its requests do not end with ctx: a store may execute an abandoned request after the object was deleted.
func (u *upload) probe(ctx context.Context) (err error) {
	ended := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
	defer cancel()
	random := make([]byte, 8)
	_, _ = rand.Read(random) // Never fails.
	t := u.at(u.key + probeSuffix + hex.EncodeToString(random))
	defer func() {
		if err != nil && !errors.Is(err, errUnconditional) {
			err = fmt.Errorf("finding out, with the object %s, whether the store completes uploads on conditions (--unconditional does not need to know): %w", t.key, err)
		}
	}()
	defer func() {
		if deleteErr := t.remove(context.WithoutCancel(ctx)); err == nil {
			err = deleteErr
		}
	}()
	err = policy.Do(ctx, nil, func() error {
		_, err := t.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &t.bucket, Key: &t.key, Body: bytes.NewReader([]byte("probe"))})
		return failed(err)
	})
	if err != nil {
		return err
	}
	for _, condition := range []func(*s3.CompleteMultipartUploadInput){
		func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = aws.String("*") },
		func(in *s3.CompleteMultipartUploadInput) {
			in.IfMatch = aws.String(`"00000000000000000000000000000000"`)
		},
	} {
		if err := context.Cause(ended); err != nil {
			return err
		}
		if err := policy.Do(ended, nil, func() error { return t.probeOne(ctx, ended, condition) }); err != nil {
			return err
		}
	}
	return nil
}

// probeTime bounds a probe, also of a store that throttles: each of its requests is repeated for half a minute.
const probeTime = 3 * time.Minute

// probeSuffix follows the key of the archive in the keys of its probes.
const probeSuffix = ".probe-"

// probeRest matches what is behind the key of the archive in those of its probes.
var probeRest = regexp.MustCompile(`^` + regexp.QuoteMeta(probeSuffix) + `[0-9a-f]{16}$`)

// remove deletes the object, if there is one.
func (t *target) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, abortTime)
	defer cancel()
	return policy.Do(ctx, nil, func() error {
		_, err := t.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &t.bucket, Key: &t.key})
		return failed(err)
	})
}

// probeOne completes an upload on a condition that does not hold. A completion that fails is not repeated, because its
// upload may be complete. The requests before it are, until ended.
func (t *target) probeOne(ctx, ended context.Context, condition func(*s3.CompleteMultipartUploadInput)) error {
	var begun *s3.CreateMultipartUploadOutput
	err := policy.Do(ended, nil, func() (err error) {
		begun, err = t.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &t.bucket, Key: &t.key}, whenRequired)
		return failed(err)
	})
	if err != nil {
		return retry.Final(err)
	}
	record := t.newRecord(text(begun.UploadId), "", sizes{})
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
		defer cancel()
		if t.abort(ctx, text(begun.UploadId)) == nil { // It is nil for a completed upload, too.
			record.remove()
		}
		record.release()
	}()
	number := aws.Int32(1)
	var part *s3.UploadPartOutput
	err = policy.Do(ended, nil, func() (err error) {
		part, err = t.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &t.bucket, Key: &t.key, UploadId: begun.UploadId, PartNumber: number, Body: bytes.NewReader([]byte("probe")),
		}, whenRequired)
		return failed(err)
	})
	if err != nil {
		return retry.Final(err)
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &t.bucket, Key: &t.key, UploadId: begun.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: number, ETag: part.ETag}}},
	}
	condition(in)
	_, err = t.client.CompleteMultipartUpload(ctx, in, whenRequired)
	err = failed(err)
	var refused *storeError
	switch {
	case err == nil:
		return errUnconditional
	case errors.As(err, &refused) && refused.unmet():
		return nil
	case errors.As(err, &refused) && refused.status == http.StatusNotImplemented:
		return errUnconditional
	}
	return err
}
