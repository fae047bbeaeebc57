package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/dockerarchive/dockerarchive/internal/output"
)

// complete makes the object from the parts, if the key has not changed meanwhile.
func (u *upload) complete(ctx context.Context) error {
	lost, err := u.tryComplete(ctx)
	if err == nil || !lost || u.options.Resume {
		return err
	}
	// The store may be at it still. What it has forgotten is complete by now, or never will be.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	if u.abort(ctx, u.id) == nil {
		if done, headErr := u.isThere(ctx); headErr == nil && done {
			return nil
		}
	}
	return err
}

// tryComplete is complete without a last look. lost says that there was an attempt whose end is not known.
func (u *upload) tryComplete(ctx context.Context) (lost bool, err error) {
	for backoff := policy.Backoff(); ; {
		if u.options.Unconditional { // The store would not look: this is the best that can be done.
			if err := u.checkPlace(ctx); err != nil {
				return lost, err
			}
		}
		err := u.completeOnce(ctx)
		if err == nil {
			return false, nil
		}
		var refused *storeError
		if lost = lost || !errors.As(err, &refused) || refused.status >= http.StatusInternalServerError; lost {
			done, headErr := u.isThere(ctx)
			if done {
				return false, nil
			}
			if headErr != nil {
				return true, fmt.Errorf("completing the upload: %w; whether it is complete is not known: %w", err, headErr)
			}
		}
		if err := u.conflict(ctx, err); err != nil {
			return lost, err
		}
		if err := backoff.Next(ctx, err, nil); err != nil {
			return lost, fmt.Errorf("completing the upload: %w", err)
		}
	}
}

func (u *upload) completeOnce(ctx context.Context) error {
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &u.bucket, Key: &u.key, UploadId: &u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	}
	switch {
	case u.options.Unconditional:
	case u.replaces != "":
		in.IfMatch = &u.replaces
	default:
		in.IfNoneMatch = aws.String("*")
	}
	answer, err := u.client.CompleteMultipartUpload(ctx, in, whenRequired)
	if err == nil && text(answer.ETag) == "" { // It begins before the object is complete.
		err = fmt.Errorf("the store's answer has no ETag of the object: %w", io.ErrUnexpectedEOF)
	}
	return failed(err)
}

// conflict returns the error to report if err means that the key has changed meanwhile, and nil for other errors.
func (u *upload) conflict(ctx context.Context, err error) error {
	var refused *storeError
	if !errors.As(err, &refused) {
		return nil
	}
	switch {
	case refused.unmet(),
		refused.status == http.StatusConflict && refused.code == "ConditionalRequestConflict",
		u.replaces != "" && refused.status == http.StatusNotFound && refused.code == "NoSuchKey":
	default:
		return nil
	}
	if u.replaces != "" {
		return output.ErrChanged
	}
	if refused.status == http.StatusConflict { // Another writer is at it, and may still fail.
		if etag, headErr := u.head(ctx); headErr != nil || etag == "" {
			return fmt.Errorf("another program is writing to it: %w", err)
		}
	}
	return output.ErrNotEmpty
}

// checkPlace returns an error, as conflict does, if the key has changed meanwhile.
func (u *upload) checkPlace(ctx context.Context) error {
	etag, err := u.head(ctx)
	switch {
	case err != nil:
		return err
	case etag == u.replaces:
		return nil
	case u.replaces != "":
		return output.ErrChanged
	}
	return output.ErrNotEmpty
}

// isThere reports whether the object has been made. It asks even after ctx has ended, because the caller has to know.
func (u *upload) isThere(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	answer, err := u.look(ctx)
	return answer != nil && answer.Metadata[tokenKey] == u.token, err
}

// tokenKey is the key of the metadata with the upload's token. A store tells it of the object that the upload has
// made, and of no other one, however it is encrypted.
const tokenKey = "docker-archive-upload"

// newToken returns a token for one upload.
func newToken() string {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // Never fails.
	return hex.EncodeToString(random)
}
