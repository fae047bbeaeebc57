package serving_test

import (
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
)

// Every method of a Server may be called while others are, and while archives come and go.
func TestServerConcurrently(t *testing.T) {
	dir := t.TempDir()
	one, two := imagetest.NewImage(t, "one", imagetest.Gzip(1, 1000)), imagetest.NewImage(t, "two", imagetest.Plain(2, 1000))
	archives := [][]byte{newLayout(t).add(one, "team/app:1").bytes(), newLayout(t).add(two, "team/app:1").bytes()}
	path := filepath.Join(dir, "a.tar")
	replace(t, path, archives[0])
	s := serve(t, dir)
	var wg sync.WaitGroup
	again := func(f func(n int)) {
		wg.Go(func() {
			for n := range 20 {
				f(n)
			}
		})
	}
	for _, target := range []string{
		"", "_catalog", "team/app/tags/list", "team/app/manifests/1", "team/app/manifests/" + one.Digest().String(),
		"team/app/blobs/" + one.Layers[0].Digest.String(), "team/app/referrers/" + one.Digest().String(), "team/app/blobs/x:y",
	} {
		again(func(int) {
			assert.Less(t, s.do(http.MethodGet, "/v2/"+target).StatusCode, http.StatusInternalServerError, target)
		})
	}
	again(func(n int) { replace(t, path, archives[n%2]) })
	again(func(int) { s.Refresh(t.Context()) })
	again(func(int) { s.Images() })
	wg.Wait()
	for range 3 {
		wg.Go(func() { assert.NoError(t, s.Close()) })
	}
	again(func(int) { s.do(http.MethodGet, "/v2/team/app/manifests/1") })
	again(func(int) { s.Images() })
	again(func(int) { s.Refresh(t.Context()) })
	wg.Wait()
}
