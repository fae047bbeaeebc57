package registries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// ErrNoRange is in the error for a registry that does not answer a request for a range with
// that range.
var ErrNoRange = errors.New("the registry does not send that range")

// Prepared reports whether a range of the image's blobs can be requested without delay. If not,
// Prepared begins to log in and to find the mirror that has the image. It does not wait for
// that, which ctx ends.
func (c *Client) Prepared(ctx context.Context, ref reference.Named) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.placeOf(ref)
	if !p.prepared && !p.preparing {
		p.preparing = true
		go c.prepare(unwatched{ctx}, ref, p)
	}
	return p.prepared
}

// unwatched is a context without the hooks of a caller who watches what it waits for.
type unwatched struct{ context.Context }

// Value returns nil.
func (unwatched) Value(any) any { return nil }

// placeOf returns the place of an image. c.mu is held.
func (c *Client) placeOf(ref reference.Named) *place {
	p := c.places[ref.String()]
	if p == nil {
		p = &place{}
		c.places[ref.String()] = p
	}
	return p
}

// Host returns the host that ranges of an image's blobs are requested from, with its port if it
// is not the usual one: the registry, or the mirror that has the image. It is a guess until
// Prepared returns true.
func (c *Client) Host(ref reference.Named) string {
	sources, err := pullSources(c.sys, ref)
	if err != nil || len(sources) == 0 {
		return reference.Domain(ref)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return reference.Domain(sources[min(c.placeOf(ref).first, len(sources)-1)].Reference)
}

// prepare finds the first source that has the manifest, as containers/image did. The questions
// also bring a token and a connection. If none has it, Range asks them all.
func (c *Client) prepare(ctx context.Context, ref reference.Named, p *place) {
	sources, _ := pullSources(c.sys, ref) // Range reports the error.
	found := 0
	for i, source := range sources {
		if r, err := c.repository(ctx, ref, source); err == nil && r.hasManifest(ctx, ref) {
			found = i
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.first = max(p.first, found)
	p.preparing, p.prepared = false, ctx.Err() == nil
}

func (r *repository) hasManifest(ctx context.Context, ref reference.Named) bool {
	at := "latest"
	switch ref := ref.(type) {
	case reference.Digested:
		at = ref.Digest().String()
	case reference.Tagged:
		at = ref.Tag()
	}
	ctx = auth.AppendRepositoryScope(ctx, r.remote.Reference, auth.ActionPull)
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, baseOf(r.remote)+"/manifests/"+at, nil)
	if err != nil {
		return false
	}
	request.Header.Set("Accept", strings.Join(manifestTypes, ", "))
	_, err = do(r.remote, request, http.StatusOK)
	return err == nil
}

// Range returns length bytes of a blob of an image from offset on, from a mirror or from the
// registry itself. The error is ErrNoRange if the one that has the blob sends something else;
// the others are not asked then, for that would load them with what a plain request brings.
func (c *Client) Range(ctx context.Context, ref reference.Named, blob imgspecv1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if err := blob.Digest.Validate(); err != nil { // It becomes part of an address.
		return nil, err
	}
	sources, err := pullSources(c.sys, ref)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	p := c.placeOf(ref)
	first := p.first
	c.mu.Unlock()
	for i := first; i < len(sources); i++ {
		var r *repository
		var body io.ReadCloser
		if r, err = c.repository(ctx, ref, sources[i]); err == nil {
			body, err = r.openRange(ctx, blob, offset, length)
		}
		if err == nil { // As containers/image, it does not go back.
			c.mu.Lock()
			p.first = max(p.first, i)
			c.mu.Unlock()
			return body, nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrNoRange) {
			break
		}
	}
	return nil, fmt.Errorf("reading blob %s of %s from %d on: %w", blob.Digest, ref, offset, err)
}

func (r *repository) openRange(ctx context.Context, blob imgspecv1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	ctx = auth.AppendRepositoryScope(ctx, r.remote.Reference, auth.ActionPull)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.blobURL(blob.Digest), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	response, err := r.remote.Client.Do(request)
	if err != nil {
		return nil, err
	}
	if err := checkRange(response, blob.Size, offset, length); err != nil {
		response.Body.Close() // Nobody wants it.
		return nil, err
	}
	return response.Body, nil
}

func (r *repository) blobURL(d digest.Digest) string {
	return baseOf(r.remote) + "/blobs/" + d.String()
}

// refusals are answers to a request for a range by registries that may send the whole blob.
var refusals = []int{
	http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented,
}

// checkRange fails unless an answer is the range of a blob that was requested.
func checkRange(response *http.Response, size, offset, length int64) error {
	switch status := response.StatusCode; {
	case slices.Contains(refusals, status):
		return fmt.Errorf("%w: %w", ErrNoRange, refusalOf(response))
	case status >= http.StatusBadRequest:
		return refusalOf(response)
	case status != http.StatusPartialContent:
		return fmt.Errorf("%w: the answer has the status %d", ErrNoRange, status)
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return fmt.Errorf("%w: it sends one of a compressed form", ErrNoRange)
	}
	got := response.Header.Get("Content-Range")
	want := fmt.Sprintf("bytes %d-%d/", offset, offset+length-1)
	total, ok := strings.CutPrefix(got, want)
	if !ok || total != "*" && size >= 0 && total != fmt.Sprint(size) {
		return fmt.Errorf("%w: it sends %q instead of %s%d", ErrNoRange, got, want, size)
	}
	if n := response.ContentLength; n >= 0 && n != length {
		return fmt.Errorf("%w: the answer has %d bytes instead of %d", ErrNoRange, n, length)
	}
	return nil
}
