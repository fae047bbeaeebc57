package registries

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
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

// baseOf is what the addresses of a repository begin with.
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
