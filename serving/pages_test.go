package serving_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/serving"
)

// Pages are answered for everything but the registry, and by the same rules.
func TestHandle(t *testing.T) {
	path := newLayout(t).add(imagetest.NewImage(t, "one", imagetest.Gzip(1, 100)), "example.com/app:1").write()
	allowed := true
	s := serveWith(t, serving.Options{Authorize: func(context.Context, serving.Login) error {
		if allowed {
			return nil
		}
		return serving.ErrDenied
	}}, path)
	s.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	challenge := ""
	get := func(path string) int {
		r, err := http.NewRequest(http.MethodGet, s.url+path, nil)
		require.NoError(t, err)
		r.SetBasicAuth("user", "password")
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		challenge = resp.Header.Get("WWW-Authenticate")
		return resp.StatusCode
	}
	for _, page := range []string{"/", "/image/x", "/v2x", "/v1/"} {
		assert.Equal(t, http.StatusTeapot, get(page), page)
	}
	for _, api := range []string{"/v2", "/v2/", "/v2/app/manifests/1"} {
		assert.Equal(t, http.StatusOK, get(api), api)
	}
	allowed = false
	assert.Equal(t, http.StatusUnauthorized, get("/"))
	assert.Contains(t, challenge, "Basic", "a browser asks for a password")
}

// Every name in References leads to the image.
func TestReferences(t *testing.T) {
	l := newLayout(t)
	for i, names := range [][]string{
		{"example.com/team/app:1", "example.com/team/app:latest"}, {"docker.io/library/alpine:3", "docker.io/team/app:2"},
		{"other.example.com/team/app:1"}, {"localhost:5000/x:1"}, {},
	} {
		l.add(imagetest.NewImage(t, string(rune('a'+i)), imagetest.Gzip(uint64(i), 100)), names...)
	}
	s := serve(t, l.write())
	archives := s.Archives()
	require.Len(t, archives, 1)
	a, done, err := archives[0].Use(t.Context())
	require.NoError(t, err)
	defer done()
	var all [][]string
	for _, img := range a.All() {
		refs := s.References(archives[0], img.Position)
		all = append(all, refs)
	}
	assert.Equal(t, [][]string{
		{"team/app:1", "team/app:latest"}, {"alpine:3", "team/app:2"}, {"other.example.com/team/app:1"}, {"x:1"}, {"images"},
	}, all)
	assert.Empty(t, s.References(archives[0], 99))
}

// An archive that is gone cannot be used, and is told apart from its successor.
func TestServedIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "images.tar")
	write := func(label string) {
		data := newLayout(t).add(imagetest.NewImage(t, label, imagetest.Gzip(1, 100)), "example.com/app:1").bytes()
		require.NoError(t, os.WriteFile(path+".new", data, 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	write("one")
	s := serve(t, dir)
	before := s.Archives()
	assert.Equal(t, before, s.Archives())
	assert.Equal(t, path, before[0].Path())
	write("two, which is longer")
	s.Refresh(t.Context())
	after := s.Archives()
	assert.NotEqual(t, before[0], after[0])
	assert.False(t, before[0] == after[0])
	_, _, err := before[0].Use(t.Context())
	require.ErrorIs(t, err, serving.ErrReplaced)
	require.NoError(t, s.Close())
	assert.Empty(t, s.Archives())
}
