package copying

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/stall"
)

// progressInterval is how often copy.Image says how much of a blob it has read.
const progressInterval = 200 * time.Millisecond

// image calls copy.Image, and tells of what that reports on its channel.
func (c *copier) image(ctx context.Context, dest, source types.ImageReference, options *copy.Options) ([]byte, error) {
	reported := make(chan types.ProgressProperties)
	var wg sync.WaitGroup
	wg.Go(func() {
		for p := range reported {
			if c.watch != nil {
				c.watch.Moved()
			}
			c.report(p)
			if options.Progress != nil && options.ProgressInterval > 0 {
				options.Progress <- p
			}
		}
	})
	defer wg.Wait()
	defer close(reported)
	how := *options
	how.Progress = reported
	if how.ProgressInterval <= 0 {
		how.ProgressInterval = progressInterval
	}
	return copy.Image(ctx, c.policy, dest, source, &how)
}

// report tells of a blob.
func (c *copier) report(p types.ProgressProperties) {
	e := Event{Blob: p.Artifact.Digest, Size: p.Artifact.Size}
	switch p.Event {
	case types.ProgressEventNewArtifact:
		e.Kind = Started
		c.extras.Progress(e)
	case types.ProgressEventRead, types.ProgressEventDone:
		c.extras.Progress(Event{Kind: Read, Blob: e.Blob, Bytes: int(p.OffsetUpdate)})
		if p.Event == types.ProgressEventDone {
			e.Kind = Finished
			c.extras.Progress(e)
		}
	}
}

// watchedReference is an archive whose writer waits for a registry no longer than that
// sends something.
type watchedReference struct {
	types.ImageReference
	watch *stall.Watch
}

// NewImageDestination returns the archive.
func (r *watchedReference) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	dest, err := r.ImageReference.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &watchedDestination{dest, r.watch}, nil
}

type watchedDestination struct {
	types.ImageDestination
	watch *stall.Watch
}

// PutBlob writes a blob.
func (d *watchedDestination) PutBlob(ctx context.Context, stream io.Reader, info types.BlobInfo, cache types.BlobInfoCache, isConfig bool) (types.BlobInfo, error) {
	return d.ImageDestination.PutBlob(ctx, d.watch.Received(ctx, stream), info, cache, isConfig)
}
