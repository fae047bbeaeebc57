package copying_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// kindOf returns the purpose of a request of Push.
func kindOf(r *http.Request) string {
	_, at, _ := strings.Cut(r.URL.Path, "/manifests/")
	switch {
	case r.URL.Path == "/v2/":
		return r.Method + " base"
	case strings.Contains(at, ":"):
		return r.Method + " manifest by digest"
	case at != "":
		return r.Method + " manifest by tag"
	case r.URL.Query().Has("mount"):
		return r.Method + " mount"
	case strings.Contains(r.URL.Path, "/referrers/"):
		return r.Method + " referrers"
	case strings.Contains(r.URL.Path, "/uploads/") && r.Method == http.MethodPut && r.ContentLength > 0:
		return "PUT whole"
	case strings.Contains(r.URL.Path, "/uploads/"):
		return r.Method + " upload"
	}
	return r.Method + " blob"
}

// pushFaults are answers to any request.
var pushFaults = map[string]struct {
	passes bool // so that it is worth trying again
	answer http.HandlerFunc
}{
	"500": {true, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }},
	"429": {true, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusTooManyRequests)
	}},
	"hang up": {true, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	"a page":  {false, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>It works!</html>") }},
	"created": {false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }},
	"around a loop": {false, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}},
	"forbidden in no JSON": {false, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "\x1b[2J{")
	}},
}

// withoutAPI makes a registry one without the referrers API.
func withoutAPI(w http.ResponseWriter, r *http.Request) bool {
	asked := kindOf(r) == "GET referrers"
	if asked {
		http.NotFound(w, r)
	}
	return asked
}

// For every fault that a registry answers to a kind of request, once or always: Push gets
// over one that may pass, images that it reports are there, and no name appears before
// its image.
func TestPushFaults(t *testing.T) {
	file := saveSigned(t)
	push := func(t *testing.T, retries int, fault func(kind string, w http.ResponseWriter, r *http.Request) bool) (*pushed, []copying.PushResult, error) {
		t.Helper()
		to := newPushed(t)
		var mu sync.Mutex
		to.faulty(func(_ int, w http.ResponseWriter, r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			return fault(kindOf(r), w, r) || withoutAPI(w, r)
		})
		options := pushing(t)
		options.RetryTimes, options.Jobs = retries, 1
		results, err := copying.Push(t.Context(), imagetest.Trusting(t), to.archived(t, file), options)
		to.faulty(nil)
		return to, results, err
	}
	kinds := map[string]bool{}
	_, _, err := push(t, 0, func(kind string, _ http.ResponseWriter, _ *http.Request) bool {
		kinds[kind] = true
		return false
	})
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{
		"GET base", "HEAD manifest by tag", "HEAD manifest by digest", "HEAD blob", "POST upload",
		"PUT whole", "PUT manifest by digest", "PUT manifest by tag", "GET referrers", "GET manifest by tag",
	}, slices.Collect(maps.Keys(kinds)))

	inParts := []string{"PATCH upload", "PUT upload"} // To a registry that takes no whole blob.
	for _, kind := range inParts {
		kinds[kind] = true
	}

	// Push believes a registry that says it has the blob. Real registries look for blobs
	// when they get a manifest.
	believed := map[string]bool{"a page to HEAD blob": true, "created to PUT upload": true, "created to PUT whole": true}
	for name, fault := range pushFaults {
		for kind := range kinds {
			for _, times := range []int{1, 1000} {
				t.Run(fmt.Sprint(name, " to ", kind, " ", times), func(t *testing.T) {
					asked := 0
					to, results, err := push(t, 3, func(k string, w http.ResponseWriter, r *http.Request) bool {
						switch {
						case k == kind:
						case k == "PUT whole" && slices.Contains(inParts, kind):
							w.WriteHeader(http.StatusBadRequest)
							return true
						default:
							return false
						}
						asked++
						if asked <= times {
							fault.answer(w, r)
						}
						return asked <= times
					})
					if fault.passes && times == 1 {
						require.NoError(t, err)
					}
					var failed *errdef.ImageError
					if err != nil {
						require.ErrorAs(t, err, &failed)
					}
					if believed[name+" to "+kind] {
						return
					}
					for _, r := range results {
						for _, target := range r.Targets {
							if err == nil || to.get(t, manifestPath(target)) != nil {
								to.checkThere(t, target, r.Digest)
							}
						}
					}
				})
			}
		}
	}
}

// A client that may not read, or gets no digest for a HEAD, has pushed all the same. A
// registry that has something else under a name has not got the image.
func TestPushConfirms(t *testing.T) {
	for name, c := range map[string]struct {
		head, get http.HandlerFunc
		want      error
		unknown   bool // whether it is there
	}{
		"may only push":  {head: pushFaults["forbidden in no JSON"].answer, get: pushFaults["forbidden in no JSON"].answer},
		"no digest":      {head: func(http.ResponseWriter, *http.Request) {}},
		"another":        {head: http.NotFound, get: pushFaults["a page"].answer, want: copying.ErrNotPushed},
		"has lost it":    {head: http.NotFound, get: http.NotFound, want: copying.ErrNotPushed},
		"has broken off": {head: http.NotFound, get: pushFaults["500"].answer, unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			to := newPushed(t)
			to.faulty(func(_ int, w http.ResponseWriter, r *http.Request) bool {
				answer := map[string]http.HandlerFunc{"HEAD manifest by tag": c.head, "GET manifest by tag": c.get}[kindOf(r)]
				if answer != nil {
					answer(w, r)
				}
				return answer != nil
			})
			img := imagetest.NewImage(t, "it")
			_, err := copying.Push(t.Context(), imagetest.Trusting(t), []copying.PushImage{
				{SaveImage: copying.SaveImage{Source: img}, Targets: []reference.Named{imagetest.Tagged(t, to.Address+"/app:1")}},
			}, pushing(t))
			if c.unknown {
				require.ErrorContains(t, err, "is not known")
				require.NotErrorIs(t, err, copying.ErrNotPushed)
				return
			}
			require.ErrorIs(t, err, c.want)
		})
	}
}
