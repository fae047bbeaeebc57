package registries

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Manifest is a manifest or an index as it is sent.
type Manifest struct {
	Raw       []byte
	MediaType string
	Digest    digest.Digest
}

// PutManifest puts a manifest or an index under the tag of a name or, if it has none, under
// its digest.
func (c *Client) PutManifest(ctx context.Context, to reference.Named, m Manifest) error {
	at := m.Digest.String()
	if tagged, ok := to.(reference.Tagged); ok {
		at = tagged.Tag()
	}
	repository, err := c.itself(ctx, to)
	if err != nil {
		return err
	}
	r := repository.remote
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull, auth.ActionPush)
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, baseOf(r)+"/manifests/"+at, bytes.NewReader(m.Raw))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", m.MediaType)
	if _, err := do(r, request, http.StatusCreated, http.StatusOK, http.StatusAccepted, http.StatusNoContent); err != nil {
		return fmt.Errorf("uploading manifest %s: %w", m.Digest, err)
	}
	return nil
}

// getManifest returns the manifest that a repository has under a tag or a digest, and its
// type according to the registry, if any. IsNotFound tells that there is none.
func getManifest(ctx context.Context, r *remote.Repository, at string) (raw []byte, mediaType string, err error) {
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, baseOf(r)+"/manifests/"+at, nil)
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Accept", strings.Join(manifestTypes, ", "))
	response, err := r.Client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close() // It has been read.
	if response.StatusCode != http.StatusOK {
		return nil, "", refusalOf(response)
	}
	if response.ContentLength <= image.MaxDocument {
		raw, err = io.ReadAll(io.LimitReader(response.Body, image.MaxDocument+1))
	}
	if err == nil && max(response.ContentLength, int64(len(raw))) > image.MaxDocument {
		return nil, "", fmt.Errorf("%w: larger than %d bytes, which is more than a manifest may have", errdef.ErrLimit, image.MaxDocument)
	}
	if err == nil && response.ContentLength >= 0 && int64(len(raw)) != response.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	mediaType, _, _ = strings.Cut(response.Header.Get("Content-Type"), ";")
	return raw, mediaType, err
}

// HasBlob reports whether the repository that a blob is for has it. If a registry does not say,
// as some that answer 403 or 405, the blob has to be sent.
func (c *Client) HasBlob(ctx context.Context, in reference.Named, blob digest.Digest) (bool, error) {
	return c.hasBlob(ctx, in, blob, auth.ActionPull, auth.ActionPush)
}

// CanRead reports whether a repository has a blob, and lets the client read it. It need not be
// one that the client may write to.
func (c *Client) CanRead(ctx context.Context, in reference.Named, blob digest.Digest) (bool, error) {
	return c.hasBlob(ctx, in, blob, auth.ActionPull)
}

func (c *Client) hasBlob(ctx context.Context, in reference.Named, blob digest.Digest, actions ...string) (bool, error) {
	repository, err := c.itself(ctx, in)
	if err != nil {
		return false, err
	}
	r := repository.remote
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, actions...)
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, baseOf(r)+"/blobs/"+blob.String(), nil)
	if err != nil {
		return false, err
	}
	_, err = do(r, request, http.StatusOK)
	switch {
	case err == nil:
		return true, nil
	case isRefused(err):
		return false, nil
	}
	return false, fmt.Errorf("asking for blob %s in %s: %w", blob, in.Name(), err)
}

// baseOf is the common beginning of the addresses of a repository.
func baseOf(r *remote.Repository) string {
	scheme := "https"
	if r.PlainHTTP {
		scheme = "http"
	}
	return fmt.Sprintf("%s://%s/v2/%s", scheme, r.Reference.Host(), r.Reference.Repository)
}

// do sends a request, and fails unless the answer has one of the statuses. The body of the
// answer has been read.
func do(r *remote.Repository, request *http.Request, want ...int) (*http.Response, error) {
	response, err := r.Client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() // It has been read.
	for _, status := range want {
		if response.StatusCode == status {
			_, _ = io.CopyN(io.Discard, response.Body, 1<<10) // So that the connection can be used again.
			return response, nil
		}
	}
	return nil, refusalOf(response)
}
