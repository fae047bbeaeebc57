// Package registries sends requests to registries that containers/image has no functions for: to
// list referrers, to mount a blob, and to go on with an upload that broke. It reaches them as
// containers/image does, with the same configuration: credentials, certificates, mirrors and
// proxies. It knows nothing of archives.
package registries

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	orasdef "oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// maxReferrers is how many referrers of one manifest a registry may list.
const maxReferrers = 1000

// Referrers returns the descriptors that the referrers API of a repository lists for a
// manifest, each once and sorted by digest. ok is false if the registry has no such
// API: it answers 404, or something else than a list. A mirror that lists none is not
// believed, if the registry itself can be asked. More than may be listed is an
// errdef.ErrLimit.
func (c *Client) Referrers(ctx context.Context, repo reference.Named, subject digest.Digest) (list []imgspecv1.Descriptor, ok bool, err error) {
	ref, err := reference.WithDigest(reference.TrimNamed(repo), subject)
	if err != nil {
		return nil, false, err
	}
	err = c.ask(ctx, ref, func(r *remote.Repository) (bool, error) {
		list = nil
		err := r.Referrers(ctx, imgspecv1.Descriptor{Digest: subject}, "", func(page []imgspecv1.Descriptor) error {
			list = append(list, page...)
			return checkNumber(list)
		})
		ok = err == nil
		switch {
		case isUnsupported(err):
			err = nil
			fallthrough
		case err != nil:
			list = nil
		}
		return len(list) > 0, err
	})
	if err != nil {
		return nil, false, fmt.Errorf("listing the referrers of %s: %w", ref, err)
	}
	if list, err = sorted(list); err != nil {
		return nil, false, fmt.Errorf("listing the referrers of %s: %w", ref, err)
	}
	return list, ok, nil
}

func checkNumber(list []imgspecv1.Descriptor) error {
	if len(list) > maxReferrers {
		return fmt.Errorf("%w: there are more than %d", errdef.ErrLimit, maxReferrers)
	}
	return nil
}

// sorted sorts a list and drops repetitions, so that it does not matter how a registry
// orders it.
func sorted(list []imgspecv1.Descriptor) ([]imgspecv1.Descriptor, error) {
	for _, d := range list {
		if err := d.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("it has the digest %q: %w", d.Digest, err)
		}
	}
	slices.SortStableFunc(list, func(a, b imgspecv1.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return slices.CompactFunc(list, func(a, b imgspecv1.Descriptor) bool { return a.Digest == b.Digest }), nil
}

// isUnsupported reports whether an answer is that of a registry without the API.
func isUnsupported(err error) bool {
	var answer *errcode.ErrorResponse
	return errors.Is(err, orasdef.ErrUnsupported) || errors.As(err, &answer) &&
		slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}, answer.StatusCode)
}

// Tagged returns the manifest or index of a tag, with its media type. The error wraps
// fs.ErrNotExist if there is none.
func (c *Client) Tagged(ctx context.Context, repo reference.Named, tag string) (raw []byte, mediaType string, err error) {
	ref, err := reference.WithTag(reference.TrimNamed(repo), tag)
	if err != nil {
		return nil, "", err
	}
	err = c.ask(ctx, ref, func(r *remote.Repository) (bool, error) {
		raw, mediaType, err = getManifest(ctx, r, tag)
		if IsNotFound(err) {
			raw, err = nil, nil
		}
		return raw != nil, err
	})
	if err == nil && raw == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", ref, err)
	}
	return raw, mediaType, nil
}

// ask asks the mirrors of a registry and then itself, until something is found. The
// error is that of the registry itself, unless that cannot be reached and a mirror has
// said that there is nothing.
func (c *Client) ask(ctx context.Context, ref reference.Named, question func(*remote.Repository) (found bool, err error)) error {
	sources, err := pullSources(c.sys, ref)
	if err != nil {
		return err
	}
	answered := false
	for _, source := range sources {
		var r *repository
		if r, err = c.repository(ctx, ref, source); err == nil {
			var found bool
			if found, err = question(r.remote); found && err == nil {
				return nil
			}
		}
		if ctx.Err() != nil || errors.Is(err, errdef.ErrLimit) {
			return err
		}
		answered = answered || err == nil
	}
	var answer *errcode.ErrorResponse
	if answered && !errors.As(err, &answer) {
		return nil
	}
	return err
}
