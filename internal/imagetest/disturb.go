package imagetest

import (
	"context"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
)

// ReaderFunc is a function as an io.Reader.
type ReaderFunc func([]byte) (int, error)

// Read calls the function.
func (f ReaderFunc) Read(p []byte) (int, error) { return f(p) }

// Jitter, as an Image's Disturb, delays a blob's reads by random times and cuts
// them into random pieces, as a network does.
func Jitter(_ context.Context, _ digest.Digest, r io.Reader) io.Reader {
	first := true
	return ReaderFunc(func(p []byte) (int, error) {
		if first || rand.IntN(4) == 0 {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		}
		first = false
		return r.Read(p[:1+rand.IntN(min(len(p), 64<<10))])
	})
}

// BrokenAt returns a Disturb that fails with err the first times that a blob is
// read, after so many bytes.
func BrokenAt(blob digest.Digest, after int64, times int, err error) func(context.Context, digest.Digest, io.Reader) io.Reader {
	return func(_ context.Context, d digest.Digest, r io.Reader) io.Reader {
		if d != blob || times == 0 {
			return r
		}
		times--
		return io.MultiReader(io.LimitReader(r, after), iotest.ErrReader(err))
	}
}

// Position is a place where something goes wrong.
type Position struct {
	Blob digest.Digest
	At   int64
}

// Positions returns at least n places spread over all bytes that the image is read
// from, the ends of its blobs included.
func (m *Image) Positions(n int64) []Position {
	blobs := append([]Layer{{Digest: m.ConfigDigest(), Blob: m.Config}}, m.Layers...)
	total := int64(0)
	for _, b := range blobs {
		total += int64(len(b.Blob))
	}
	var all []Position
	for _, b := range blobs {
		for at := int64(0); at < int64(len(b.Blob)); at += max(1, total/n-1) {
			all = append(all, Position{b.Digest, at})
		}
		all = append(all, Position{b.Digest, int64(len(b.Blob))})
	}
	return all
}

// WriterFunc is a function as an io.Writer.
type WriterFunc func([]byte) (int, error)

// Write calls the function.
func (f WriterFunc) Write(p []byte) (int, error) { return f(p) }

// NoDir returns a directory in which nothing can be made, because there is none.
func NoDir(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "missing")
}
