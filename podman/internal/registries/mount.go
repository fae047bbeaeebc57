package registries

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// Mount has the registry take the blob from another of its repositories or, if from is nil, from
// wherever it has it, which some registries do. It returns false if the registry began an upload
// instead, as the distribution specification has it: Send goes on with that, and Cancel ends it.
// No mirror is asked.
func (u *Upload) Mount(ctx context.Context, from reference.Named) (bool, error) {
	repository, err := u.client.itself(ctx, u.to)
	if err != nil {
		return false, err
	}
	r := repository.remote
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull, auth.ActionPush)
	query := url.Values{"mount": {u.blob.Digest.String()}}
	if from != nil {
		other := r.Reference
		other.Repository = reference.Path(from)
		ctx = auth.AppendRepositoryScope(ctx, other, auth.ActionPull)
		query.Set("from", other.Repository)
	}
	response, err := u.do(ctx, r, http.MethodPost, baseOf(r)+"/blobs/uploads/?"+query.Encode(), nil, nil, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return false, fmt.Errorf("mounting blob %s in %s: %w", u.blob.Digest, u.to.Name(), err)
	}
	if response.StatusCode == http.StatusAccepted {
		return false, u.begun(response)
	}
	if got := response.Header.Get("Docker-Content-Digest"); got != "" && got != u.blob.Digest.String() {
		return false, fmt.Errorf("mounting blob %s in %s: the registry mounted %q", u.blob.Digest, u.to.Name(), got)
	}
	return true, nil
}

// Cancel ends an upload that the registry has begun, as far as the registry lets a client do
// that. Else it forgets it in time.
func (u *Upload) Cancel(ctx context.Context) error {
	repository, err := u.client.itself(ctx, u.to)
	if err == nil {
		ctx = auth.AppendRepositoryScope(ctx, repository.remote.Reference, auth.ActionPull, auth.ActionPush)
		u.cancel(ctx, repository.remote)
	}
	return err
}

func (u *Upload) cancel(ctx context.Context, r *remote.Repository) {
	if u.location == nil {
		return
	}
	_, _ = u.do(ctx, r, http.MethodDelete, u.location.String(), nil, nil, http.StatusNoContent) // See Cancel.
	u.location, u.sent = nil, 0
}
