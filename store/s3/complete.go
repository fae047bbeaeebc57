package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/dockerarchive/dockerarchive/internal/output"
)

// complete makes the object from the parts, if the key has not changed meanwhile.
func (u *upload) complete(ctx context.Context) error {
	lost, err := u.tryComplete(ctx)
	if !lost || err != nil && u.options.Resume {
		return err
	}
	// The store may be at it still. What it has forgotten is complete by now, or never will be. If the object has
	// been there before, of the same bytes, the upload may not be complete.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	if abortErr := u.abort(ctx, u.id); err != nil && abortErr == nil {
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
				return true, nil
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
	answer, err := u.look(ctx, types.ChecksumModeEnabled)
	if answer == nil || err != nil {
		return false, err
	}
	if etag := u.etag(); etag != "" && text(answer.ETag) == etag {
		return true, nil
	}
	sum := u.checksum()
	return sum != "" && text(answer.ChecksumCRC32C) == sum && aws.ToInt64(answer.ContentLength) == u.sent, nil
}

// etag returns the ETag that the object must have, "" if the parts' ETags are not MD5s, as with some encryption.
func (u *upload) etag() string {
	h := md5.New()
	for _, p := range u.parts {
		sum, err := hex.DecodeString(strings.Trim(text(p.ETag), `"`))
		if err != nil || len(sum) != md5.Size {
			return ""
		}
		h.Write(sum)
	}
	return fmt.Sprintf(`"%x-%d"`, h.Sum(nil), len(u.parts))
}

// checksum returns the checksum that the object must have, "" if it has none.
func (u *upload) checksum() string {
	h := crc32.New(castagnoli)
	for _, p := range u.parts {
		sum, err := base64.StdEncoding.DecodeString(text(p.ChecksumCRC32C))
		if err != nil || len(sum) != crc32.Size {
			return ""
		}
		h.Write(sum)
	}
	return fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(h.Sum(nil)), len(u.parts))
}
