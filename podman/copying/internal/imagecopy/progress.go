package imagecopy

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// progressInterval is how often copy.Image says how much of a blob it has read.
const progressInterval = 200 * time.Millisecond

// image calls copy.Image, and passes on the progress that it reports on its channel.
// Nothing reads blobs when that has returned.
func (c *copier) image(ctx context.Context, dest, source types.ImageReference, options *copy.Options) ([]byte, error) {
	reported := make(chan types.ProgressProperties)
	var wg sync.WaitGroup
	wg.Go(func() {
		blobs := 0 // that are on their way
		for p := range reported {
			switch p.Event {
			case types.ProgressEventNewArtifact:
				blobs++
			case types.ProgressEventDone:
				blobs--
			}
			if c.watch != nil && (blobs > 0 || isPrompt(c.dest)) {
				c.watch.Moved()
			} else {
				c.rest()
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

// isPrompt reports whether only the registry is waited for when no blob is on its way. A daemon or a storage may take a
// long time to process the data, and so may an archive at its end.
func isPrompt(dest types.ImageReference) bool {
	return sources.IsRegistry(dest) || slices.Contains([]string{directory.Transport.Name(), layout.Transport.Name()}, dest.Transport().Name())
}

// report reports an event of a blob.
func (c *copier) report(p types.ProgressProperties) {
	e := progress.Event{Blob: p.Artifact.Digest, Size: p.Artifact.Size}
	switch p.Event {
	case types.ProgressEventNewArtifact:
		e.Kind = progress.Started
		c.progress(e)
	case types.ProgressEventRead, types.ProgressEventDone:
		c.progress(progress.Event{Kind: progress.Read, Blob: e.Blob, Bytes: int(p.OffsetUpdate)})
		if p.Event == types.ProgressEventDone {
			e.Kind = progress.Finished
			if e.Size >= 0 && p.Offset != uint64(e.Size) {
				e.Err = io.ErrUnexpectedEOF // The reason is reported when all has ended.
			}
			e.Size = int64(p.Offset)
			c.progress(e)
		}
	}
}

// reportedReference is an archive whose writer reports blobs itself, as it may be reading
// one when copy.Image has given up; and stops waiting for a registry that sends nothing.
type reportedReference struct {
	types.ImageReference
	copier *copier
}

// NewImageDestination returns the archive.
func (r *reportedReference) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	dest, err := r.ImageReference.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &reportedDestination{dest, r.copier}, nil
}

type reportedDestination struct {
	types.ImageDestination
	copier *copier
}

// PutBlob writes a blob.
func (d *reportedDestination) PutBlob(ctx context.Context, stream io.Reader, info types.BlobInfo, cache types.BlobInfoCache, isConfig bool) (types.BlobInfo, error) {
	defer d.copier.meanwhile()()
	told, watch := d.copier.progress, d.copier.watch
	if watch != nil && !d.copier.ranged.inRanges(info) { // Ranges are watched one by one.
		stream = watch.Received(ctx, stream)
	}
	told(progress.Event{Kind: progress.Started, Blob: info.Digest, Size: info.Size})
	var read atomic.Int64
	put, err := d.ImageDestination.PutBlob(ctx, readerFunc(func(p []byte) (int, error) {
		n, err := stream.Read(p)
		d.copier.rest() // Until it is read on.
		read.Add(int64(n))
		told(progress.Event{Kind: progress.Read, Blob: info.Digest, Bytes: n})
		return n, err
	}), info, cache, isConfig)
	told(progress.Event{Kind: progress.Finished, Blob: info.Digest, Size: read.Load(), Err: err})
	return put, err
}

// PutManifest writes a manifest: the rest of a pipe, if it is one.
func (d *reportedDestination) PutManifest(ctx context.Context, manifest []byte, instance *digest.Digest) error {
	d.copier.rest()
	return d.ImageDestination.PutManifest(ctx, manifest, instance)
}

// readerFunc is a function that reads.
type readerFunc func(p []byte) (int, error)

// Read implements io.Reader.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
