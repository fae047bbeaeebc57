package s3

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
)

// upload writes an object by a multipart upload. It implements output.Object. It sends parts while it fills the
// next one. Memory is the size of a part × (inFlight + 1).
type upload struct {
	target
	options output.RemoteOptions
	// replaces is the ETag of the object that the new one replaces, "" for a new key.
	replaces string
	old      *ranged.Reader // reads that object; nil if it is only replaced
	// copies says that parts may be copied from another object. Stores disagree about the checksum of a copied part,
	// so each part that is sent is then verified by its MD5 and not by a CRC32C that the object keeps.
	copies bool

	ctx    context.Context // of all requests for parts
	cancel context.CancelCauseFunc

	// writing is held while something is written or ended. Abort waits for a Write that nobody waits for any
	// more: it may be about to get an ID, which has to be given up.
	writing sync.Mutex
	expects int64
	sizes   sizes
	id      string // "" before the first part
	token   string // in the metadata of the object that this upload makes
	record  *record
	probed  chan error // gets the result of the probe; nil without a probe
	buf     []byte     // the part that is being filled
	copying copying
	slots   chan struct{}
	group   sync.WaitGroup

	mu    sync.Mutex
	parts []types.CompletedPart
	free  [][]byte        // buffers
	there map[int32]there // parts that an earlier run has left
}

// newUpload returns an upload. ctx ends it until it is committed.
func newUpload(ctx context.Context, t target, o output.RemoteOptions) *upload {
	u := &upload{target: t, options: o, slots: make(chan struct{}, inFlight)}
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	return u
}

// Expect implements output.Object.
func (u *upload) Expect(size int64) { u.expects = size }

// Write implements output.Object.
func (u *upload) Write(p []byte) (int, error) {
	u.writing.Lock()
	defer u.writing.Unlock()
	written := 0
	for len(p) > 0 {
		if err := u.begin(); err != nil {
			return written, err
		}
		size := u.sizes.of(len(u.parts) + 1)
		if u.buf == nil {
			u.buf = u.buffer(size)
		}
		n := min(int(size)-len(u.buf), len(p))
		u.buf = append(u.buf, p[:n]...)
		u.copying.fresh += n
		p, written = p[n:], written+n
		if len(u.buf) == int(size) {
			if err := u.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// begin begins the upload at its first call. It returns the error of an upload that has failed already.
func (u *upload) begin() error {
	if err := context.Cause(u.ctx); err != nil || u.id != "" {
		return err
	}
	u.sizes = sizesFor(u.expects, 0)
	if u.options.Resume {
		if err := u.resume(); err != nil {
			return err
		}
	}
	if u.id == "" {
		if err := u.create(); err != nil {
			return err
		}
	}
	if err := context.Cause(u.ctx); err != nil {
		return err
	}
	if u.needsProbe() {
		probed := make(chan error, 1)
		u.probed = probed
		go func() {
			err := u.probe(u.ctx)
			if err != nil {
				u.cancel(err) // Nothing more is sent in vain.
			}
			probed <- err
		}()
	}
	return nil
}

// create has the store begin an upload. The request does not end with the upload's context: a store may well carry
// one out that nobody waits for, and nobody would know the ID then.
func (u *upload) create() error {
	u.token = newToken()
	in := &s3.CreateMultipartUploadInput{
		Bucket: &u.bucket, Key: &u.key, ContentType: aws.String(contentType), Metadata: map[string]string{tokenKey: u.token},
	}
	if !u.copies {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32c, types.ChecksumTypeComposite
	}
	var answer *s3.CreateMultipartUploadOutput
	err := policy.Do(u.ctx, nil, func() (err error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortTime)
		defer cancel()
		answer, err = u.client.CreateMultipartUpload(ctx, in, whenRequired)
		return failed(err)
	})
	if err != nil {
		return fmt.Errorf("beginning an upload: %w", err)
	}
	if u.id = text(answer.UploadId); u.id == "" {
		return errors.New("the store begins an upload without an ID")
	}
	recorded := u.sizes
	if u.copies { // Nobody goes on with it.
		recorded = sizes{}
	}
	u.record = u.newRecord(u.id, u.token, recorded)
	return nil
}

// contentType is the media type of the object.
const contentType = "application/x-tar"

// whenRequired keeps the SDK from adding checksums of its own.
func whenRequired(o *s3.Options) {
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
}

// buffer returns an empty buffer.
func (u *upload) buffer(size int64) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.free) > 0 {
		last := u.free[len(u.free)-1]
		u.free = u.free[:len(u.free)-1]
		if int64(cap(last)) >= size {
			return last[:0]
		}
	}
	return make([]byte, 0, size)
}

// flush sends the collected bytes as the next part, after those that are to be copied.
func (u *upload) flush() error {
	if err := u.endCopying(); err != nil || len(u.buf) == 0 {
		return err
	}
	data := u.buf
	u.buf = nil
	return u.next(func(number int32) (types.CompletedPart, error) { return u.sendPart(number, data) })
}

// reuse lets a buffer be filled again.
func (u *upload) reuse(data []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.free = append(u.free, data)
}

// next calls send for the next part as soon as fewer than inFlight parts are on their way.
func (u *upload) next(send func(number int32) (types.CompletedPart, error)) error {
	if len(u.parts) == maxParts {
		return u.fail(fmt.Errorf("the archive would have more than %d parts", maxParts))
	}
	select {
	case u.slots <- struct{}{}:
	case <-u.ctx.Done():
		return context.Cause(u.ctx)
	}
	u.mu.Lock()
	u.parts = append(u.parts, types.CompletedPart{})
	number := len(u.parts)
	u.mu.Unlock()
	u.group.Go(func() {
		part, err := send(int32(number))
		if err != nil {
			_ = u.fail(fmt.Errorf("part %d: %w", number, err))
		}
		u.mu.Lock()
		u.parts[number-1] = part
		u.mu.Unlock()
		<-u.slots
	})
	return nil
}

// fail ends the upload with an error, unless it has failed before. It returns the first error.
func (u *upload) fail(err error) error {
	u.cancel(err)
	return context.Cause(u.ctx)
}

// sendPart sends a part, unless an earlier run has sent it.
func (u *upload) sendPart(number int32, data []byte) (types.CompletedPart, error) {
	in := &s3.UploadPartInput{Bucket: &u.bucket, Key: &u.key, UploadId: &u.id, PartNumber: &number, ContentLength: aws.Int64(int64(len(data)))}
	if u.copies {
		sum := md5.Sum(data)
		in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
	} else {
		sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli))
		in.ChecksumCRC32C = aws.String(base64.StdEncoding.EncodeToString(sum))
	}
	if old, ok := u.there[number]; ok && old.is(data, text(in.ChecksumCRC32C)) {
		u.reuse(data)
		return types.CompletedPart{PartNumber: &number, ETag: &old.etag, ChecksumCRC32C: in.ChecksumCRC32C}, nil
	}
	var answer *s3.UploadPartOutput
	attempts := 0
	err := policy.Do(u.ctx, nil, func() (err error) {
		attempts++
		in.Body = bytes.NewReader(data)
		answer, err = u.client.UploadPart(u.ctx, in, whenRequired)
		return failed(err)
	})
	if err != nil {
		return types.CompletedPart{}, err
	}
	if text(answer.ETag) == "" {
		return types.CompletedPart{}, errors.New("the store names no ETag of the part")
	}
	if attempts == 1 { // A request that has failed may go on reading the buffer.
		u.reuse(data)
	}
	return types.CompletedPart{PartNumber: &number, ETag: answer.ETag, ChecksumCRC32C: in.ChecksumCRC32C}, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Commit implements output.Object. If it fails, nothing is left, except the parts that Resume keeps.
func (u *upload) Commit(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { u.cancel(context.Cause(ctx)) })
	defer stop()
	u.writing.Lock()
	defer u.writing.Unlock()
	err := u.begin()
	if err == nil {
		err = u.flush()
	}
	u.group.Wait()
	if err == nil {
		err = context.Cause(u.ctx)
	}
	if err == nil && u.probed != nil {
		select {
		case err = <-u.probed:
			u.probed = nil
		case <-u.ctx.Done():
			err = context.Cause(u.ctx)
		}
	}
	if err == nil {
		err = u.complete(u.ctx)
	}
	if err != nil {
		return errors.Join(err, u.discard(err))
	}
	u.record.remove()
	u.close(nil)
	return nil
}

// Abort implements output.Object.
func (u *upload) Abort() error {
	u.cancel(errAborted) // A Write that is going on fails.
	u.writing.Lock()
	defer u.writing.Unlock()
	return u.discard(errAborted)
}

var errAborted = errors.New("the upload was given up")

// abortTime is how long aborting an upload may take after its context has ended.
const abortTime = 30 * time.Second

// discard ends the upload because of an error. The store forgets it, unless its parts may be of use. The caller holds
// writing.
func (u *upload) discard(cause error) error {
	u.cancel(cause)
	u.group.Wait()
	defer u.close(cause)
	if u.id == "" {
		return nil
	}
	if u.options.Resume && u.record != nil && !errors.Is(cause, output.ErrNotEmpty) {
		u.record.keep()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortTime)
	defer cancel()
	if err := u.abort(ctx, u.id); err != nil {
		u.record.keep()
		return fmt.Errorf("%w (%s aborts it the next time)", err, abortHint(u.id))
	}
	u.record.remove()
	return nil
}

// close waits for the probe and ends the connections.
func (u *upload) close(cause error) {
	u.cancel(cmp.Or(cause, errAborted))
	if u.probed != nil {
		<-u.probed
		u.probed = nil
	}
	if u.old != nil {
		_ = u.old.Close() // It was only read.
	}
	u.client.close()
}
