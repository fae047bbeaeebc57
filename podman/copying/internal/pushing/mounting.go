package pushing

import (
	"context"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// How many repositories are asked for a blob: a few are faster than sending it, and a layer that
// cannot be sent is worth more of them.
const (
	maxCandidates        = 8
	maxCandidatesLeftOut = 32
)

// reuse reports whether a repository has a blob, or has taken it from another one of its
// registry. In a dry run nothing is taken; to find it in the other one will do. Where the
// registry began an upload instead of taking the blob, send goes on with it.
func (s *sentBlobs) reuse(ctx context.Context, img *pushedImage, sending *sending, upload *registries.Upload, to reference.Named, b image.Blob) (bool, error) {
	if there, err := s.has(ctx, img, to, b); there || err != nil {
		return there, err
	}
	_, leftOut := s.leftOut[b.Digest]
	for _, from := range s.candidates(img, sending, to, b.Digest) {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if !s.mayTake(ctx, sending, from, b.Digest) {
			continue
		}
		mounted, err := s.take(ctx, upload, from)
		switch {
		case err != nil: // Another one may do.
			logrus.Debugf("%v", err)
		case mounted:
			return true, nil
		case leftOut: // There is nothing to send in the upload that has begun.
			s.cancel(ctx, upload)
		default: // It has the blob there and does not mount it, so it mounts nothing.
			return false, nil
		}
	}
	return false, context.Cause(ctx)
}

// candidates returns other repositories of a registry that may have a blob: one that this push has
// seen it in, those that had it when something was last copied there, and those that it comes
// from. For a layer that cannot be sent, they are also all that the push is for, and nil: some
// registries find it themselves.
func (s *sentBlobs) candidates(img *pushedImage, sending *sending, to reference.Named, d digest.Digest) []reference.Named {
	var all []reference.Named
	if sending.first != nil {
		all = append(all, sending.first)
	}
	all = append(all, s.recorded(to, d)...)
	for _, from := range []*pushedImage{s.sources[d], img} {
		if from != nil && sources.IsRegistry(from.Source) {
			all = append(all, reference.TrimNamed(from.Source.DockerReference()))
		}
	}
	_, leftOut := s.leftOut[d]
	most := maxCandidates
	if leftOut {
		most = maxCandidatesLeftOut
		all = append(all, s.targets...)
	}
	var found []reference.Named
	seen := map[string]bool{to.Name(): true}
	for _, named := range all {
		if !seen[named.Name()] && reference.Domain(named) == reference.Domain(to) {
			seen[named.Name()] = true
			found = append(found, named)
		}
		if len(found) == most {
			break
		}
	}
	if leftOut {
		found = append(found, nil)
	}
	return found
}

// has reports whether the repository that a blob is for has it.
func (s *sentBlobs) has(ctx context.Context, img *pushedImage, to reference.Named, b image.Blob) (there bool, err error) {
	err = s.retry(ctx, img, b.Digest, func() error {
		return stall.Ask(ctx, s.waiting, func(ctx context.Context, _ *stall.Watch) (err error) {
			there, err = s.client.HasBlob(ctx, to, b.Digest)
			return err
		})
	})
	return there, err
}

// mayTake reports whether a blob can be read in a repository. A registry that is asked to mount
// one that is not there begins an upload, and few let a client end it.
func (s *sentBlobs) mayTake(ctx context.Context, sending *sending, from reference.Named, d digest.Digest) (there bool) {
	switch from {
	case nil: // Only mounting it shows that.
		return !s.options.DryRun
	case sending.first: // This push has seen it there.
		return true
	}
	err := stall.Ask(ctx, s.waiting, func(ctx context.Context, _ *stall.Watch) (err error) {
		there, err = s.client.CanRead(ctx, from, d)
		return err
	})
	if err != nil {
		logrus.Debugf("%v", err)
	}
	return there && err == nil
}

// take has the registry take a blob from a repository or, if that is nil, from wherever it has
// it. Without an error, an upload has begun if it does not.
func (s *sentBlobs) take(ctx context.Context, upload *registries.Upload, from reference.Named) (mounted bool, err error) {
	if s.options.DryRun {
		return true, nil // It would be there by then.
	}
	err = stall.Ask(ctx, s.waiting, func(ctx context.Context, _ *stall.Watch) (err error) {
		mounted, err = upload.Mount(ctx, from)
		return err
	})
	return mounted, err
}

// cancel ends an upload that the registry began and nothing is sent in.
func (s *sentBlobs) cancel(ctx context.Context, upload *registries.Upload) {
	_ = stall.Ask(ctx, s.waiting, func(ctx context.Context, _ *stall.Watch) error { return upload.Cancel(ctx) }) // Else it is forgotten in time.
}
