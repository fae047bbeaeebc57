package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// maxAsked is how many questions a daemon is asked at the same time.
const maxAsked = 8

// Daemon is a connection to a daemon. Its methods may be called concurrently.
type Daemon struct {
	client *http.Client
	base   string
}

// Open returns a connection to a daemon, which it does not ask anything yet.
func Open(config Config) (*Daemon, error) {
	client, base, err := connect(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the docker daemon: %w", err)
	}
	return &Daemon{client: client, base: base}, nil
}

// Close ends the connection.
func (d *Daemon) Close() { d.client.CloseIdleConnections() }

// Kind is what is to be known of a daemon before it is sent something.
type Kind struct {
	// Platform is what it runs.
	Platform imgspecv1.Platform
	// Containerd says that containerd keeps its images: with their manifests, and all
	// platforms.
	Containerd bool
}

// Kind asks the daemon what it is.
func (d *Daemon) Kind(ctx context.Context) (Kind, error) {
	var version struct{ Os, Arch string }
	if err := get(ctx, d.client, d.base+"/version", &version); err != nil {
		return Kind{}, fmt.Errorf("asking the docker daemon for its version: %w", err)
	}
	var info struct{ DriverStatus [][]string }
	if err := get(ctx, d.client, d.base+"/info", &info); err != nil {
		return Kind{}, fmt.Errorf("asking the docker daemon what it is: %w", err)
	}
	if version.Os == "" || version.Arch == "" {
		return Kind{}, errors.New("the docker daemon does not say what it runs")
	}
	return Kind{
		Platform: imgspecv1.Platform{OS: version.Os, Architecture: version.Arch},
		Containerd: slices.ContainsFunc(info.DriverStatus, func(pair []string) bool {
			return len(pair) == 2 && pair[0] == "driver-type" && pair[1] == "io.containerd.snapshotter.v1"
		}),
	}, nil
}

// Present is what a daemon has, so that it need not be sent.
type Present struct {
	// Chains are the layers of its images from the first on, each in one slice, by
	// their diff IDs.
	Chains [][]digest.Digest
	// Manifests are those that it has with all that they refer to.
	Manifests map[digest.Digest]bool
}

// summary is an image in a list of them. Only containerd's store fills Manifests.
type summary struct {
	ID        digest.Digest `json:"Id"`
	Manifests []manifest
}

type manifest struct {
	ID        digest.Digest
	Available bool // with all that it refers to
	ImageData struct {
		Platform imgspecv1.Platform
		Size     struct{ Unpacked int64 } // in bytes, 0 if there are no layers to run it
	}
}

// Present asks the daemon what it has.
func (d *Daemon) Present(ctx context.Context, kind Kind) (*Present, error) {
	var images []summary
	if err := get(ctx, d.client, d.base+"/images/json?all=1&manifests=1", &images); err != nil {
		return nil, fmt.Errorf("asking the docker daemon for its images: %w", err)
	}
	present := &Present{Manifests: map[digest.Digest]bool{}}
	var mu sync.Mutex // guards Chains
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxAsked)
	ask := func(image digest.Digest, platform *imgspecv1.Platform) {
		g.Go(func() error {
			told, err := d.Inspect(ctx, image.String(), platform)
			var refused *RefusedError
			if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
				return nil // Removed just now.
			}
			mu.Lock()
			defer mu.Unlock()
			present.Chains = append(present.Chains, told.RootFS.Layers)
			return err
		})
	}
	for _, img := range images {
		if err := img.ID.Validate(); err != nil {
			return nil, fmt.Errorf("asking the docker daemon for its images: ID %q: %w", img.ID, err)
		}
		if !kind.Containerd {
			ask(img.ID, nil)
			continue
		}
		for _, m := range img.Manifests {
			present.Manifests[m.ID] = m.Available
			if m.ImageData.Size.Unpacked > 0 {
				ask(img.ID, &m.ImageData.Platform)
			}
		}
	}
	return present, g.Wait()
}

// Inspected is what a daemon knows of an image that it has.
type Inspected struct {
	ID     digest.Digest `json:"Id"` // of the config or, in containerd's store, the manifest or index
	RootFS struct{ Layers []digest.Digest }
	// Manifests are those of an index that are there, or that of the image. Only
	// containerd's store tells them.
	Manifests []manifest
}

// Runs reports whether a manifest is there in a form that can be run, or unpacked.
func (i *Inspected) Runs(d digest.Digest) bool {
	return slices.ContainsFunc(i.Manifests, func(m manifest) bool {
		return m.ID == d && (m.Available || m.ImageData.Size.Unpacked > 0)
	})
}

// LacksBlobs reports whether a manifest is there, but not all that it refers to.
func (i *Inspected) LacksBlobs(d digest.Digest) bool {
	return slices.ContainsFunc(i.Manifests, func(m manifest) bool { return m.ID == d && !m.Available })
}

// Inspect asks for an image by its name or ID, for a platform of it unless that is nil.
// The error is a *RefusedError if there is none.
func (d *Daemon) Inspect(ctx context.Context, image string, platform *imgspecv1.Platform) (*Inspected, error) {
	query := "?manifests=1" // Both together are refused.
	if platform != nil {
		raw, err := json.Marshal(platform)
		if err != nil {
			return &Inspected{}, err
		}
		query = "?platform=" + url.QueryEscape(string(raw))
	}
	var told Inspected
	if err := get(ctx, d.client, d.base+"/images/"+image+"/json"+query, &told); err != nil {
		return &told, fmt.Errorf("asking the docker daemon about the image %s: %w", image, err)
	}
	return &told, nil
}

// Load sends an archive to the daemon. The error is a *RefusedError if the daemon
// reports a fault of the archive; every other error is one of the connection, or of the
// archive's reader.
func (d *Daemon) Load(ctx context.Context, archive io.Reader) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.base+"/images/load?quiet=1", io.NopCloser(archive))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-tar")
	response, err := d.client.Do(request)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // The message below says what was done.
	}
	if err == nil {
		err = loaded(response)
	}
	if err != nil {
		return fmt.Errorf("sending images to the docker daemon: %w", err)
	}
	return nil
}

// loaded reads what the daemon says while it loads images: one JSON text after the other.
func loaded(response *http.Response) error {
	defer response.Body.Close() // It is only read.
	body := &io.LimitedReader{R: response.Body, N: maxAnswer}
	if response.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(body) // The status says enough.
		return refusal(response, data)
	}
	for decoder := json.NewDecoder(body); ; {
		var message struct {
			Error       string
			ErrorDetail struct{ Message string }
		}
		err := decoder.Decode(&message)
		switch {
		case body.N <= 0:
			return errdef.Errorf(errdef.ErrLimit, "its answer is longer than %d bytes", maxAnswer)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading its answer: %w", err)
		case message.ErrorDetail.Message != "":
			return &RefusedError{Status: response.StatusCode, Message: message.ErrorDetail.Message}
		case message.Error != "":
			return &RefusedError{Status: response.StatusCode, Message: message.Error}
		}
	}
}

// RefusedError is an error that a daemon answers with.
type RefusedError struct {
	Status  int    // of HTTP; 200 if it came later than that
	Message string // with the words for the status, if that is no success
}

// Error returns the message.
func (e *RefusedError) Error() string { return e.Message }
