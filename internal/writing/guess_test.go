package writing

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// random returns bytes that cannot be compressed, so that they are a large blob, with
// a beginning that looks like a tar.
func random(seed, n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(data) // Never fails.
	beginAsTar(data)
	return data
}

func randomLayer(seed, n int) testLayer {
	data := random(seed, n)
	return testLayer{gzipped(data), data, v1.MediaTypeImageLayerGzip}
}

// endsOf returns a function that reads the ends of layers.
func endsOf(layers []testLayer) func(context.Context, digest.Digest, int) ([]byte, error) {
	return func(_ context.Context, d digest.Digest, n int) ([]byte, error) {
		for _, l := range layers {
			if l.digest() == d {
				return l.blob[len(l.blob)-n:], nil
			}
		}
		return nil, fmt.Errorf("no layer %s", d)
	}
}

// slowUnpacker decompresses as one that computes for long.
type slowUnpacker struct {
	io.ReadCloser
	each time.Duration
}

func (u slowUnpacker) Read(p []byte) (int, error) {
	time.Sleep(u.each)
	return u.ReadCloser.Read(p)
}

// Layers are decompressed side by side if they say how large they become: all of them
// take as long as the largest, each is written once, and the archive is the same as
// always.
func TestInflatingSideBySide(t *testing.T) {
	const each = time.Second // for a Read
	var layers []testLayer
	for i := range 8 {
		layers = append(layers, randomLayer(i, 400_000+i*150_000))
	}
	m := newImage(t, "m", layers...)
	want := written(t, layouts["docker"], m)
	synctest.Test(t, func(t *testing.T) {
		var file *countingFile
		a := newArchiveOver(t, t.TempDir(), t.TempDir(), layouts["docker"], plan(m), func(f tarfile.File) tarfile.File {
			file = &countingFile{File: f}
			return file
		})
		a.readEnd = endsOf(layers)
		start := time.Now()
		a.unpack = func(r io.Reader, algorithm compression.Algorithm) (io.ReadCloser, error) {
			u, err := compression.NewReader(r, algorithm)
			return slowUnpacker{u, each}, err
		}
		place := a.NewImage()
		var wg sync.WaitGroup
		for _, l := range layers {
			wg.Go(func() {
				assert.NoError(t, put(a.Archive, l))
			})
		}
		wg.Wait()
		took := time.Since(start)
		alone := time.Duration(len(layers[7].diff)/(32<<10)) * each // io.Copy reads so much at a time.
		assert.LessOrEqual(t, took, alone*12/10)
		require.NoError(t, commit(a.Archive, place, m))
		require.NoError(t, a.Close(t.Context()))
		require.True(t, bytes.Equal(want, read(t, a.path)))
		assert.Less(t, file.written, int64(len(want)*102/100))
	})
}

// For any guessed sizes of layers, at any time, the archive is the same.
func TestLaw1WhateverSizesAreSaid(t *testing.T) {
	members := randomLayer(1, 150_000)
	members.diff = append(random(9, 100_000), members.diff...)
	members.blob = append(gzipped(random(9, 100_000)), members.blob...)
	zipper, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	framed := func(data ...[]byte) testLayer {
		l := testLayer{mediaType: v1.MediaTypeImageLayerGzip} // Or no size would be asked for.
		for _, d := range data {
			l.blob = zipper.EncodeAll(d, l.blob)
			l.diff = append(l.diff, d...)
		}
		return l
	}
	layers := []testLayer{
		randomLayer(2, 200_000), members, framed(random(3, 150_000)), framed(random(4, 200_000), random(5, 1000)), randomLayer(6, 90_000),
	}
	one, two := newImage(t, "one", layers[:3]...), newImage(t, "two", layers[2:]...)
	want := written(t, layouts["docker"], one, two)
	says := func(size uint32) func(context.Context, digest.Digest, int) ([]byte, error) {
		return func(context.Context, digest.Digest, int) ([]byte, error) {
			return binary.LittleEndian.AppendUint32(nil, size), nil
		}
	}
	for name, readEnd := range map[string]func(context.Context, digest.Digest, int) ([]byte, error){
		"nothing":       nil,
		"the truth":     endsOf(layers),
		"0":             says(0),
		"too little":    says(199_999),
		"too much":      says(900_000),
		"4 GiB":         says(1<<32 - 1),
		"an error":      func(context.Context, digest.Digest, int) ([]byte, error) { return nil, errors.New("no") },
		"fewer bytes":   func(context.Context, digest.Digest, int) ([]byte, error) { return []byte{1}, nil },
		"never a thing": func(ctx context.Context, _ digest.Digest, _ int) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				a := newTestArchive(t, layouts["docker"], plan(one, two))
				require.False(t, a.mixed)
				a.readEnd = readEnd
				places := []*Image{a.NewImage(), a.NewImage()}
				var wg sync.WaitGroup
				for _, l := range layers {
					wg.Go(func() { assert.NoError(t, put(a.Archive, l)) })
				}
				wg.Wait()
				for i, m := range []*testImage{one, two} {
					require.NoError(t, commit(a.Archive, places[i], m))
				}
				require.NoError(t, a.Close(t.Context()))
				require.True(t, bytes.Equal(want, read(t, a.path)))
			}
		})
	}
}

// Whether layers may be each other's in another compression is told by their
// compression, not by whether they are described as Docker or as OCI does.
func TestSizesAreAskedForOfOneForm(t *testing.T) {
	const dockerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	for other, asks := range map[string]bool{
		v1.MediaTypeImageLayerGzip: true,
		dockerGzip:                 true,
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": true,
		v1.MediaTypeImageLayerZstd:                                  false,
		"application/vnd.docker.image.rootfs.diff.tar.zstd":         false,
		"application/vnd.docker.image.rootfs.diff.tar":              false,
		v1.MediaTypeImageLayer:                                      false,
		"something":                                                 false,
	} {
		first, second := randomLayer(1, 100_000), randomLayer(2, 100_000)
		second.mediaType = other
		m := newImage(t, "m", first, second)
		a := newTestArchive(t, layouts["docker"], plan(m))
		var asked atomic.Int64
		a.readEnd = func(context.Context, digest.Digest, int) ([]byte, error) { asked.Add(1); return nil, errors.New("no") }
		require.NoError(t, write(a.Archive, m))
		assert.Equal(t, asks, asked.Load() == 2, other)
	}
}

// A stream, whose headers cannot be corrected, asks nobody.
func TestStreamsAskForNoSizes(t *testing.T) {
	m := newImage(t, "m", randomLayer(1, 200_000))
	var b bytes.Buffer
	a := newTestStream(t, layouts["docker"], plan(m), &b)
	a.readEnd = func(context.Context, digest.Digest, int) ([]byte, error) { panic("asked") }
	require.NoError(t, write(a, m))
	require.True(t, bytes.Equal(written(t, layouts["docker"], m), b.Bytes()))
}

// If the disk becomes full at any point while layers have guessed places, there is an
// error, and nothing is left.
func TestLaw4DiskFullWhileGuessing(t *testing.T) {
	layers := []testLayer{randomLayer(1, 70_000), randomLayer(2, 90_000), randomLayer(3, 80_000)}
	m := newImage(t, "m", layers...)
	want := written(t, layouts["docker"], m)
	for left := int64(0); left < int64(len(want)); left += 7919 {
		dir := t.TempDir()
		a := newArchiveOver(t, dir, dir, layouts["docker"], plan(m), func(f tarfile.File) tarfile.File { return &fullDisk{File: f, left: left} })
		a.readEnd = func(context.Context, digest.Digest, int) ([]byte, error) {
			return binary.LittleEndian.AppendUint32(nil, 80_000), nil
		}
		place := a.NewImage()
		var wg sync.WaitGroup
		errs := make([]error, len(layers))
		for i, l := range layers {
			wg.Go(func() { errs[i] = put(a.Archive, l) })
		}
		wg.Wait()
		err := errors.Join(errs...)
		if err == nil {
			err = commit(a.Archive, place, m)
		}
		require.ErrorIs(t, errors.Join(err, a.Close(t.Context())), errDiskFull, "%d", left)
		require.Empty(t, a.leftovers(t))
	}
}

// cancellingReader ends a context before it returns the bytes at some offset.
type cancellingReader struct {
	r      io.Reader
	left   int
	cancel context.CancelFunc
}

func (r *cancellingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), 4096)])
	if r.left -= n; r.left < 0 {
		r.cancel()
	}
	return n, err
}

// If a layer with a guessed place, right or wrong, is cancelled at any point, that is
// the error, and nothing is left.
func TestLaw8CancelledWhileGuessing(t *testing.T) {
	layers := []testLayer{randomLayer(1, 200_000), randomLayer(2, 70_000)}
	m := newImage(t, "m", layers...)
	for i := range 200 {
		dir := t.TempDir()
		a := newArchiveOver(t, dir, dir, layouts["docker"], plan(m), func(f tarfile.File) tarfile.File { return f })
		a.readEnd = func(context.Context, digest.Digest, int) ([]byte, error) {
			return binary.LittleEndian.AppendUint32(nil, uint32(200_000+i%3*500)), nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			r := &cancellingReader{bytes.NewReader(layers[0].blob), i * 1000, cancel}
			_, _, err := a.Put(ctx, "test", r, layers[0].digest(), int64(len(layers[0].blob)))
			assert.ErrorIs(t, err, context.Canceled, "%d", i)
		})
		wg.Go(func() { assert.NoError(t, put(a.Archive, layers[1])) })
		wg.Wait()
		require.NoError(t, a.Abort())
		require.Empty(t, a.leftovers(t))
	}
}
