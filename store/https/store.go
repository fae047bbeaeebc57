package https

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/webclient"
)

// client opens files with the same connections. It is an input.Store.
type client struct {
	http      *http.Client
	transport *http.Transport
	access    input.Access
	policy    retry.Policy
}

func newClient(access input.Access) (*client, error) {
	transport, err := webclient.Transport(access.CertDir, access.SkipVerify)
	if err != nil {
		return nil, err
	}
	c := &client{transport: transport, access: access, policy: policy, http: &http.Client{Transport: webclient.Counted{RoundTripper: transport}, CheckRedirect: checkRedirect}}
	if access.Retries > 0 {
		c.policy.Times = access.Retries
	}
	return c, nil
}

func store(_ context.Context, _ string, access input.Access) (input.Store, error) {
	return newClient(access)
}

// object returns a file of the server, before any request.
func (c *client) object(path string) (*object, error) {
	u, err := url.Parse(naming.Query(path))
	switch {
	case err != nil:
		return nil, errors.New("not a valid address")
	case u.User != nil:
		return nil, errors.New("an address with a password: give it with --creds instead")
	case u.Host == "":
		return nil, errors.New("an address without a host")
	}
	return &object{address: u.String(), shown: path, access: c.access, client: c.http}, nil
}

func (c *client) do(ctx context.Context, f func() error) error {
	return c.policy.Do(ctx, func(error) { webclient.MeterOf(ctx).Again() }, f)
}

func (c *client) open(ctx context.Context, path string) (*ranged.Reader, error) {
	o, err := c.object(path)
	if err != nil {
		return nil, err
	}
	var start []byte
	err = c.do(ctx, func() (err error) {
		start, err = o.first(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ranged.New(ctx, o, o.size, c.policy, start), nil
}

// Open implements input.Store.
func (c *client) Open(ctx context.Context, path string) (input.Remote, error) {
	r, err := c.open(ctx, path)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Stat implements input.Store. It requests one byte instead of using HEAD, because a presigned address is for GET.
func (c *client) Stat(ctx context.Context, path string) (info input.Info, err error) {
	o, err := c.object(path)
	if err != nil {
		return input.Info{}, err
	}
	err = c.do(ctx, func() (err error) {
		info, err = o.stat(ctx)
		return err
	})
	return info, err
}

func (o *object) stat(ctx context.Context) (input.Info, error) {
	answer, err := o.get(ctx, 0, 1)
	if err != nil {
		return input.Info{}, err
	}
	defer answer.Body.Close() // A server without ranges would send all of it.
	info := input.Info{Address: o.shown, Size: answer.ContentLength}
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		_, _, info.Size, _ = ranged.ContentRange(answer.Header.Get("Content-Range"))
	case http.StatusNotFound, http.StatusGone:
		return input.Info{}, fmt.Errorf("%w: %w", fs.ErrNotExist, o.refused(answer))
	default:
		return input.Info{}, o.refused(answer)
	}
	info.Version = fmt.Sprintf("%s %s %d", answer.Header.Get("ETag"), answer.Header.Get("Last-Modified"), info.Size)
	return info, nil
}

// List implements input.Store.
func (c *client) List(context.Context, string) ([]input.Info, error) {
	return nil, errors.ErrUnsupported
}

// Close implements input.Store.
func (c *client) Close() { c.transport.CloseIdleConnections() }
