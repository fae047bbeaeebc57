// Package https has archives read from servers: import it for that, as in
//
//	import _ "github.com/dockerarchive/dockerarchive/store/https"
//
// Then https://HOST/x.tar is a path of an archive, which is read in place by requests for ranges. If the server
// does not answer those, or sends no version (a strong ETag), the whole file is copied once to an unnamed
// temporary file.
//
// Requests that fail for a reason that may pass are made again, five times. An archive that is another one
// by now is an error, and never a mixture. Errors leave out the query string of an address, which may grant
// access. All reading ends with the context that the archive was opened with.
package https

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/stall"
)

func init() {
	input.Register("https", input.Scheme{Open: open, Store: store, Copied: func(address, reason string) {
		logrus.Warnf("%s is copied to a temporary file: %s", address, reason)
	}})
}

// policy is how often requests are made again. A variable, so that tests need not wait.
var policy = retry.Policy{Times: 5, Classifiers: []retry.Classifier{judge}}

// firstRange is how much the first request asks for.
const firstRange = 64 << 10

// object is a version of a file on a server.
type object struct {
	client  *http.Client
	address string // with the query string
	shown   string
	access  input.Access
	etag    string // "" before it is known
	size    int64
}

func open(ctx context.Context, path string, access input.Access) (input.Remote, error) {
	c, err := newClient(access)
	if err != nil {
		return nil, err
	}
	r, err := c.open(ctx, path)
	var stream *input.Stream
	if err != nil && !errors.As(err, &stream) {
		c.Close()
	}
	if err != nil {
		return nil, err
	}
	return &remote{r, c}, nil
}

// remote closes the connections as well.
type remote struct {
	*ranged.Reader
	client *client
}

// Close ends all requests.
func (r *remote) Close() error {
	err := r.Reader.Close()
	r.client.Close()
	return err
}

func checkRedirect(next *http.Request, via []*http.Request) error {
	next.Header.Del("Referer") // It has the query string.
	switch {
	case next.URL.Scheme != "https":
		return errors.New("the server redirects to an address that is not https")
	case len(via) >= 10:
		return errors.New("the server redirects more than 10 times")
	}
	return nil
}

// first asks for the first bytes, and learns the size and the version. The error is an input.Stream if
// it cannot be read by ranges.
func (o *object) first(ctx context.Context) ([]byte, error) {
	answer, err := o.get(ctx, 0, firstRange)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return nil, &input.Stream{Body: answer.Body, Reason: "the server does not answer requests for ranges"}
	}
	defer answer.Body.Close()
	from, to, size, ok := ranged.ContentRange(answer.Header.Get("Content-Range"))
	if answer.StatusCode != http.StatusPartialContent || !ok || from != 0 || to > firstRange {
		return nil, o.refused(answer)
	}
	etag := answer.Header.Get("ETag")
	if !strings.HasPrefix(etag, `"`) {
		whole, err := o.get(ctx, 0, -1)
		if err != nil {
			return nil, err
		}
		if whole.StatusCode != http.StatusOK {
			_ = whole.Body.Close() // It says why.
			return nil, o.refused(whole)
		}
		return nil, &input.Stream{Body: whole.Body, Reason: "the server names no version of it (a strong ETag)"}
	}
	start := make([]byte, to)
	if _, err := io.ReadFull(answer.Body, start); err != nil {
		return nil, fmt.Errorf("reading the first bytes: %w", err)
	}
	o.etag, o.size = etag, size
	return start, nil
}

// Range implements ranged.Source.
func (o *object) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	answer, err := o.get(ctx, off, n)
	if err != nil {
		return nil, err
	}
	from, to, size, ok := ranged.ContentRange(answer.Header.Get("Content-Range"))
	switch {
	case answer.StatusCode == http.StatusPartialContent && ok && answer.Header.Get("ETag") == o.etag && size == o.size && from == off && to == off+n:
		return answer.Body, nil
	case answer.StatusCode == http.StatusPreconditionFailed, answer.StatusCode == http.StatusRequestedRangeNotSatisfiable,
		answer.StatusCode == http.StatusPartialContent && (answer.Header.Get("ETag") != o.etag || size != o.size),
		answer.StatusCode == http.StatusOK && answer.Header.Get("ETag") != o.etag:
		err = ranged.ErrChanged
	default:
		err = o.refused(answer)
	}
	return nil, errors.Join(err, answer.Body.Close())
}

// get asks for n bytes at an offset, for all if n is negative.
func (o *object) get(ctx context.Context, off, n int64) (*http.Response, error) {
	var answer *http.Response
	body, err := stall.Open(ctx, "", func(string) {}, func(ctx context.Context) (io.ReadCloser, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.address, nil)
		if err != nil {
			return nil, err
		}
		request.Header.Set("User-Agent", o.access.UserAgent)
		request.Header.Set("Accept-Encoding", "identity")
		if o.access.Username != "" {
			request.SetBasicAuth(o.access.Username, o.access.Password)
		}
		if n >= 0 {
			request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
		}
		if o.etag != "" {
			request.Header.Set("If-Match", o.etag)
		}
		if answer, err = o.client.Do(request); err != nil {
			return nil, err
		}
		return answer.Body, nil
	})
	var failed *url.Error
	if errors.As(err, &failed) { // Its address has the query string.
		return nil, &url.Error{Op: failed.Op, URL: o.shown, Err: failed.Err}
	}
	if err != nil {
		return nil, err
	}
	answer.Body = body
	if answer.StatusCode >= http.StatusInternalServerError || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusRequestTimeout {
		_ = body.Close() // It only says why.
		return nil, o.refused(answer)
	}
	return answer, nil
}

// statusError is an answer with an unexpected status.
type statusError struct {
	status int
	after  time.Duration
}

// Error names the server's answer.
func (e *statusError) Error() string {
	text := fmt.Sprintf("the server answers %d %s", e.status, http.StatusText(e.status))
	switch e.status {
	case http.StatusUnauthorized:
		text += ": it wants other credentials (--creds)"
	case http.StatusPartialContent:
		text += " with another range than it was asked for"
	}
	return text
}

func (o *object) refused(answer *http.Response) error {
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After")) // A date is not waited for.
	return &statusError{answer.StatusCode, time.Duration(max(0, seconds)) * time.Second}
}

// judge says which answers may be others the next time.
func judge(err error) (retry.Verdict, bool) {
	var refused *statusError
	if errors.As(err, &refused) {
		verdict := retry.Status(refused.status)
		verdict.After = refused.after
		return verdict, true
	}
	var stream *input.Stream
	return retry.Verdict{}, errors.As(err, &stream) || errors.Is(err, ranged.ErrChanged)
}
