package copying_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// For every fault that a daemon answers to a kind of request, once or always: an image
// that Load reports as loaded is there, and an error says that it is the daemon's.
func TestLoadFaults(t *testing.T) {
	l := []imagetest.Layer{imagetest.Gzip(1, 1000), imagetest.Gzip(2, 200_000)}
	base, app := imagetest.NewImage(t, "base", l[0]), imagetest.NewImage(t, "app", l...)
	const name = "example.com/app:1"
	kindOf := func(path string) string {
		switch {
		case path == "/images/"+name+"/json":
			return "inspect what was loaded"
		case strings.HasPrefix(path, "/images/sha256:"):
			return "inspect what is there"
		}
		return path
	}
	say := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	answers := map[string]http.HandlerFunc{
		"500": say(http.StatusInternalServerError, ""), "429": say(http.StatusTooManyRequests, ""), "not found": say(http.StatusNotFound, `{"message":"page not found"}`),
		"a page": say(http.StatusOK, "<html>"), "no words": say(http.StatusOK, ""),
		"null": say(http.StatusOK, "null"), "an object": say(http.StatusOK, "{}"), "a list": say(http.StatusOK, "[{}]"), "a half": say(http.StatusOK, `{"Id":"sha`),
		"hang up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hang up late": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 10_000)
			panic(http.ErrAbortHandler)
		},
	}
	for _, kind := range []string{"/version", "/info", "/images/json", "inspect what is there", "/images/load", "inspect what was loaded"} {
		for what, answer := range answers {
			for _, times := range []int32{1, 1000} {
				for containerd, id := range map[bool]digest.Digest{false: app.ConfigDigest(), true: app.Digest()} {
					t.Run(fmt.Sprint(what, " to ", kind, " ", times, containerd), func(t *testing.T) {
						d := imagetest.NewLoadDaemon(t)
						d.Containerd = containerd
						load(t, d, loading(t, d), named(t, base, "example.com/base:1"))
						var asked atomic.Int32
						d.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
							if kindOf(r.URL.Path) != kind {
								return false
							}
							spoilt := asked.Add(1) <= times
							if spoilt {
								answer(w, r)
							}
							return spoilt
						})
						_, err := copying.Load(t.Context(), imagetest.Trusting(t), []copying.SaveImage{named(t, app, name)}, loading(t, d))
						assert.NotZero(t, asked.Load())
						if err != nil {
							require.ErrorContains(t, err, "the docker daemon")
							return
						}
						assert.Equal(t, id, d.Names()[name])
					})
				}
			}
		}
	}
}

// A disk that is full is not sent more.
func TestLoadToFullDisk(t *testing.T) {
	l := []imagetest.Layer{imagetest.Gzip(1, 1000), imagetest.Gzip(2, 2000)}
	base, app := imagetest.NewImage(t, "base", l[0]), imagetest.NewImage(t, "app", l...)
	for text, want := range map[string]int32{"no space left on device": 1, "unexpected EOF": 2} {
		d := imagetest.NewLoadDaemon(t)
		load(t, d, loading(t, d), named(t, base, "example.com/base:1"))
		var asked atomic.Int32
		d.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/images/load" {
				return false
			}
			asked.Add(1)
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, `{"message":"write /var/lib/docker/x: %s"}`, text)
			return true
		})
		_, err := copying.Load(t.Context(), imagetest.Trusting(t), []copying.SaveImage{named(t, app, "example.com/app:1")}, loading(t, d))
		require.ErrorContains(t, err, text)
		assert.Equal(t, want, asked.Load(), text)
	}
}
