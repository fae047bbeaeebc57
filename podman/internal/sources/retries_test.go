package sources

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/distribution/registry/api/errcode"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"

	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/podman/internal/answers"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// errOther is an error of no known kind.
var errOther = errors.New("this fails")

// registryError returns the error of reading a manifest from a registry.
func registryError(t *testing.T, intercept func(w http.ResponseWriter, r *http.Request) bool) error {
	t.Helper()
	reg := imagetest.NewRegistry(t)
	reg.Intercept(intercept)
	src, err := reg.Ref(t, "app:1").NewImageSource(t.Context(), imagetest.RegistryContext(t))
	if err == nil {
		defer src.Close() // Was only read.
		_, _, err = src.GetManifest(t.Context(), nil)
	}
	require.Error(t, err)
	return err
}

// Errors that containers/image makes of a registry's answers are tried again or not.
func TestRetryableStatuses(t *testing.T) {
	coded := func(code string) string { return `{"errors": [{"code": "` + code + `", "message": "no"}]}` }
	for _, c := range []struct {
		status int
		body   string
		want   bool
	}{
		{400, "no", false}, {403, coded("DENIED"), false}, {404, coded("MANIFEST_UNKNOWN"), false}, {404, "", false},
		{409, coded("OF_SOMEBODY_ELSE"), false}, {418, coded("UNKNOWN"), false},
		{408, "", true}, {429, "slow down", true}, {429, coded("TOOMANYREQUESTS"), true}, {429, `{"details": "slow down"}`, true},
		{500, "", true}, {501, "", false}, {502, "<html>", true}, {503, coded("UNAVAILABLE"), true}, {504, "", true},
	} {
		for _, ping := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d %s, ping %v", c.status, c.body, ping), func(t *testing.T) {
				err := registryError(t, func(w http.ResponseWriter, r *http.Request) bool {
					if (r.URL.Path == "/v2/") != ping {
						return false
					}
					w.Header().Set("Retry-After", "0") // containers/image waits for it.
					w.WriteHeader(c.status)
					io.WriteString(w, c.body) // The client sees whether it arrived.
					return true
				})
				assert.Equal(t, retry.Verdict{Retry: c.want}, Retries(1, 0).Judge(err), "%v", err)
				busy := c.status == http.StatusTooManyRequests || c.status == http.StatusServiceUnavailable
				assert.Equal(t, busy, IsBusy(err), "%v", err)
				assert.Equal(t, busy, IsBusy(errors.Join(errOther, err)), "%v", err)
			})
		}
	}
}

func TestRetryableTokens(t *testing.T) {
	for status, want := range map[int]bool{401: false, 403: false, 429: true, 503: true} {
		err := registryError(t, func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/token") {
				w.WriteHeader(status)
				return true
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		})
		if status == http.StatusTooManyRequests {
			require.ErrorIs(t, err, docker.ErrTooManyRequests)
		}
		assert.Equal(t, retry.Verdict{Retry: want}, Retries(1, 0).Judge(err), "%v", err)
	}
}

func TestRetryableOthers(t *testing.T) {
	verdict, known := answers.Judge(fmt.Errorf("x: %w", errcode.ErrorCodeUnavailable))
	assert.Equal(t, retry.Verdict{Retry: true}, verdict)
	assert.True(t, known)
	for _, err := range []error{errOther, io.ErrUnexpectedEOF, errors.Join(errOther, io.EOF)} {
		_, known = answers.Judge(err)
		assert.False(t, known, "%v", err)
	}
}

func TestRetry(t *testing.T) {
	calls := 0
	require.ErrorIs(t, Retries(5, 0).Do(t.Context(), nil, func() error { calls++; return errOther }), errOther)
	assert.Equal(t, 1, calls)
	require.Equal(t, docker.ErrTooManyRequests, Retries(0, 0).Do(t.Context(), nil, func() error { return docker.ErrTooManyRequests }))
}

// A registry that breaks off before its answer is asked again.
func TestRetryAfterNoAnswer(t *testing.T) {
	reg := imagetest.NewRegistry(t)
	var asked atomic.Int32
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Connection", "close") // net/http itself sends requests again that break off on an old one.
		if strings.Contains(r.URL.Path, "/manifests/") && asked.Add(1) <= 2 {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	policy, calls := Retries(2, 0), 0
	policy.FirstDelay = time.Nanosecond
	err := policy.Do(t.Context(), func(err error) { require.ErrorIs(t, err, io.EOF) }, func() error {
		calls++
		src, err := reg.Ref(t, "app:1").NewImageSource(t.Context(), imagetest.RegistryContext(t))
		if err == nil {
			defer src.Close() // Was only read.
			_, _, err = src.GetManifest(t.Context(), nil)
		}
		return err
	})
	require.ErrorContains(t, err, "name unknown", "the registry is empty")
	assert.Equal(t, 3, calls)
}
