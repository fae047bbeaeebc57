package registries

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// busyError is an answer by which a registry asks the client to wait.
type busyError struct {
	*errcode.ErrorResponse
	after time.Duration
}

// Unwrap returns the answer.
func (e *busyError) Unwrap() error { return e.ErrorResponse }

// isBusy reports whether a registry wants to be asked later.
func isBusy(err error) bool {
	var busy *busyError
	var answer *errcode.ErrorResponse
	return errors.As(err, &busy) || errors.As(err, &answer) && answer.StatusCode == http.StatusTooManyRequests
}

// Status returns the status of the answer that an error of a Client comes from.
func Status(err error) (code int, ok bool) {
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) {
		return answer.StatusCode, true
	}
	return 0, false
}

// Judge is a retry.Classifier for the errors of a Client.
func Judge(err error) (retry.Verdict, bool) {
	var busy *busyError
	if errors.As(err, &busy) {
		return retry.Verdict{Retry: true, After: busy.after}, true
	}
	if errors.Is(err, errTokenRejected) {
		return retry.Verdict{Retry: true}, true
	}
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) {
		if IsFull(err) { // Sending all again makes no room.
			return retry.Verdict{}, true
		}
		return retry.Status(answer.StatusCode), true
	}
	return retry.Verdict{}, false
}

// IsFull reports whether a registry has no space left. Some say that by the status, others in
// words, and distribution by the number of the system's error in a detail.
func IsFull(err error) bool {
	var answer *errcode.ErrorResponse
	if !errors.As(err, &answer) || answer.StatusCode < http.StatusInternalServerError {
		return false
	}
	return answer.StatusCode == http.StatusInsufficientStorage || slices.ContainsFunc(answer.Errors, func(e errcode.Error) bool {
		said, err := json.Marshal(e)
		return err == nil && noSpace.Match(said)
	})
}

var noSpace = regexp.MustCompile(`(?i)no space left|"Err":28\b`)

// isDenied reports whether a registry refuses a blob however it is sent: for lack of a right, for
// a quota, or because a proxy limits all bodies.
func isDenied(err error) bool {
	switch status, _ := Status(err); status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge:
		return true
	}
	return false
}

// errTokenRejected means that a registry stopped accepting a token during an upload. There is
// a new one by now.
var errTokenRejected = errors.New("the registry rejected its own token")

// isRefused reports whether a registry does not want something, now or later.
func isRefused(err error) bool {
	verdict, answered := Judge(err)
	return answered && !verdict.Retry
}

// heeding is a transport that makes an error of each answer with Retry-After, which the
// libraries would forget.
type heeding struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (h heeding) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := h.RoundTripper.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable {
		return response, err
	}
	after, ok := retryAfter(response.Header.Get("Retry-After"))
	if !ok {
		return response, nil
	}
	defer response.Body.Close() // It has been read.
	return nil, &busyError{refusalOf(response), after}
}

// retryAfter returns for how long a header asks.
func retryAfter(header string) (after time.Duration, ok bool) {
	const most = 1 << 31 // Nobody waits for so long.
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil {
		return time.Duration(min(seconds, most)) * time.Second, seconds >= 0
	}
	at, err := http.ParseTime(header)
	return max(time.Until(at), 0), err == nil
}

// maxRefusal is how much is read of the text in which a registry refuses something.
const maxRefusal = 8 << 10

// refusalOf returns an answer as an error, with its text if it is a registry's.
func refusalOf(response *http.Response) *errcode.ErrorResponse {
	refusal := &errcode.ErrorResponse{Method: response.Request.Method, URL: response.Request.URL, StatusCode: response.StatusCode}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	var said struct{ Errors errcode.Errors }
	if err == nil && json.NewDecoder(bytes.NewReader(body)).Decode(&said) == nil { // Not every registry says why.
		refusal.Errors = said.Errors
	}
	return refusal
}
