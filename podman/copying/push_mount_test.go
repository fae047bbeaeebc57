package copying_test

import (
	"fmt"
	"net/http"
	"path"
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

// mounting is a registry whose repositories have blobs each for itself. It notes all that
// happens to one blob.
type mounting struct {
	*pushed
	layer imagetest.Layer

	mu      sync.Mutex
	has     map[string]bool // repositories with the layer
	refuses bool            // begins uploads instead of mounting
	closed  map[string]bool // repositories that nobody may read
	seen    []string        // the requests for the layer: METHOD REPOSITORY, or mount FROM REPOSITORY
	faults  func(w http.ResponseWriter, r *http.Request) bool
	begun   int             // uploads
	open    map[string]bool // uploads of anything that have neither been ended nor cancelled
}

func newMounting(t *testing.T) *mounting {
	m := &mounting{pushed: newPushed(t), layer: imagetest.Gzip(1, 3000), has: map[string]bool{}, closed: map[string]bool{}, open: map[string]bool{}}
	m.faults = func(http.ResponseWriter, *http.Request) bool { return false }
	m.faulty(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		repository, target, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/")
		if !ok {
			return false
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		upload, isUpload := strings.CutPrefix(target, "uploads/")
		if isUpload {
			return m.upload(w, r, repository, upload)
		}
		if target != m.layer.Digest.String() {
			return false
		}
		m.seen = append(m.seen, r.Method+" "+repository)
		switch {
		case m.faults(w, r):
		case m.closed[repository]:
			w.WriteHeader(http.StatusForbidden)
		case !m.has[repository]:
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodHead: // The registry behind it need not have it.
			w.WriteHeader(http.StatusOK)
		default:
			return false
		}
		return true
	})
	return m
}

// upload answers a request about an upload, or returns false.
func (m *mounting) upload(w http.ResponseWriter, r *http.Request, repository, id string) bool {
	query := r.URL.Query()
	blob, from := query.Get("mount"), query.Get("from")
	if d := query.Get("digest"); r.Method == http.MethodPut && d == m.layer.Digest.String() {
		m.seen = append(m.seen, "PUT "+repository)
		m.has[repository] = true
	}
	switch r.Method {
	case http.MethodPut:
		delete(m.open, id)
	case http.MethodDelete:
		delete(m.open, id)
		w.WriteHeader(http.StatusNoContent)
		return true
	case http.MethodPost:
		if blob != "" {
			m.seen = append(m.seen, "mount "+from+" "+repository)
			if m.faults(w, r) {
				return true
			}
		}
		if blob != "" && !m.refuses && m.has[from] && !m.closed[from] {
			m.has[repository] = true
			w.Header().Set("Location", "/v2/"+repository+"/blobs/"+blob)
			w.WriteHeader(http.StatusCreated)
			return true
		}
		id = fmt.Sprintf("upload-%d", m.begun)
		m.begun++
		m.open[id] = true
		w.Header().Set("Location", path.Dir(r.URL.Path)+"/"+id)
		w.WriteHeader(http.StatusAccepted)
		return true
	}
	return false
}

// did returns what happened to the layer since it was last called, and fails if uploads are open.
func (m *mounting) did(t *testing.T) []string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	assert.Empty(t, m.open, "uploads that a registry must keep until it forgets them")
	seen := m.seen
	m.seen = nil
	return seen
}

func (m *mounting) image(t *testing.T, name string) copying.PushImage {
	return copying.PushImage{
		SaveImage: copying.SaveImage{Source: imagetest.NewImage(t, name, m.layer)},
		Targets:   []reference.Named{imagetest.Tagged(t, m.Address+"/"+name+":1")},
	}
}

// put pushes images one after the other.
func (m *mounting) put(t *testing.T, cache string, images ...copying.PushImage) []copying.PushResult {
	t.Helper()
	options := pushing(t)
	options.DestinationCtx.BlobInfoCacheDir, options.Jobs = cache, 1
	results, err := copying.Push(t.Context(), imagetest.Trusting(t), images, options)
	require.NoError(t, err)
	return results
}

// remembers returns a cache of containers/image that remembers the layer in repositories, the
// last one as the latest. None of them has it any more.
func (m *mounting) remembers(t *testing.T, repositories ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range repositories {
		m.put(t, dir, m.image(t, name))
	}
	m.did(t)
	clear(m.has)
	return dir
}

// A layer that is in another repository is mounted from there: one of the same push, one of an
// earlier push, or one where a push found it.
func TestPushMounts(t *testing.T) {
	m, cache := newMounting(t), t.TempDir()
	m.put(t, cache, m.image(t, "one"), m.image(t, "two"), m.image(t, "three"))
	done := m.did(t)
	assert.Equal(t, []string{"HEAD one", "PUT one", "HEAD two", "mount one two", "HEAD three", "mount two three"}, done)
	results := m.put(t, cache, m.image(t, "four"))
	assert.Equal(t, []string{"HEAD four", "HEAD three", "mount three four"}, m.did(t))
	assert.Equal(t, int64(len(m.layer.Blob)), results[0].There)

	cache = t.TempDir()
	require.True(t, m.put(t, cache, m.image(t, "one"))[0].UpToDate)
	assert.Empty(t, m.did(t))
	m.put(t, cache, m.image(t, "five"))
	assert.Equal(t, []string{"HEAD five", "HEAD one", "mount one five"}, m.did(t))
}

// Every repository that is remembered is asked, the latest first, until one has the layer. A
// registry is asked to mount it only from there: else it would begin an upload.
func TestPushMountsFromAnyRemembered(t *testing.T) {
	m := newMounting(t)
	cache := m.remembers(t, "old", "secret", "gone")
	m.has["old"], m.has["secret"], m.closed["secret"] = true, true, true
	m.put(t, cache, m.image(t, "app"))
	assert.Equal(t, []string{"HEAD app", "HEAD gone", "HEAD secret", "HEAD old", "mount old app"}, m.did(t))

	var many []string
	for n := range 12 {
		many = append(many, fmt.Sprint("gone", n))
	}
	m.put(t, m.remembers(t, many...), m.image(t, "other"))
	done := m.did(t)
	assert.LessOrEqual(t, len(done), 2+8, "a bound on how many are asked")
	assert.Equal(t, []string{"HEAD other", "HEAD gone11"}, done[:2])
	assert.Equal(t, "PUT other", done[len(done)-1])
}

// A repository that is remembered to have a layer, and was emptied, gets it from another one.
func TestPushMountsIntoEmptied(t *testing.T) {
	m, cache := newMounting(t), t.TempDir()
	m.put(t, cache, m.image(t, "other"), m.image(t, "app"))
	m.did(t)
	delete(m.has, "app")
	again := m.image(t, "app")
	again.Targets = []reference.Named{imagetest.Tagged(t, m.Address+"/app:2")}
	m.put(t, cache, again)
	assert.Equal(t, []string{"HEAD app", "HEAD other", "mount other app"}, m.did(t))
}

// An image that comes from another repository of the registry is mounted from there, without
// anything that is remembered.
func TestPushMountsFromSource(t *testing.T) {
	m := newMounting(t)
	m.put(t, t.TempDir(), m.image(t, "from"))
	m.did(t)
	m.put(t, t.TempDir(), copying.PushImage{
		SaveImage: copying.SaveImage{Source: m.Ref(t, "from:1")},
		Targets:   []reference.Named{imagetest.Tagged(t, m.Address+"/to:1")},
	})
	assert.Equal(t, []string{"HEAD to", "HEAD from", "mount from to"}, m.did(t), "and it is not read")
}

// A registry that does not mount begins an upload. The layer is sent in that one.
func TestPushWhereNothingIsMounted(t *testing.T) {
	m := newMounting(t)
	cache := m.remembers(t, "one", "two")
	m.refuses, m.has["one"], m.has["two"] = true, true, true
	m.put(t, cache, m.image(t, "app"))
	assert.Equal(t, []string{"HEAD app", "HEAD two", "mount two app", "PUT app"}, m.did(t))
}

// Another repository that does not say whether it has a layer, or a failure to mount it from there,
// is no reason to fail: the layer is sent.
func TestPushWhereMountingFails(t *testing.T) {
	believed := map[string]bool{"a page to HEAD blob": true, "created to POST mount": true}
	for name, fault := range pushFaults {
		for _, kind := range []string{"HEAD blob", "POST mount"} {
			name := name + " to " + kind
			if believed[name] {
				continue
			}
			t.Run(name, func(t *testing.T) {
				m := newMounting(t)
				cache := m.remembers(t, "one")
				m.has["one"] = true
				asked := 0
				m.faults = func(w http.ResponseWriter, r *http.Request) bool {
					if kindOf(r) != kind || strings.HasPrefix(r.URL.Path, "/v2/app/blobs/sha256:") {
						return false
					}
					asked++
					fault.answer(w, r)
					return true
				}
				m.put(t, cache, m.image(t, "app"))
				assert.Positive(t, asked)
				done := m.did(t)
				assert.Equal(t, "HEAD app", done[0])
				assert.Equal(t, "PUT app", done[len(done)-1])
			})
		}
	}
}

// A layer that nobody can send is asked for in all repositories. Uploads that the registry begins
// are cancelled.
func TestPushThinWhereNothingIsMounted(t *testing.T) {
	first, second := versions(t)
	all, _ := save(t, saving(t), named(t, first, "app:1"))
	rest, _ := save(t, thin(t, "january.tar", all), named(t, second, "other:2"))
	m := newMounting(t)
	m.layer = second.Layers[0]
	cache := m.remembers(t, "one", "two")
	m.refuses, m.has["one"], m.has["two"] = true, true, true
	images := m.archived(t, imagetest.WriteFile(t, rest))
	options := pushing(t)
	options.DestinationCtx.BlobInfoCacheDir, options.Jobs = cache, 1
	_, err := copying.Push(t.Context(), imagetest.Trusting(t), images, options)
	var leftOut *errdef.LeftOutError
	require.ErrorAs(t, err, &leftOut)
	assert.Subset(t, m.did(t), []string{"mount two library/other", "mount one library/other", "mount  library/other"})
}
