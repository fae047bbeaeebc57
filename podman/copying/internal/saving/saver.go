package saving

import (
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/writing"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Options are how an archive is written. Package copying documents the fields.
type Options struct {
	Select         selecting.Options // its Layout is that of Transport
	Transport      types.ImageTransport
	DestinationCtx *types.SystemContext

	SkipDockerManifest bool
	NoSync             bool
	Resume             bool
	Compression        string
	Split              int64
	ArchiveDigest      *digest.Digest

	// Delta, if not nil, has the layers of the archives that deltas are made from.
	Delta    *archive.Bases
	TextOnly bool

	existing *writing.Existing // the archive that images are added to
}

// saver writes one archive, or plans it.
type saver struct {
	options  Options
	from     *selecting.Selection
	archive  *writing.Archive       // nil in Plan
	partial  *output.File           // that is gone on with; nil if none is
	places   writing.Places         // of blobs in it
	spooled  spooled                // layers and deltas that are in temporary files
	all      *selecting.Selection   // from, before deltas took the place of layers; nil if none have
	unpacked []unpackedLayer        // those that the archive may have
	present  map[digest.Digest]bool // blobs that the archive has; not changed once blobs are fetched
}

// report reports events to the caller, except of blobs that the archive has.
func (s *saver) report(e progress.Event) {
	if e.Blob == "" || !s.present[e.Blob] || e.Kind == progress.Retried {
		s.options.Select.Progress(e)
	}
}

// destinationCtx returns the context for the archive, which prefers the platform
// that was asked for first.
func (s *saver) destinationCtx() *types.SystemContext {
	if len(s.options.Select.Platforms) == 0 {
		return s.options.DestinationCtx
	}
	return sources.Choosing(s.options.DestinationCtx, s.options.Select.Platforms[0])
}

func (s *saver) tempDir() string {
	if s.options.DestinationCtx == nil {
		return ""
	}
	return s.options.DestinationCtx.BigFilesTemporaryDir
}

// unpackedLayer is a layer, and its digest after decompression.
type unpackedLayer struct {
	imgspecv1.Descriptor
	diffID digest.Digest
}
