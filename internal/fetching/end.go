package fetching

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// EndSource is a Source that can tell how a blob ends while it is read.
type EndSource interface {
	Source
	// ReadEnd returns the last n bytes of a blob. The error may be that it is not worth
	// the trouble. It may be called at any time, and should end with ctx.
	ReadEnd(ctx context.Context, blob v1.Descriptor, n int) ([]byte, error)
}

// ReadEnd returns the last n bytes of a blob as the first image has it. They are not
// verified, and an error, which is not tried again, says nothing about the blob.
func (f *Fetcher) ReadEnd(ctx context.Context, d digest.Digest, n int) ([]byte, error) {
	blob, ok := f.byDigest[d]
	if !ok || len(blob.images) == 0 {
		return nil, fmt.Errorf("no image has the blob %s", d)
	}
	source, ok := blob.images[0].source.(EndSource)
	if !ok || blob.Size < int64(n) {
		return nil, fmt.Errorf("the end of the blob %s cannot be read", d)
	}
	return source.ReadEnd(ctx, blob.Descriptor, n)
}
