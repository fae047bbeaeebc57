package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/dockerarchive/dockerarchive/internal/output"
)

// copiedPart is how many bytes of an object the store copies in one request, unless that would take too many
// requests. It is a variable so that tests need not copy much.
var copiedPart int64 = 128 << 20

// maxCompared is how many of the bytes between two blobs are compared with those of the old version.
const maxCompared = 1 << 20

// copying is the end of an upload in which the old version of the object has some of the bytes. They stand in this
// order: copied; the bytes in buf before tail; tail; fresh.
type copying struct {
	copied run // what the store is to copy next
	tail   run // bytes in buf that the old version has, and that may become copied
	fresh  int // bytes behind them in buf
}

// run is a range of the old version.
type run struct{ off, n int64 }

func (r run) end() int64 { return r.off + r.n }

// setCopies says that parts may be copied from the old version.
func (u *upload) setCopies() {
	u.copies = true
	u.options.Resume = false // Copied parts have no checksums.
}

// WriteFrom implements output.Object. A long run of bytes of the old version is copied in the store. A short one is
// sent, because each part but the last must have 5 MiB.
func (u *upload) WriteFrom(p []byte, file io.ReaderAt, off int64) (int, error) {
	old, ok := file.(*remote)
	if !ok || !u.copies || old.client.bucket != u.bucket || old.key != u.key || !u.sameStore(old) {
		return u.Write(p)
	}
	u.writing.Lock()
	defer u.writing.Unlock()
	if err := u.begin(); err != nil {
		return 0, err
	}
	if old.etag != u.replaces {
		return 0, u.fail(output.ErrChanged)
	}
	u.join(old, off)
	written := 0
	for len(p) > 0 {
		n, err := u.extend(p, off+int64(written))
		p, written = p[n:], written+n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// sameStore reports whether a reader asks the same store.
func (u *upload) sameStore(old *remote) bool {
	ours, theirs := u.client.Options(), old.client.Options()
	return aws.ToString(ours.BaseEndpoint) == aws.ToString(theirs.BaseEndpoint) && ours.Region == theirs.Region
}

// join prepares for bytes that old has at an offset. If old has the fresh bytes too, there and behind the run before,
// as headers and padding are, they become parts of the runs.
func (u *upload) join(old io.ReaderAt, off int64) {
	c := &u.copying
	fresh := u.buf[len(u.buf)-c.fresh:]
	same := sameBefore(old, off, fresh)
	between := fresh[:len(fresh)-same]
	switch next := off - int64(same); {
	case len(between) == 0 && c.tail.n > 0 && c.tail.end() == next:
		c.tail.n += int64(same)
	case c.tail.n == 0 && c.copied.n > 0 && len(fresh) == len(u.buf) && sameAt(old, c.copied.end(), between):
		c.copied.n += int64(len(between))
		u.buf = append(u.buf[:0], fresh[len(between):]...)
		if c.copied.end() == next {
			c.copied.n += int64(same)
			u.buf = u.buf[:0]
		} else {
			c.tail = run{next, int64(same)}
		}
	default:
		c.tail = run{next, int64(same)}
	}
	c.fresh = 0
}

// sameBefore returns how many of the last bytes of p the old version has before an offset.
func sameBefore(old io.ReaderAt, off int64, p []byte) int {
	n := int(min(int64(len(p)), off, maxCompared))
	there := make([]byte, n)
	if n == 0 {
		return 0
	}
	if _, err := old.ReadAt(there, off-int64(n)); err != nil {
		return 0 // They are sent. Who reads the next blob gets the error.
	}
	p = p[len(p)-n:]
	for i, b := range slices.Backward(there) {
		if b != p[i] {
			return n - i - 1
		}
	}
	return n
}

// sameAt reports whether the old version has p at an offset.
func sameAt(old io.ReaderAt, off int64, p []byte) bool {
	if len(p) == 0 || len(p) > maxCompared {
		return len(p) == 0
	}
	there := make([]byte, len(p))
	_, err := old.ReadAt(there, off)
	return err == nil && bytes.Equal(there, p)
}

// extend adds bytes of the old version, and returns how many.
func (u *upload) extend(p []byte, off int64) (int, error) {
	c := &u.copying
	if len(u.buf) == 0 && c.copied.n > 0 && c.copied.end() == off {
		c.copied.n += int64(len(p))
		return len(p), u.copyRun(false)
	}
	size := u.sizes.of(len(u.parts) + 1)
	if u.buf == nil {
		u.buf = u.buffer(size)
	}
	n := min(int(size)-len(u.buf), len(p))
	u.buf = append(u.buf, p[:n]...)
	if c.tail.n == 0 {
		c.tail.off = off
	}
	c.tail.n += int64(n)
	return n, u.settle(int(size))
}

// settle has the tail copied as soon as it is long enough. If the bytes before it are too few for a part, they take
// some of it. A full buffer is sent, but for such a tail.
func (u *upload) settle(size int) error {
	c := &u.copying
	least := u.least()
	cut := len(u.buf) - int(c.tail.n)
	if cut > 0 {
		cut = min(max(cut, least), len(u.buf))
	}
	rest := u.buf[cut:]
	long := len(rest) >= least
	if !long && len(u.buf) < size {
		return nil
	}
	tail := run{c.tail.end() - int64(len(rest)), int64(len(rest))}
	u.buf = u.buf[:cut]
	if err := u.flush(); err != nil {
		return err
	}
	if long {
		c.copied = tail
		return u.copyRun(false)
	}
	c.tail = tail
	u.buf = append(u.buffer(int64(size)), rest...)
	return nil
}

// least is how many bytes the next part must have if it is not the last: with all parts that long, 10,000 suffice.
func (u *upload) least() int { return int(u.sizes.of(len(u.parts)+1) / firstPart * minPart) }

// endCopying has the store copy the run.
func (u *upload) endCopying() error {
	err := u.copyRun(true)
	u.copying = copying{}
	return err
}

// copyRun has the store copy the run, in parts, but for a rest that may grow unless all is set.
func (u *upload) copyRun(all bool) error {
	c := &u.copying.copied
	for {
		piece, least := min(max(copiedPart, u.sizes.of(len(u.parts)+1)), maxPart/5), int64(u.least())
		n := c.n
		switch {
		case n >= piece+least:
			n = piece
		case !all || n == 0:
			return nil
		}
		from := c.off
		if err := u.next(func(number int32) (types.CompletedPart, error) { return u.copyPart(number, from, from+n) }); err != nil {
			return err
		}
		c.off, c.n = c.off+n, c.n-n
	}
}

// escaped takes a key from the form of a query to that of a copy's source, in which S3 takes a plus sign for a space.
var escaped = strings.NewReplacer("+", "%20", "%2F", "/")

// copyPart has the store copy the bytes between two offsets of the old version.
func (u *upload) copyPart(number int32, from, to int64) (types.CompletedPart, error) {
	in := &s3.UploadPartCopyInput{
		Bucket: &u.bucket, Key: &u.key, UploadId: &u.id, PartNumber: &number,
		CopySource:        aws.String(u.bucket + "/" + escaped.Replace(url.QueryEscape(u.key))),
		CopySourceRange:   aws.String(fmt.Sprintf("bytes=%d-%d", from, to-1)),
		CopySourceIfMatch: &u.replaces,
	}
	var answer *s3.UploadPartCopyOutput
	err := policy.Do(u.ctx, nil, func() (err error) {
		answer, err = u.client.UploadPartCopy(u.ctx, in)
		return failed(err)
	})
	var refused *storeError
	switch {
	case errors.As(err, &refused) && (refused.unmet() || refused.code == "NoSuchKey"):
		return types.CompletedPart{}, output.ErrChanged
	case err != nil:
		return types.CompletedPart{}, err
	case answer.CopyPartResult == nil || text(answer.CopyPartResult.ETag) == "":
		return types.CompletedPart{}, errors.New("the store names no ETag of the copied part")
	}
	return types.CompletedPart{PartNumber: &number, ETag: answer.CopyPartResult.ETag}, nil
}
