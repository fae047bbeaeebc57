package copying

import (
	"context"
	"errors"
	"fmt"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/copying/internal/registries"
	"github.com/dockerarchive/dockerarchive/internal/stall"
)

// ErrNotPushed is the error of an image that a registry took without a word, and has not
// got under its name.
var ErrNotPushed = errors.New("the registry has not got what it was sent")

// isThere reports whether a registry has an image under a name. Registries have several
// ways to say that there is no such thing, or none that one may see; what is wrong in
// earnest is said again when the image is sent.
func (p *pusher) isThere(ctx context.Context, img *pushedImage, target reference.Named) (bool, error) {
	ref, err := docker.NewReference(target)
	if err != nil {
		return false, err
	}
	var d digest.Digest
	err = stall.Ask(ctx, p.reading.waiting, func(ctx context.Context, _ *stall.Watch) (err error) {
		d, err = docker.GetDigest(ctx, p.options.DestinationCtx, ref)
		return err
	})
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return err == nil && d == img.top().Descriptor.Digest, nil
}

// confirm fails if a registry has not got an image under a name: to what is no registry,
// such as a login page, everything may be fine. Who may not read does not find out.
func (p *pusher) confirm(ctx context.Context, img *pushedImage, target reference.Named) error {
	return p.retry(ctx, img, "", func() error {
		if there, err := p.isThere(ctx, img, target); there || err != nil {
			return err
		}
		var d digest.Digest
		err := stall.Ask(ctx, p.reading.waiting, func(ctx context.Context, _ *stall.Watch) (err error) {
			d, err = p.blobs.client.Digest(ctx, target)
			return err
		})
		switch {
		case registries.IsDenied(err):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrNotPushed, err)
		case d != img.top().Descriptor.Digest:
			return fmt.Errorf("%w: %s is %s there, and not %s", ErrNotPushed, target, d, img.top().Descriptor.Digest)
		}
		return nil
	})
}

// list sees to it that repositories list an image that is about another one.
func (p *pusher) list(ctx context.Context, img *pushedImage) error {
	top := img.top()
	if top.Subject == nil || p.options.DryRun {
		return nil
	}
	done := map[string]bool{}
	for _, target := range img.result.Targets {
		if done[target.Name()] {
			continue
		}
		done[target.Name()] = true
		err := p.retry(ctx, img, "", func() error {
			return p.blobs.client.List(ctx, target, top.Subject.Digest, top.Descriptor, top.Raw)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
