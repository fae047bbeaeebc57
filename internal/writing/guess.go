package writing

import (
	"context"
	"sync"

	"github.com/dockerarchive/dockerarchive/internal/compression"
)

// smallBlob is a size, in bytes, below which a blob has been decompressed before it
// could be asked how large it becomes.
const smallBlob = 64 << 10

// guess returns a channel that brings the size that a blob may have when it is
// decompressed, if its start or its end tells, and is closed when nothing more comes.
// Nothing depends on that: it may come late, be wrong, or not come. stop ends the
// asking and waits for its end, for the source may be closed after it.
func (a *Archive) guess(ctx context.Context, info received, algorithm compression.Algorithm, start []byte) (found <-chan int64, stop func()) {
	// A stream has no use for a size that may be wrong. A layer that may be there
	// already, in another form, gets no place either.
	if a.Stream() || a.mixed || info.size < smallBlob {
		return nil, func() {}
	}
	sizes := make(chan int64, 1)
	ask := func(end []byte) {
		if size, ok := algorithm.Unpacked(start, end, info.size); ok {
			sizes <- size
		}
	}
	if algorithm.SizeAtEnd() == 0 {
		ask(nil)
		close(sizes)
		return sizes, func() {}
	}
	if a.readEnd == nil || info.digest == "" {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	asking.Go(func() {
		defer close(sizes)
		if end, err := a.readEnd(ctx, info.digest, algorithm.SizeAtEnd()); err == nil {
			ask(end)
		}
	})
	return sizes, func() {
		cancel()
		asking.Wait()
	}
}
