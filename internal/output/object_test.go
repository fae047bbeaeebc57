package output

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// brokenObject fails once. It notes how it ends.
type brokenObject struct {
	io.ReaderAt
	keep, write error
	ended       string
}

func (o *brokenObject) Write(p []byte) (int, error) {
	err := o.write
	if o.write = nil; err != nil {
		return 0, err
	}
	return len(p), nil
}

func (o *brokenObject) WriteFrom(p []byte, _ io.ReaderAt, _ int64) (int, error) { return o.Write(p) }

func (o *brokenObject) Expect(int64) {}

func (o *brokenObject) Commit(context.Context) error {
	o.ended += "committed"
	return nil
}

func (o *brokenObject) Abort() error {
	o.ended += "aborted"
	return nil
}

func (o *brokenObject) Size() int64 { return 0 }

func (o *brokenObject) Keep(int64) error { return o.keep }

// An object that lacks what could not be written is not completed.
func TestObjectWriteFails(t *testing.T) {
	broken := errors.New("broken")
	for name, object := range map[string]*brokenObject{"write": {write: broken}, "keep": {keep: broken}} {
		t.Run(name, func(t *testing.T) {
			o := (&remote{path: "s3://bucket/x.tar", object: object, old: object}).output()
			o.Grow(make([]byte, 512), 0, 512)
			_, err := o.Writer().Write([]byte("lost"))
			require.ErrorIs(t, err, broken)
			_, err = o.Writer().Write([]byte("more"))
			require.ErrorIs(t, err, broken)
			require.ErrorIs(t, o.Commit(t.Context()), broken)
			assert.Equal(t, "aborted", object.ended)
		})
	}
}
