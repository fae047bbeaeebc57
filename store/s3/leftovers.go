package s3

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/sirupsen/logrus"
)

// clear handles unfinished uploads of the same object. It aborts the one that the caller names, and those that
// this user's earlier runs have left, unless they are to be resumed. It warns of all others.
func (u *upload) clear(ctx context.Context) error {
	uploads, err := u.unfinished(ctx)
	if named := u.options.AbortUpload; named != "" {
		key, listed := u.key, false
		for _, left := range uploads {
			if text(left.UploadId) == named {
				key, listed = text(left.Key), true
			}
		}
		if err == nil && !listed {
			logrus.Warnf("%s: there is no unfinished upload %s that could be aborted", u.shown, named)
		}
		t := u.at(key)
		if err := t.abort(ctx, named); err != nil {
			return fmt.Errorf("aborting the upload %s: %w", named, err)
		}
		t.removeRecord(named)
		uploads = slices.DeleteFunc(uploads, func(left types.MultipartUpload) bool { return text(left.UploadId) == named })
	}
	if err != nil {
		logrus.Warnf("%s: whether earlier uploads were left unfinished is not known: %v", u.shown, err)
		return nil
	}
	for _, left := range uploads {
		id, t := text(left.UploadId), u.at(text(left.Key))
		own, state := t.ownRecord(id)
		switch {
		case state == busyRecord && t.key != u.key: // It is another process's probe.
		case state == busyRecord:
			logrus.Warnf("%s: another process here is writing to it as well (upload %s)", u.shown, id)
		case own == nil:
			logrus.Warnf("%s: there is an unfinished upload, begun %s, that no earlier run here is known to have left. hint: %s aborts it",
				u.shown, aws.ToTime(left.Initiated).UTC().Format(time.RFC3339), abortHint(id))
		case u.options.Resume && t.key == u.key && own.resumable():
			own.release() // Until the first part.
		default:
			err := t.abort(ctx, id)
			if err == nil && t.key != u.key && own.isProbe() {
				err = t.remove(ctx)
			}
			if err != nil {
				own.release()
				logrus.Warnf("%s: the upload %s, which an earlier run has left, cannot be aborted: %v", u.shown, id, err)
				continue
			}
			own.remove()
			logrus.Infof("%s: the upload %s, which an earlier run has left, is aborted", u.shown, id)
		}
	}
	return nil
}

// errListEnds is returned where asking for the rest of a list would never end.
var errListEnds = errors.New("the store says that its list goes on, and not where")

func abortHint(id string) string { return "--abort-upload " + id }

// unfinished returns the uploads of the object, and of its probes, that are neither complete nor aborted.
func (t *target) unfinished(ctx context.Context) (found []types.MultipartUpload, err error) {
	in := &s3.ListMultipartUploadsInput{Bucket: &t.bucket, Prefix: &t.key}
	for {
		var answer *s3.ListMultipartUploadsOutput
		err := policy.Do(ctx, nil, func() (err error) {
			answer, err = t.client.ListMultipartUploads(ctx, in)
			return failed(err)
		})
		if err != nil {
			return nil, err
		}
		for _, u := range answer.Uploads {
			if rest, ok := strings.CutPrefix(text(u.Key), t.key); ok && (rest == "" || probeRest.MatchString(rest)) {
				found = append(found, u)
			}
		}
		if !aws.ToBool(answer.IsTruncated) {
			return found, nil
		}
		if text(answer.NextKeyMarker) == text(in.KeyMarker) && text(answer.NextUploadIdMarker) == text(in.UploadIdMarker) {
			return nil, errListEnds
		}
		in.KeyMarker, in.UploadIdMarker = answer.NextKeyMarker, answer.NextUploadIdMarker
	}
}

// abort makes the store forget an upload. An unknown upload is no error.
func (t *target) abort(ctx context.Context, id string) error {
	err := policy.Do(ctx, nil, func() error {
		_, err := t.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &t.bucket, Key: &t.key, UploadId: &id})
		return failed(err)
	})
	var refused *storeError
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return nil
	}
	return err
}

// there describes a part that an earlier run has sent.
type there struct {
	size      int64
	etag, sum string // sum is its CRC32C
}

// is reports whether the part has the given bytes. The CRC32C has only 32 bits, so the MD5 must match too.
func (p there) is(data []byte, sum string) bool {
	if p.size != int64(len(data)) || p.sum != sum {
		return false
	}
	digest := md5.Sum(data)
	return strings.Trim(p.etag, `"`) == hex.EncodeToString(digest[:])
}

// resume continues the upload that an earlier run has left, if there is one. Only parts for which the store has
// checksums count as sent.
func (u *upload) resume() error {
	uploads, err := u.unfinished(u.ctx)
	if err != nil {
		return fmt.Errorf("looking for the upload to go on with: %w", err)
	}
	for _, left := range uploads {
		if text(left.Key) != u.key {
			continue
		}
		own, _ := u.ownRecord(text(left.UploadId))
		if own == nil {
			continue
		}
		if !own.resumable() {
			own.release()
			continue
		}
		u.id, u.token, u.record, u.sizes = text(left.UploadId), own.Token, own, sizes{own.Base, own.Steady}
		u.there, err = u.listParts(u.ctx)
		return err
	}
	return nil
}

func (u *upload) listParts(ctx context.Context) (map[int32]there, error) {
	found := map[int32]there{}
	in := &s3.ListPartsInput{Bucket: &u.bucket, Key: &u.key, UploadId: &u.id}
	for {
		var answer *s3.ListPartsOutput
		err := policy.Do(ctx, nil, func() (err error) {
			answer, err = u.client.ListParts(ctx, in)
			return failed(err)
		})
		if err != nil {
			return nil, fmt.Errorf("listing the parts that are there: %w", err)
		}
		for _, p := range answer.Parts {
			if text(p.ChecksumCRC32C) != "" {
				found[aws.ToInt32(p.PartNumber)] = there{aws.ToInt64(p.Size), text(p.ETag), text(p.ChecksumCRC32C)}
			}
		}
		if !aws.ToBool(answer.IsTruncated) {
			return found, nil
		}
		if text(answer.NextPartNumberMarker) == text(in.PartNumberMarker) {
			return nil, fmt.Errorf("listing the parts that are there: %w", errListEnds)
		}
		in.PartNumberMarker = answer.NextPartNumberMarker
	}
}
