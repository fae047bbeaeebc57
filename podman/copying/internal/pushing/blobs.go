package pushing

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
	"github.com/dockerarchive/dockerarchive/progress"
)

// sentBlobs knows which blobs registries have got, so that each is sent once.
type sentBlobs struct {
	*sender
	made  *madeLayers
	cache types.BlobInfoCache // that of containers/image, which knows where blobs were put before
	jobs  chan struct{}       // held while sending

	// Known before anything is sent.
	sources map[digest.Digest]*pushedImage // the images that have a blob
	leftOut image.LeftOut                  // layers that none has, and where they are
	targets []reference.Named              // repositories that something is pushed to

	mu    sync.Mutex
	known map[sentBlob]*sending
}

// sentBlob is a blob in a registry.
type sentBlob struct {
	registry string
	digest   digest.Digest
}

// sending is the state of a blob in a registry.
type sending struct {
	turn         chan struct{}              // held while asking for it or sending it
	repositories map[string]reference.Named // that have it, by name
	first        reference.Named            // one of them
}

func newSentBlobs(s *sender, made *madeLayers) *sentBlobs {
	return &sentBlobs{
		sender: s, made: made, cache: locations(s.options.DestinationCtx),
		jobs: make(chan struct{}, s.options.Select.Jobs), known: map[sentBlob]*sending{},
		sources: map[digest.Digest]*pushedImage{}, leftOut: image.LeftOut{},
	}
}

func (s *sentBlobs) of(b sentBlob) *sending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[b] == nil {
		s.known[b] = &sending{turn: make(chan struct{}, 1), repositories: map[string]reference.Named{}}
	}
	return s.known[b]
}

// put puts a blob into a repository, unless it is there.
func (s *sentBlobs) put(ctx context.Context, img *pushedImage, to reference.Named, b image.Blob) error {
	sending := s.of(sentBlob{reference.Domain(to), b.Digest})
	if err := acquire(ctx, sending.turn); err != nil {
		return err
	}
	defer func() { <-sending.turn }()
	if sending.repositories[to.Name()] != nil {
		img.count(0, b.Size)
		return nil
	}
	if err := acquire(ctx, s.jobs); err != nil {
		return err
	}
	defer func() { <-s.jobs }()
	upload := s.client.Upload(to, b.Descriptor)
	there, err := s.reuse(ctx, img, sending, upload, to, b)
	where, leftOut := s.leftOut[b.Digest]
	switch {
	case err != nil:
	case there:
		img.count(0, b.Size)
	case leftOut:
		err = &errdef.LeftOutError{Layers: []errdef.LeftOut{where.Of(b.Descriptor)}}
	case s.options.DryRun:
		img.count(b.Size, 0)
	default:
		err = s.send(ctx, img, upload, b)
	}
	if err != nil {
		return err
	}
	sending.repositories[to.Name()], sending.first = to, to
	if !s.options.DryRun {
		s.record(to, b.Digest)
	}
	return nil
}

// remember notes that a repository has all blobs of an image.
func (s *sentBlobs) remember(img *pushedImage, in reference.Named) {
	for b := range image.BlobsOf(img.Documents) {
		if b.Kind != image.KindDocument {
			s.record(in, b.Digest)
		}
	}
}

// record notes that a repository has a blob, for later pushes.
func (s *sentBlobs) record(in reference.Named, d digest.Digest) {
	s.cache.RecordKnownLocation(docker.Transport, scopeOf(in), d, types.BICLocationReference{Opaque: in.Name()})
}

// recorded returns the repositories of a registry that had a blob when something was last
// copied there, the latest first. containers/image names a handful.
func (s *sentBlobs) recorded(to reference.Named, d digest.Digest) []reference.Named {
	var found []reference.Named
	for _, candidate := range s.cache.CandidateLocations(docker.Transport, scopeOf(to), d, false) {
		named, err := reference.ParseNamed(candidate.Location.Opaque)
		if err == nil && reference.Domain(named) == reference.Domain(to) {
			found = append(found, named)
		}
	}
	return found
}

// scopeOf is the name of a registry in the cache of containers/image.
func scopeOf(name reference.Named) types.BICTransportScope {
	return types.BICTransportScope{Opaque: reference.Domain(name)}
}

// send sends a blob. containers/image would send the credentials to any host that the registry
// wants a blob at, and cannot go on where a connection broke.
func (s *sentBlobs) send(ctx context.Context, img *pushedImage, upload *registries.Upload, b image.Blob) error {
	told := s.options.Select.Progress
	begun := false
	upload.ChunkSize = s.options.ChunkSize
	upload.Announce = func(err error, offset int64) {
		told(progress.Event{Kind: progress.Retried, Blob: b.Digest, Err: err, Offset: offset})
	}
	attempt := func(asked context.Context, w *stall.Watch) error {
		open := func(skip int64) (*sentReader, error) {
			body, err := s.open(ctx, img, b)
			if err != nil {
				return nil, err
			}
			return &sentReader{r: body, want: b, digester: b.Digest.Algorithm().Digester(), skip: skip, read: func(n int) {
				if !begun {
					begun = true
					told(progress.Event{Kind: progress.Started, Blob: b.Digest, Size: b.Size})
				}
				told(progress.Event{Kind: progress.Read, Blob: b.Digest, Bytes: n})
			}}, nil
		}
		retried := true // Since then all counts that is there.
		return upload.Send(asked, func(skip int64) (io.ReadCloser, error) {
			if retried {
				retried, skip = false, 0
			}
			sent, err := open(skip)
			if err != nil {
				return nil, err
			}
			return struct {
				io.Reader
				io.Closer
			}{w.Sent(sent), sent}, nil
		})
	}
	err := s.retry(ctx, img, b.Digest, func() error { return stall.Ask(ctx, s.waiting, attempt) })
	if begun {
		told(progress.Event{Kind: progress.Finished, Blob: b.Digest, Size: b.Size, Err: err})
	}
	if err != nil {
		return fmt.Errorf("sending blob %s: %w", b.Digest, err)
	}
	img.count(b.Size, 0)
	return nil
}

// open returns the content of a blob.
func (s *sentBlobs) open(ctx context.Context, img *pushedImage, b image.Blob) (io.ReadCloser, error) {
	if body := s.made.open(b.Digest); body != nil {
		return body, nil
	}
	from := s.sources[b.Digest]
	if from == nil {
		from = img
	}
	return from.Open(ctx, b.Descriptor, 0)
}
