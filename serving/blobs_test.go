package serving_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/serving"
)

// compressedLayers is an archive of the docker layout whose layers are compressed, so that
// it has no blob in the form that is served.
func compressedLayers(t testing.TB, layer imagetest.Layer, stored []byte) (path string, m *imagetest.Image) {
	m = imagetest.NewImage(t, "compressed", layer)
	l := newLayout(t)
	config := m.ConfigDigest().Encoded() + ".json"
	l.file("layer.tar", stored)
	l.file(config, m.Config)
	l.file("manifest.json", []byte(`[{"Config":"`+config+`","RepoTags":["team/app:1"],"Layers":["layer.tar"]}]`))
	return l.write(), m
}

func TestRanges(t *testing.T) {
	layer := imagetest.Plain(1, 5000)
	stored := newLayout(t).add(imagetest.NewImage(t, "it", layer), "team/app:1").write()
	compressed, _ := compressedLayers(t, layer, imagetest.Gzipped(layer.Diff))
	for name, path := range map[string]string{"stored": stored, "compressed": compressed} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, path)
			testRanges(t, s, "/v2/team/app/blobs/"+layer.Digest.String(), layer.Blob)
		})
	}
}

func testRanges(t *testing.T, s *served, target string, content []byte) {
	size := len(content)
	for _, c := range []struct {
		asked      string
		status     int
		begin, end int
	}{
		{"bytes=0-0", 206, 0, 1},
		{"bytes=0-", 206, 0, size},
		{"bytes=100-199", 206, 100, 200},
		{"bytes=100-99999999", 206, 100, size},
		{"bytes=-10", 206, size - 10, size},
		{"bytes=-99999999", 206, 0, size},
		{"bytes=99999999-", 416, 0, 0},
		{"bytes=9223372036854775807-9223372036854775808", 416, 0, 0},
		{"bytes=5-2", 416, 0, 0},
		{"bytes=-", 416, 0, 0},
		{"bytes=a-b", 416, 0, 0},
		{"bytes=-0", 416, 0, 0},
		{"bytes=-0,-0", 416, 0, 0},
		{"bytes=-0, 100-199", 206, 100, 200},
		{"bytes=,100-199 ,", 206, 100, 200},
		{"Bytes=100-199", 206, 100, 200},
		{"bytes=0-99999999999999999999999", 206, 0, size},
		{"bytes=-99999999999999999999999", 206, 0, size},
		{"bytes=99999999999999999999999-", 416, 0, 0},
		{"bytes=1-2,5-2", 416, 0, 0},
		{"lines=1-2", 200, 0, size},
		{"bits=-0", 200, 0, size},
		{"nonsense", 200, 0, size},
		{"bytes=" + strings.Repeat("0-,", 5000), 200, 0, size}, // more than all of it
	} {
		a := s.do("GET", target, "Range", c.asked)
		assert.Equal(t, c.status, a.StatusCode, c.asked[:min(len(c.asked), 60)])
		if c.status < 300 {
			assert.Equal(t, content[c.begin:c.end], a.body, c.asked)
			assert.Equal(t, int64(c.end-c.begin), a.ContentLength)
		} else {
			assert.Equal(t, fmt.Sprintf("bytes */%d", size), a.Header.Get("Content-Range"), c.asked)
			assert.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
		}
	}
	etag := `"` + digest.FromBytes(content).String() + `"`
	assert.Equal(t, http.StatusOK, s.do("HEAD", target, "Range", "bytes=0-0").StatusCode, "ranges are for GET")
	a := s.do("HEAD", target)
	assert.Equal(t, http.StatusOK, a.StatusCode)
	assert.Equal(t, int64(size), a.ContentLength)
	assert.Equal(t, etag, a.Header.Get("ETag"))
	assert.Equal(t, strings.Trim(etag, `"`), a.Header.Get("Docker-Content-Digest"))
	assert.Equal(t, "bytes", a.Header.Get("Accept-Ranges"))
	assert.Empty(t, a.body)
	assert.Equal(t, http.StatusNotModified, s.do("GET", target, "If-None-Match", etag).StatusCode)
	assert.Equal(t, http.StatusPartialContent, s.do("GET", target, "Range", "bytes=1-2", "If-Range", etag).StatusCode)
	assert.Equal(t, content, s.do("GET", target, "Range", "bytes=1-2", "If-Range", `"other"`).body)
}

// A blob that is stored as it is can be sent in several ranges. A blob that has to be
// unpacked for that is sent as a whole: it would be unpacked again for each range.
func TestSeveralRanges(t *testing.T) {
	layer := imagetest.Plain(1, 5000)
	target := "/v2/team/app/blobs/" + layer.Digest.String()
	compressed, _ := compressedLayers(t, layer, imagetest.Gzipped(layer.Diff))
	a := serve(t, compressed).do("GET", target, "Range", "bytes=1-2,600-609")
	assert.Equal(t, http.StatusOK, a.StatusCode)
	assert.Equal(t, layer.Blob, a.body)

	stored := newLayout(t).add(imagetest.NewImage(t, "it", layer), "team/app:1").write()
	a = serve(t, stored).do("GET", target, "Range", "bytes=1-2,600-609")
	assert.Equal(t, http.StatusPartialContent, a.StatusCode)
	_, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	require.NoError(t, err)
	parts := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
	for _, want := range [][]byte{layer.Blob[1:3], layer.Blob[600:610]} {
		part, err := parts.NextPart()
		require.NoError(t, err)
		got, err := io.ReadAll(part)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestManifestsAreNotSentAgain(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 100))
	s := serve(t, newLayout(t).add(img, "team/app:1").write())
	a := s.do("GET", "/v2/team/app/manifests/1", "If-None-Match", `"`+img.Digest().String()+`"`)
	assert.Equal(t, http.StatusNotModified, a.StatusCode)
	assert.Empty(t, a.body)
	a = s.do("HEAD", "/v2/team/app/manifests/1")
	assert.Equal(t, int64(len(img.Raw)), a.ContentLength)
}

// The manifest that is made up for a docker layout is the same every time.
func TestMadeManifest(t *testing.T) {
	layer := imagetest.Plain(1, 500)
	path, _ := compressedLayers(t, layer, imagetest.Gzipped(layer.Diff))
	first := serve(t, path).get("team/app/manifests/1")
	assert.Equal(t, first, serve(t, path).get("team/app/manifests/1"))
	assert.Contains(t, string(first), `"application/vnd.docker.image.rootfs.diff.tar"`)
	assert.Contains(t, string(first), layer.DiffID().String())
}

// A client that gets a damaged blob can tell. The blob is refused when the server has found
// the damage, which is logged.
func TestDamagedBlob(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 5000))
	d := img.Layers[0].Digest
	l := newLayout(t).add(img, "team/app:1")
	l.files[blobPath(d)] = append(bytes.Clone(img.Layers[0].Blob[1:]), 'x')
	s := serve(t, l.write())
	assert.NotEqual(t, d, digest.FromBytes(s.getAndCheck("team/app/blobs/"+d.String())))
	assert.Contains(t, s.log.String(), "damaged")
	assert.Contains(t, s.log.String(), d.String())
	a := s.do("GET", "/v2/team/app/blobs/"+d.String())
	assert.Equal(t, http.StatusNotFound, a.StatusCode)
	assert.Equal(t, "BLOB_UNKNOWN", a.code(t))
	assert.Contains(t, string(a.body), "damaged")
}

// A layer that is unpacked to be sent is not sent to its end if it is damaged.
func TestDamagedLayerThatIsUnpacked(t *testing.T) {
	layer, other := imagetest.Plain(1, 5000), imagetest.Plain(2, 5000)
	path, _ := compressedLayers(t, layer, imagetest.Gzipped(other.Diff))
	s := serve(t, path)
	a := s.do("GET", "/v2/team/app/blobs/"+layer.Digest.String())
	require.ErrorIs(t, a.err, io.ErrUnexpectedEOF)
	assert.Contains(t, s.log.String(), "blob cannot be read")
}

// An archive that is cut short while it is served ends the connection, not the server.
func TestTruncated(t *testing.T) {
	img := imagetest.NewImage(t, "it", imagetest.Plain(1, 500_000))
	path := newLayout(t).add(img, "team/app:1").write()
	s := serve(t, path)
	require.NoError(t, os.Truncate(path, 100_000))
	target := "team/app/blobs/" + img.Layers[0].Digest.String()
	// The manifests are behind the end, and cannot be found any more.
	assert.NotEqual(t, http.StatusOK, s.status(target))

	require.NoError(t, os.WriteFile(path, newLayout(t).add(img, "team/app:1").bytes(), 0o600))
	s.Refresh(t.Context())
	s.getAndCheck(target)
	require.NoError(t, os.Truncate(path, 100_000))
	a := s.do("GET", "/v2/"+target)
	require.ErrorIs(t, a.err, io.ErrUnexpectedEOF)
	assert.Contains(t, s.log.String(), "cut short")
}

// If an archive is cut short while a client reads from it, the client knows that it has not
// got all.
func TestTruncatedWhileSent(t *testing.T) {
	content := bytes.Repeat([]byte("more than sockets buffer"), 1<<19)
	img := imagetest.NewImage(t, "big", imagetest.NewLayer(content, content, v1.MediaTypeImageLayer))
	archive := newLayout(t).add(img, "team/app:1")
	dir := t.TempDir()
	parts := filepath.Join(dir, "parts.tar")
	writeParts(t, parts, archive.bytes())
	whole := archive.write()
	for name, c := range map[string]struct{ path, cut string }{
		"file":  {whole, whole},
		"parts": {parts + ".000", parts + ".009"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.path)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v2/team/app/blobs/"+img.Layers[0].Digest.String(), nil)
			require.NoError(t, err)
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(c.cut, 1000))
			body, err := io.ReadAll(response.Body)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.NoError(t, response.Body.Close())
			assert.Less(t, len(body), len(content))
			assert.Equal(t, http.StatusOK, s.status(""))
			s.http.Close() // The log is written when the client is gone.
			assert.Contains(t, s.log.String(), "cut short")
		})
	}
}

// A manifest that is damaged is not sent at all.
func TestDamagedManifest(t *testing.T) {
	good, img := imagetest.NewImage(t, "good"), imagetest.NewImage(t, "it", imagetest.Plain(1, 100))
	l := newLayout(t).add(good, "team/good:1").add(img, "team/app:1")
	l.files[blobPath(img.Digest())] = bytes.Replace(img.Raw, []byte("layers"), []byte("lawyer"), 1)
	s := serve(t, l.write())
	for _, reference := range []string{"1", img.Digest().String()} {
		a := s.do("GET", "/v2/team/app/manifests/"+reference)
		assert.GreaterOrEqual(t, a.StatusCode, 400)
		assert.NotContains(t, string(a.body), "lawyer")
	}
	assert.Contains(t, s.log.String(), img.Digest().String())
	assert.Equal(t, good.Raw, s.get("team/good/manifests/1"))
}

// Verifying blobs waits while others are being sent, and for no more than a minute, however
// many they are.
func TestChecksWait(t *testing.T) {
	big, small := imagetest.NewImage(t, "big", imagetest.Plain(1, 1_000_000)), imagetest.NewImage(t, "small", imagetest.Plain(2, 100), imagetest.Plain(3, 100))
	l := newLayout(t).add(big, "team/app:1").add(small, "team/app:2")
	for _, layer := range small.Layers {
		l.files[blobPath(layer.Digest)][0]++
	}
	path := l.write()
	for name, c := range map[string]struct {
		reads time.Duration // how long the client takes
		want  time.Duration
	}{"until they are sent": {20 * time.Second, 20 * time.Second}, "until it is late": {25 * time.Minute, time.Minute}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &logged{}
				s, err := serving.New(t.Context(), []string{path}, serving.Options{Log: slog.New(slog.NewTextHandler(log, nil)), Patience: time.Hour})
				require.NoError(t, err)
				var sending sync.WaitGroup
				sending.Go(func() {
					w := &sleepy{ResponseRecorder: httptest.NewRecorder(), sleep: c.reads}
					s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/team/app/blobs/"+big.Layers[0].Digest.String(), nil))
				})
				synctest.Wait()
				for _, layer := range small.Layers {
					s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/team/app/blobs/"+layer.Digest.String(), nil))
				}
				synctest.Wait()
				assert.NotContains(t, log.String(), "damaged")
				time.Sleep(c.want + time.Second)
				synctest.Wait()
				for _, layer := range small.Layers {
					assert.Contains(t, log.String(), "blob="+layer.Digest.String())
				}
				sending.Wait()
				require.NoError(t, s.Close())
			})
		})
	}
}

// sleepy takes its time for the first bytes.
type sleepy struct {
	*httptest.ResponseRecorder
	sleep time.Duration
}

func (s *sleepy) Write(p []byte) (int, error) {
	time.Sleep(s.sleep)
	s.sleep = 0
	return s.ResponseRecorder.Write(p)
}
