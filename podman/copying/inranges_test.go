package copying_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// copy copies the image in ranges of a size, and returns the archive.
func (reg *rangedRegistry) copy(ctx context.Context, t *testing.T, transport types.ImageTransport, rangeSize, times int) ([]byte, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.tar")
	ref, err := transport.ParseReference(file)
	require.NoError(t, err)
	options := &copy.Options{SourceCtx: imagetest.RegistryContext(t), DestinationCtx: imagetest.Isolated()}
	if err := copying.CopyInRangesOf(ctx, imagetest.Trusting(t), ref, reg.image, options, rangeSize, times); err != nil {
		require.Empty(t, imagetest.Leftovers(t, filepath.Dir(file)))
		return nil, err
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return data, nil
}

// wrongBlob answers with a range of something else.
func wrongBlob(w http.ResponseWriter, r *http.Request, blob []byte) bool {
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, len(blob))))
	return true
}

// Law 1: an archive that copy.Image writes is the same whether it reads ranges or not.
func TestCopyInRanges(t *testing.T) {
	for _, transport := range []types.ImageTransport{dockerarchive.Transport, dockerarchive.ImageTransport} {
		for name, answer := range rangeAnswers {
			t.Run(fmt.Sprintf("%s/%s", transport.Name(), name), func(t *testing.T) {
				t.Parallel()
				reg := newRangedRegistry(t)
				want, err := reg.copy(t.Context(), t, transport, 0, 0)
				require.NoError(t, err)
				assert.Zero(t, reg.ranges.Load())
				reg.answer, reg.slow = answer, true
				reads := reg.untilRanged(t, func() {
					got, err := reg.copy(t.Context(), t, transport, 100, 0)
					if name == "of another blob" && err != nil { // Copy does without ranges then.
						require.ErrorIs(t, err, copying.ErrWrong)
						return
					}
					require.NoError(t, err)
					assert.True(t, bytes.Equal(want, got))
				})
				assert.LessOrEqual(t, reg.ranges.Load(), reads*mostRanges(name))
			})
		}
	}
}

// A blob that is wrong in ranges may be right as a whole: it is read again unless it
// has been sent on. A range goes on where it broke.
func TestCopyReadsAsSave(t *testing.T) {
	copying.ReadInRangesOf(t, 100)
	reg := newRangedRegistry(t)
	want, err := reg.copy(t.Context(), t, dockerarchive.ImageTransport, 0, 0)
	require.NoError(t, err)
	reg.answer, reg.slow = wrongBlob, true
	file := filepath.Join(t.TempDir(), "a.tar")
	dest, err := dockerarchive.ImageTransport.ParseReference(file)
	require.NoError(t, err)
	options := &copy.Options{SourceCtx: imagetest.RegistryContext(t), DestinationCtx: imagetest.Isolated()}
	_, err = copying.Copy(t.Context(), imagetest.Trusting(t), dest, reg.image, &copying.CopyOptions{Options: *options})
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, imagetest.ReadFile(t, file)))

	err = nil
	for tries := 0; err == nil && tries < 50; tries++ { // Until the part that came of a range is read.
		_, err = toPipe(t, func(path string) error {
			dest, err := dockerarchive.ImageTransport.ParseReference(path)
			require.NoError(t, err)
			_, err = copying.Copy(t.Context(), imagetest.Trusting(t), dest, reg.image, &copying.CopyOptions{Options: *options})
			return err
		})
	}
	require.ErrorContains(t, err, "Digest did not match")
	assert.NotErrorIs(t, err, copying.ErrWrong)
}

// A line that breaks goes on where it was. Nothing comes twice but the bytes that
// containers/image asks for itself.
func TestCopyOverALineThatBreaks(t *testing.T) {
	reg := newRangedRegistry(t)
	want, err := reg.copy(t.Context(), t, dockerarchive.ImageTransport, 0, 0)
	require.NoError(t, err)
	distinct := reg.sent.Swap(0)
	reg.whole, reg.answer = reg.breakAfter(1000), reg.breakAfter(64)
	got, err := reg.copy(t.Context(), t, dockerarchive.ImageTransport, 100, 3)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got))
	assert.LessOrEqual(t, reg.sent.Load(), distinct+tried)
}

// Errors that do not pass are the same as without ranges, and are not tried again.
func TestCopyInRangesFails(t *testing.T) {
	reg := newRangedRegistry(t)
	var asked atomic.Int64
	inner := reg.intercept
	reg.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if blob := reg.blobOf(r); len(blob) > 1000 {
			asked.Add(1)
			http.Error(w, `{"errors":[{"code":"DENIED","message":"not this one"}]}`, http.StatusForbidden)
			return true
		}
		return inner(w, r)
	})
	texts := map[bool]string{}
	for _, size := range []int{0, 100} {
		_, err := reg.copy(t.Context(), t, dockerarchive.ImageTransport, size, 3)
		require.ErrorContains(t, err, "not this one")
		texts[size > 0] = anyDigest.ReplaceAllString(err.Error(), "sha256:…")
		assert.LessOrEqual(t, asked.Swap(0), int64(4)) // Two layers, each in a range and as a whole.
	}
	assert.Equal(t, texts[false], texts[true])
}

// A registry with too many requests is asked for fewer ranges, after the time that it wants;
// containers/image waits for that. If it gives no whole blob either, that is the error.
func TestRangesOfABusyRegistry(t *testing.T) {
	const patience = 6 // how often containers/image asks
	read := map[string]func(reg *rangedRegistry, times int) ([]byte, error){
		"save": func(reg *rangedRegistry, times int) ([]byte, error) { return reg.save(t, nil, 100, times) },
		"copy": func(reg *rangedRegistry, times int) ([]byte, error) {
			return reg.copy(t.Context(), t, dockerarchive.ImageTransport, 100, times)
		},
	}
	for name, read := range read {
		for _, refusals := range []int64{1, 4 * patience, math.MaxInt64} {
			all := refusals == math.MaxInt64
			reg := newRangedRegistry(t)
			want, err := reg.copy(t.Context(), t, dockerarchive.ImageTransport, 0, 0)
			require.NoError(t, err)
			if name == "save" {
				want, err = reg.save(t, nil, 1<<30, 0)
				require.NoError(t, err)
			}
			var asked atomic.Int64
			reg.answer = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				if asked.Add(1) > refusals {
					return false
				}
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			}
			if reg.slow = true; all {
				reg.whole = reg.answer
			}
			for range 50 { // A machine that is busy with other things may not see that a line is slow.
				got, err := read(reg, 5)
				if all {
					require.True(t, sources.IsBusy(err), "%s: %v", name, err)
					break
				}
				require.NoError(t, err, name)
				require.True(t, bytes.Equal(want, got), name)
				if asked.Load() > 1 {
					break
				}
			}
			assert.Greater(t, asked.Load(), int64(1))
		}
	}
}

var anyDigest = regexp.MustCompile("sha256:[0-9a-f]+")

// Law 4: whichever range fails, is not what was asked for, or is the last before the
// context ends: there is the right archive, or nothing, and no goroutine either.
func TestLaw4CopyInRangesFailsAnywhere(t *testing.T) {
	type fault struct {
		answer func(cancel func(), w http.ResponseWriter, r *http.Request, blob []byte) bool
		err    string // "" if there is none
	}
	for name, fault := range map[string]fault{
		"cancelled": {func(cancel func(), _ http.ResponseWriter, _ *http.Request, _ []byte) bool { cancel(); return false }, "context canceled"},
		"hung up":   {func(func(), http.ResponseWriter, *http.Request, []byte) bool { panic(http.ErrAbortHandler) }, "EOF"},
		"nothing": {func(_ func(), w http.ResponseWriter, r *http.Request, _ []byte) bool {
			return rangeAnswers["of a wrong length"](w, r, nil)
		}, ""},
		"too much": {func(_ func(), w http.ResponseWriter, r *http.Request, blob []byte) bool {
			return rangeAnswers["of a wrong length"](w, r, blob[rangeStart(r):])
		}, ""},
		"ignored": {func(_ func(), w http.ResponseWriter, r *http.Request, blob []byte) bool {
			return rangeAnswers["ignored"](w, r, blob)
		}, ""},
		"of another blob": {func(_ func(), w http.ResponseWriter, r *http.Request, blob []byte) bool {
			return wrongBlob(w, r, blob)
		}, "Digest did not match"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := 200 / imagetest.Rounds(t, 25, 200)
			reg := newRangedRegistry(t)
			reg.image = reg.Push(t, "small:1", imagetest.NewImage(t, "small", imagetest.Gzip(1, 1500), imagetest.Gzip(2, 900)))
			want, err := reg.copy(t.Context(), t, dockerarchive.ImageTransport, 0, 0)
			require.NoError(t, err)
			reg.slow = true
			// The registry may still be answering a copy that failed when the next begins.
			var current atomic.Pointer[func(w http.ResponseWriter, r *http.Request, blob []byte) bool]
			reg.answer = func(w http.ResponseWriter, r *http.Request, blob []byte) bool { return (*current.Load())(w, r, blob) }
			fails := func(position int64) bool {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var asked atomic.Int64
				answer := func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
					return asked.Add(1) > position && fault.answer(cancel, w, r, blob)
				}
				current.Store(&answer)
				got, err := reg.copy(ctx, t, dockerarchive.ImageTransport, 10, 1)
				if err == nil {
					require.True(t, bytes.Equal(want, got), "%d", position)
					return false
				}
				require.NotEmpty(t, fault.err, "%d: %v", position, err)
				require.Regexp(t, fault.err, err.Error(), "%d", position)
				return true
			}
			failed := false
			for position := int64(0); position < 200; position += int64(step) {
				failed = fails(position) || failed
			}
			// How many ranges there are depends on how fast this machine is: at first there may be none.
			for tries := 0; fault.err != "" && !failed && tries < 50; tries++ {
				failed = fails(0)
			}
			assert.Equal(t, fault.err != "", failed)
		})
	}
}

func rangeStart(r *http.Request) (start int) {
	_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start)
	return start
}

// Signatures that only a source of containers/image's own shows are not hidden.
func TestOnlySimpleSignatures(t *testing.T) {
	is := func(src types.ImageSource, instances ...*digest.Digest) bool {
		return sources.OnlySimpleSignatures(t.Context(), src, instances)
	}
	one, other := digest.FromString("one"), digest.FromString("other")
	m := imagetest.Source{Image: imagetest.Small(t)}
	assert.True(t, is(m, nil), "a source that shows none")
	src := &signedSource{Source: m, of: map[digest.Digest][]testSignature{"": {SimpleSigning{}}, one: {SimpleSigning{}, Sigstore{}}}}
	assert.True(t, is(src, nil, &other))
	assert.False(t, is(src, nil, &other, &one))
	src.err = errTest
	assert.False(t, is(src, nil))
	assert.False(t, is(otherwiseSigned{m}, nil))
}

type testSignature interface{ Format() string }

// SimpleSigning and Sigstore have the names of types in containers/image.
type (
	SimpleSigning struct{}
	Sigstore      struct{}
)

// Format implements testSignature.
func (SimpleSigning) Format() string { return "simple" }

// Format implements testSignature.
func (Sigstore) Format() string { return "sigstore" }

type signedSource struct {
	imagetest.Source
	of  map[digest.Digest][]testSignature
	err error
}

func (s *signedSource) GetSignaturesWithFormat(_ context.Context, instance *digest.Digest) ([]testSignature, error) {
	if instance == nil {
		return s.of[""], s.err
	}
	return s.of[*instance], s.err
}

type otherwiseSigned struct{ imagetest.Source }

func (otherwiseSigned) GetSignaturesWithFormat(context.Context) ([]testSignature, error) {
	return nil, nil
}

// A registry that knows no ranges, and breaks every answer before all of a blob has come, ends a
// copy after as many attempts as there are.
func TestCopyThatBreaksBeforeItsPlace(t *testing.T) {
	t.Parallel()
	reg := newRangedRegistry(t)
	broken := reg.breakAfter(1000)
	var requests atomic.Int64
	reg.whole = func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
		requests.Add(1)
		return broken(w, r, blob)
	}
	reg.answer = func(w http.ResponseWriter, r *http.Request, blob []byte) bool {
		r.Header.Del("Range")
		return false
	}
	_, err := reg.copy(t.Context(), t, dockerarchive.ImageTransport, 100, 1)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	// Two blobs are begun, gone on with, and tried again once. Each time one range is requested
	// before, and another one after the break by containers/image.
	assert.LessOrEqual(t, requests.Load(), int64(2*3*3))
}
