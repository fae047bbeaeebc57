package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Export returns an archive of an image, by its name or ID, as docker save writes it: where
// containerd keeps the images, an OCI layout with all platforms that are there. The caller
// closes it. whole is the digest of the image if the daemon may send parts of it only, else "".
// The error is a *RefusedError if there is no such image.
func (d *Daemon) Export(ctx context.Context, image string) (archive io.ReadCloser, whole digest.Digest, err error) {
	archive, err = d.export(ctx, image, nil)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		return archive, "", err
	}
	// Docker 29 does not find an image that it has only for platforms it cannot run, unless the
	// request names these platforms. Then it sends them without their index.
	there, told := d.Inspect(ctx, image, nil)
	if told != nil || len(there.platforms()) == 0 {
		return nil, "", err
	}
	archive, err = d.export(ctx, image, there.platforms())
	return archive, there.ID, err
}

// platforms returns those of the manifests that are there with all that they refer to.
func (i *Inspected) platforms() (platforms []imgspecv1.Platform) {
	for _, m := range i.Manifests {
		if p := m.ImageData.Platform; m.Available && p.OS != "" && p.Architecture != "" {
			platforms = append(platforms, p)
		}
	}
	return platforms
}

func (d *Daemon) export(ctx context.Context, image string, platforms []imgspecv1.Platform) (io.ReadCloser, error) {
	query := url.Values{"names": {image}}
	for _, p := range platforms {
		raw, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		query.Add("platform", string(raw))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base+"/images/get?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := d.client.Do(request)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // The message below says what was asked.
	}
	if err == nil && response.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer)) // The status says enough.
		err = errors.Join(refusal(response, data), response.Body.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("asking the docker daemon for the image %s: %w", image, err)
	}
	return response.Body, nil
}
