package s3

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/dockerarchive/dockerarchive/internal/ranged"
	"github.com/dockerarchive/dockerarchive/internal/retry"
)

// regionHeader is the header in which AWS tells the region of a bucket.
const regionHeader = "X-Amz-Bucket-Region"

// policy says how often requests are repeated. It is a variable so that tests need not wait.
var policy = retry.Policy{Times: 5, Classifiers: []retry.Classifier{judge}}

// passing are the codes of errors that may pass although their status does not say so.
var passing = []string{"InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "ThrottlingException", "Throttling", "RequestLimitExceeded", "BadDigest", "IncompleteBody"}

// storeError is a store's refusal. It is fs.ErrNotExist for an object or a bucket that is not there.
type storeError struct {
	status        int
	code, message string // as S3 calls them; "" if the store says no more
	region        string // of the bucket, if the request went to another region
	after         time.Duration
}

// Error names the status and the code, and gives a hint.
func (e *storeError) Error() string {
	text := fmt.Sprintf("the store answers %d", e.status)
	if name := http.StatusText(e.status); name != "" {
		text += " " + name
	}
	if e.code != "" && !strings.EqualFold(e.code, strings.ReplaceAll(http.StatusText(e.status), " ", "")) {
		text += " (" + e.code + ")"
	}
	if e.message != "" && e.message != http.StatusText(e.status) {
		text += ": " + e.message
	}
	if e.region != "" {
		text += fmt.Sprintf("; the bucket is in the region %s: set AWS_REGION", e.region)
	}
	return text
}

// unmet reports whether the condition of a request does not hold. A completion that takes a time may say so when it
// has answered 200 already.
func (e *storeError) unmet() bool {
	return e.status == http.StatusPreconditionFailed || e.code == "PreconditionFailed"
}

// Is makes it fs.ErrNotExist or fs.ErrPermission by its status.
func (e *storeError) Is(target error) bool {
	return target == fs.ErrNotExist && e.status == http.StatusNotFound ||
		target == fs.ErrPermission && (e.status == http.StatusForbidden || e.status == http.StatusUnauthorized)
}

// failed translates an error of the SDK: into a *storeError if the store has answered.
func failed(err error) error {
	var operation *smithy.OperationError
	if errors.As(err, &operation) {
		err = operation.Err
	}
	var refused *awshttp.ResponseError
	var api smithy.APIError
	says := errors.As(err, &api)
	// The answer to a slow request may begin with 200 and still end with an error.
	if errors.As(err, &refused) && refused.Response != nil && (says || refused.Response.StatusCode >= http.StatusMultipleChoices) {
		e := &storeError{status: refused.Response.StatusCode}
		if says {
			e.code, e.message = api.ErrorCode(), api.ErrorMessage()
		}
		seconds, _ := strconv.Atoi(refused.Response.Header.Get("Retry-After")) // A date counts as 0.
		e.after = time.Duration(max(0, seconds)) * time.Second
		if e.status == http.StatusMovedPermanently || e.status == http.StatusBadRequest {
			e.region = refused.Response.Header.Get(regionHeader)
		}
		return e
	}
	if err != nil && strings.HasPrefix(err.Error(), "get identity") { // The SDK has no type for it.
		return fmt.Errorf("no credentials for the store (%s=true asks without): %w", noSignRequest, err)
	}
	return err
}

// judge says which errors may pass.
func judge(err error) (retry.Verdict, bool) {
	var refused *storeError
	if errors.As(err, &refused) {
		verdict := retry.Status(refused.status)
		verdict.Retry = verdict.Retry || slices.Contains(passing, refused.code)
		verdict.After = refused.after
		return verdict, true
	}
	return retry.Verdict{}, errors.Is(err, ranged.ErrChanged)
}
