package sources

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// content is that of the blob which rangeServer has.
var content = bytes.Repeat([]byte("0123456789"), 600)

// rangeServer answers requests for a blob, whole or in ranges, and counts them.
type rangeServer struct {
	blobs         *Blobs
	blob          imgspecv1.Descriptor
	ranges, whole atomic.Int32
}

func newRangeServer(t *testing.T, answer http.HandlerFunc) *rangeServer {
	t.Helper()
	s := &rangeServer{}
	src, blob := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			s.whole.Add(1)
			_, _ = w.Write(content) // The client sees whether it arrived.
			return
		}
		s.ranges.Add(1)
		assert.Equal(t, "bytes=13-16", r.Header.Get("Range"))
		answer(w, r)
	})
	client := registries.New(imagetest.RegistryContext(t))
	t.Cleanup(client.Close)
	s.blobs, s.blob = New(src, client), blob
	s.blob.Size = 17
	return s
}

// partial answers with some bytes, as if they were a range.
func partial(header http.Header, data string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, data)
	}
}

func contentRange(value string) http.Header { return http.Header{"Content-Range": {value}} }

// answered answers with a status and a header.
func answered(code int, header, value string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set(header, value)
		}
		w.WriteHeader(code)
	}
}

// endless answers 404 with a body that has no end.
func endless(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusNotFound)
	for {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return
		}
	}
}

// Answers to a request for a range are used only if they are that range. Where a registry
// sends something else, resuming reads the whole blob; where it asks to wait, it is not asked
// for more. No request is repeated by a client below.
func TestAnswersToRanges(t *testing.T) {
	const given, refused, failed = "given", "refused", "failed" // What becomes of OpenRange.
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		help    string
		resumed bool // without reading the whole blob
		waits   time.Duration
	}{
		"range":               {partial(contentRange("bytes 13-16/17"), "3456"), given, true, 0},
		"size unknown":        {partial(contentRange("bytes 13-16/*"), "3456"), given, true, 0},
		"no type":             {partial(http.Header{"Content-Range": {"bytes 13-16/17"}, "Content-Type": nil}, "3456"), given, true, 0},
		"other range":         {partial(contentRange("bytes 12-15/17"), "2345"), refused, false, 0},
		"shorter range":       {partial(contentRange("bytes 13-15/17"), "345"), refused, false, 0},
		"other blob":          {partial(contentRange("bytes 13-16/18"), "3456"), refused, false, 0},
		"no content range":    {partial(nil, "3456"), refused, false, 0},
		"longer than it says": {partial(contentRange("bytes 13-16/17"), "34567"), refused, false, 0},
		"several parts":       {partial(http.Header{"Content-Type": {"multipart/byteranges; boundary=x"}}, "--x"), refused, false, 0},
		"compressed":          {partial(http.Header{"Content-Range": {"bytes 13-16/17"}, "Content-Encoding": {"gzip"}}, "3456"), refused, false, 0},
		"whole":               {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }, refused, false, 0},
		"no content":          {answered(http.StatusNoContent, "", ""), refused, false, 0},
		"400":                 {answered(http.StatusBadRequest, "", ""), refused, false, 0},
		"403":                 {answered(http.StatusForbidden, "", ""), failed, false, 0},
		"405":                 {answered(http.StatusMethodNotAllowed, "", ""), refused, false, 0},
		"416":                 {answered(http.StatusRequestedRangeNotSatisfiable, "Content-Range", "bytes */17"), refused, false, 0},
		"501":                 {answered(http.StatusNotImplemented, "", ""), refused, false, 0},
		"endless 404":         {endless, failed, false, 0},
		"429":                 {answered(http.StatusTooManyRequests, "", ""), failed, true, 0},
		"429, later":          {answered(http.StatusTooManyRequests, "Retry-After", "3600"), failed, true, time.Hour},
		"503":                 {answered(http.StatusServiceUnavailable, "", ""), failed, true, 0},
		"503, later":          {answered(http.StatusServiceUnavailable, "Retry-After", "3600"), failed, true, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRangeServer(t, c.answer)
			body, err := s.blobs.OpenRange(t.Context(), s.blob, 13, 4)
			assert.Equal(t, c.help == given, err == nil, "%v", err)
			assert.Equal(t, c.help == refused, errors.Is(err, fetching.ErrNoRanges), "%v", err)
			if err == nil {
				reads(t, "3456", body)
			} else {
				assert.Less(t, len(err.Error()), 1000)
			}
			assert.EqualValues(t, 1, s.ranges.Load())
			assert.Zero(t, s.whole.Load(), "helpers read ranges only")

			body, err = s.blobs.Open(t.Context(), s.blob, 13)
			busy := c.help == failed && c.resumed
			require.Equal(t, busy, err != nil, "%v", err)
			if busy {
				assert.True(t, IsBusy(err), "%v", err)
				verdict := Retries(1, 0).Judge(err)
				assert.True(t, verdict.Retry, "%v", err)
				assert.Equal(t, c.waits, verdict.After)
			} else {
				data := make([]byte, 4)
				_, err := io.ReadFull(body, data)
				require.NoError(t, err)
				assert.Equal(t, "3456", string(data))
				require.NoError(t, body.Close())
			}
			assert.EqualValues(t, 2, s.ranges.Load())
			assert.Equal(t, !c.resumed, s.whole.Load() == 1)
		})
	}
}

func reads(t *testing.T, want string, body io.ReadCloser) {
	t.Helper()
	data, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	assert.Equal(t, want, string(data))
}
