package pushing

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/stall"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// ErrNotPushed is the error of an image that a registry took without an error, and has
// not got under its name.
var ErrNotPushed = errors.New("the registry has not got what it was sent")

// isThere reports whether a registry has an image under a name. Registries have several
// ways to say that there is no such image, or none that the client may see; a real
// error comes again when the image is sent.
func (p *pusher) isThere(ctx context.Context, img *pushedImage, target reference.Named) (bool, error) {
	var d digest.Digest
	err := stall.Ask(ctx, p.waiting, func(ctx context.Context, _ *stall.Watch) (err error) {
		d, err = p.client.ClaimedDigest(ctx, target)
		return err
	})
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return err == nil && d == img.Top().Descriptor.Digest, nil
}

// confirm fails if a registry has not got an image under a name: a server that is no
// registry, such as a login page, may accept everything. A client that may not read does
// not find out.
func (p *pusher) confirm(ctx context.Context, img *pushedImage, target reference.Named) error {
	return p.retry(ctx, img, "", func() error {
		if there, err := p.isThere(ctx, img, target); there || err != nil {
			return err
		}
		var d digest.Digest
		err := stall.Ask(ctx, p.waiting, func(ctx context.Context, _ *stall.Watch) (err error) {
			d, err = p.client.Digest(ctx, target)
			return err
		})
		switch {
		case registries.IsDenied(err):
			return nil
		case registries.IsNotFound(err):
			return fmt.Errorf("%w: %w", ErrNotPushed, err)
		case err != nil:
			return fmt.Errorf("the registry took it, and whether it has it is not known: %w", err)
		case d != img.Top().Descriptor.Digest:
			return fmt.Errorf("%w: %s is %s there, and not %s", ErrNotPushed, target, d, img.Top().Descriptor.Digest)
		}
		return nil
	})
}

// list has repositories list a referrer.
func (p *pusher) list(ctx context.Context, img *pushedImage) error {
	if img.Top().Subject == nil || p.options.DryRun {
		return nil
	}
	done := map[string]bool{}
	for _, target := range img.result.Image.Targets {
		if done[target.Name()] {
			continue
		}
		done[target.Name()] = true
		if err := p.listIn(ctx, img, target, img.Top()); err != nil {
			return err
		}
	}
	return nil
}

func (p *pusher) listIn(ctx context.Context, img *pushedImage, repository reference.Named, document *image.Document) error {
	listed := false
	err := p.ask(ctx, img, func(ctx context.Context) (err error) {
		listed, err = p.client.List(ctx, repository, document.Subject.Digest, document.Descriptor, document.Raw)
		return err
	})
	if err == nil && !listed {
		img.warn("%s is in %s, but the registry does not list it as about %s: clients will not find it", document.Descriptor.Digest, repository.Name(), document.Subject.Digest)
	}
	return err
}

// addToList adds the entries of an index of referrers to the one that a repository has
// under its tag. It returns false if there is none, or this is no such index. Entries of
// others stay there: a client that may not read the list does not replace it.
func (p *pusher) addToList(ctx context.Context, img *pushedImage, target reference.Named) (bool, error) {
	tagged, ok := target.(reference.Tagged)
	if !ok || !img.Top().IsIndex() {
		return false, nil
	}
	subject, kind, ok := image.ParseDigestTag(tagged.Tag())
	if !ok || kind != image.TagReferrers {
		return false, nil
	}
	var there digest.Digest
	err := p.ask(ctx, img, func(ctx context.Context) (err error) {
		there, err = p.client.Digest(ctx, target)
		return err
	})
	switch {
	case registries.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("adding to what %s lists: %w", target, err)
	case there == img.Top().Descriptor.Digest:
		return true, nil
	}
	for _, document := range img.Documents[:len(img.Documents)-1] {
		if document.Subject == nil || document.Subject.Digest != subject {
			continue
		}
		if err := p.listIn(ctx, img, target, document); err != nil {
			return false, err
		}
	}
	img.warn("%s is a list of referrers that was there, to which those of %s were added", target, img.Top().Descriptor.Digest)
	return true, nil
}
