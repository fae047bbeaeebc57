package registries

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// worthwhile is how many bytes more a registry must have at least after an attempt for the
// next to follow at once.
const worthwhile = 1 << 20

// Upload is a blob on its way into a repository. Bytes that a registry has got when a
// connection breaks need not be sent again. It must not be used concurrently.
type Upload struct {
	client   *Client
	to       reference.Named
	blob     imgspecv1.Descriptor
	location *url.URL // of the part that the registry has; nil before there is one
	sent     int64    // how much that is, in bytes
	fresh    bool     // the location is that of an upload that has just begun
	anew     bool     // is sent as a whole every time, because the registry does not go on
	unsure   bool     // the registry has not been able to say what it has
	inOne    bool     // the last attempt sent the blob in the request that ends the upload
	inParts  bool     // is not sent so again, because that failed
	renewed  bool     // the token, because the registry rejected one
	least    int64    // bytes that the registry wants in each chunk but the last one

	// ChunkSize is how many bytes go into one request, 0 for all.
	ChunkSize int64

	// Announce, if not nil, is called before Send sends the rest because of an error, from
	// an offset in bytes.
	Announce func(err error, offset int64)
}

// Upload returns an Upload that has not begun.
func (c *Client) Upload(to reference.Named, blob imgspecv1.Descriptor) *Upload {
	return &Upload{client: c, to: to, blob: blob}
}

// Send sends the blob, or the part that the registry lacks. open returns the whole blob;
// Send skips the first skip bytes. After an error that may pass, Send may be called again.
func (u *Upload) Send(ctx context.Context, open func(skip int64) (io.ReadCloser, error)) error {
	repository, err := u.client.itself(ctx, u.to)
	if err != nil {
		return err
	}
	r := repository.remote
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull, auth.ActionPush)
	if u.location != nil && !u.fresh {
		if err := u.askAgain(ctx, r); err != nil {
			return err
		}
	}
	enough := max(worthwhile, u.blob.Size/64) // All that is there is read again for the rest.
	for {
		before := u.sent
		err := u.attempt(ctx, r, open)
		if err == nil || ctx.Err() != nil || u.location == nil {
			return err
		}
		if u.anew {
			u.location, u.sent = nil, 0
			return err
		}
		rejected := errors.Is(err, errTokenRejected) && !u.renewed
		if isBusy(err) || IsFull(err) {
			return err // The caller waits before it tries again.
		}
		if u.inOne && isDenied(err) {
			return err // The rest, or all of it in another way, would be denied too.
		}
		refused := isRefused(err)
		if u.ask(ctx, r) != nil {
			return err
		}
		switch {
		case rejected: // There is a new one.
			u.renewed = true
		case u.inOne && u.inParts: // It may take that instead.
		case u.sent >= before+enough:
		case refused && u.sent > before: // Some was still on its way when the registry was asked.
		case refused && before > 0: // It may not be able to go on.
			u.location, u.sent, u.anew = nil, 0, true
		default:
			return err
		}
		if u.Announce != nil {
			u.Announce(err, u.sent)
		}
	}
}

// askAgain is ask for a later attempt. A registry that could not say the last time, and
// cannot now, is sent the whole blob.
func (u *Upload) askAgain(ctx context.Context, r *remote.Repository) error {
	err := u.ask(ctx, r)
	if _, answered := Judge(err); err != nil && answered && u.unsure {
		u.location, u.sent, err = nil, 0, nil
	}
	u.unsure = err != nil
	return err
}

// attempt sends the missing bytes over one connection.
func (u *Upload) attempt(ctx context.Context, r *remote.Repository, open func(skip int64) (io.ReadCloser, error)) error {
	defer func() { u.fresh = false }()
	u.inOne = false
	if u.location == nil {
		if err := u.begin(ctx, r); err != nil {
			return err
		}
	}
	if u.inOne = u.whole(); u.inOne {
		return u.put(ctx, r, open)
	}
	if u.sent < u.blob.Size {
		if err := u.patch(ctx, r, open); err != nil {
			return err
		}
	}
	return u.end(ctx, r, nil)
}

func (u *Upload) begin(ctx context.Context, r *remote.Repository) error {
	response, err := u.do(ctx, r, http.MethodPost, baseOf(r)+"/blobs/uploads/", nil, nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	return u.begun(response)
}

// begun notes that a registry has begun an upload.
func (u *Upload) begun(response *http.Response) (err error) {
	if u.least, err = strconv.ParseInt(response.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err != nil {
		u.least = 0
	}
	if u.location, err = response.Location(); err != nil {
		return fmt.Errorf("beginning an upload: %w", err)
	}
	u.sent, u.fresh = 0, true
	return nil
}

// patch sends the rest of the blob, in chunks if there are any.
func (u *Upload) patch(ctx context.Context, r *remote.Repository, open func(skip int64) (io.ReadCloser, error)) error {
	content, err := open(u.sent)
	if err != nil {
		return err
	}
	defer content.Close() // It has only been read.
	if _, err := io.CopyN(io.Discard, content, u.sent); err != nil {
		return fmt.Errorf("skipping %d bytes: %w", u.sent, err)
	}
	for u.sent < u.blob.Size {
		if err := u.patchChunk(ctx, r, content); err != nil {
			return err
		}
	}
	return nil
}

// patchChunk sends the next chunk of a blob of known size.
func (u *Upload) patchChunk(ctx context.Context, r *remote.Repository, content io.Reader) error {
	end := u.blob.Size
	if u.ChunkSize > 0 {
		end = min(end, u.sent+max(u.ChunkSize, u.least))
	}
	body := &stoppable{r: io.LimitReader(content, end-u.sent)}
	defer body.stop()
	header := http.Header{}
	if u.sent > 0 || end < u.blob.Size { // All of it is sent as containers/image does.
		header.Set("Content-Range", fmt.Sprintf("%d-%d", u.sent, end-1))
	}
	if err := u.send(ctx, r, header, body, end-u.sent); err != nil {
		return err
	}
	u.sent = end
	return nil
}

// send sends a part of a blob, and finds out where the next one goes.
func (u *Upload) send(ctx context.Context, r *remote.Repository, header http.Header, body *stoppable, size int64) error {
	response, err := u.do(ctx, r, http.MethodPatch, u.location.String(), header, &sized{body, size}, http.StatusAccepted, http.StatusCreated, http.StatusNoContent)
	if failed := body.stop(); failed != nil {
		return failed // Says more than that a request was broken off.
	}
	if err != nil {
		return err
	}
	if u.location, err = response.Location(); err != nil {
		return fmt.Errorf("going on with an upload: %w", err)
	}
	return nil
}

// end makes a blob of the bytes that have been sent, and of rest, which may be nil.
func (u *Upload) end(ctx context.Context, r *remote.Repository, rest *sized) error {
	end := *u.location
	query := end.Query()
	query.Set("digest", u.blob.Digest.String())
	end.RawQuery = query.Encode()
	_, err := u.do(ctx, r, http.MethodPut, end.String(), nil, rest, http.StatusCreated)
	return err
}

// ask finds out how much the registry has. It is no error that it has forgotten the
// upload, or cannot say.
func (u *Upload) ask(ctx context.Context, r *remote.Repository) error {
	response, err := u.do(ctx, r, http.MethodGet, u.location.String(), nil, nil, http.StatusNoContent, http.StatusAccepted)
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) && isRefused(err) {
		u.location, u.sent = nil, 0
		return nil
	}
	if err != nil {
		return err
	}
	var first, last int64
	_, err = fmt.Sscanf(strings.TrimPrefix(response.Header.Get("Range"), "bytes="), "%d-%d", &first, &last)
	if err != nil || first != 0 || last < 0 || last >= u.blob.Size {
		u.location, u.sent = nil, 0
		return nil
	}
	if u.sent = last + 1; last == 0 {
		u.sent = 0 // Many registries say that before they have a byte.
	}
	if location, err := response.Location(); err == nil {
		u.location = location
	}
	return nil
}

// sized is the body of a request.
type sized struct {
	io.Reader
	size int64 // negative if that is not known
}

// do sends a request, and fails unless the answer has one of the statuses.
func (u *Upload) do(ctx context.Context, r *remote.Repository, method, to string, header http.Header, body *sized, want ...int) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, to, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/octet-stream")
		request.Body, request.ContentLength = io.NopCloser(body), body.size
	}
	response, err := do(r, request, want...)
	if err != nil && strings.HasSuffix(err.Error(), "request body is not rewindable") {
		// The library has a new token, and cannot send the body again.
		err = fmt.Errorf("%s %q: %w", method, request.URL, errTokenRejected)
	}
	return response, err
}

// stoppable is the body of a request, which net/http may read from after the answer.
type stoppable struct {
	mu      sync.Mutex
	r       io.Reader
	stopped bool
	err     error
}

// Read implements io.Reader.
func (s *stoppable) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return 0, io.ErrClosedPipe
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// stop ends all reading, and returns why reading failed.
func (s *stoppable) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	return s.err
}
