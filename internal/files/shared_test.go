package files

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// counted is a file that counts the bytes read.
type counted struct {
	*bytes.Reader
	n atomic.Int64
}

// ReadAt implements io.ReaderAt.
func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}

// sections returns layers as sections of one file, and that file.
func sections(layers ...[]byte) (func(indices ...int) []Source, *counted) {
	file := &counted{Reader: bytes.NewReader(bytes.Join(layers, nil))}
	return func(indices ...int) []Source {
		var all []Source
		for _, i := range indices {
			from := int64(len(bytes.Join(layers[:i], nil)))
			size := int64(len(layers[i]))
			all = append(all, Source{Name: string(rune('a' + i)), Digest: digest.FromBytes(layers[i]), At: func(context.Context) (io.ReaderAt, int64, error) {
				return io.NewSectionReader(file, from, size), size, nil
			}})
		}
		return all
	}, file
}

func TestShared(t *testing.T) {
	noise := make([]byte, 200_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // Never fails.
	content := hex.EncodeToString(noise)
	base := gzipped(t, tarOf(t, file("a", content), file("b", "2")))
	one, two := gzipped(t, tarOf(t, file("b", "one"))), gzipped(t, tarOf(t, file("b", "two")))
	from, read := sections(base, one, two)
	var shared Shared
	o := Options{Shared: &shared, Random: true}
	first, second := New(from(0, 1), o), New(from(0, 2), o)
	var loading sync.WaitGroup
	for range 4 {
		for _, tree := range []*Tree{first, second} {
			loading.Go(func() { assert.NoError(t, tree.Load(t.Context())) })
		}
	}
	loading.Wait()
	assert.Less(t, read.n.Load(), int64(len(base)+10_000), "the layer of both is read once")
	changes, err := Compare(t.Context(), first, second, CompareOptions{})
	require.NoError(t, err)
	require.Len(t, changes, 1)
	assert.Equal(t, "b", changes[0].Path())
	require.NoError(t, first.Close())
	got, err := describe(t, second)
	require.NoError(t, err)
	assert.Equal(t, "/ -1\na 0 "+content+"\nb 1 two\n", got)
	require.NoError(t, second.Close())
	assert.Empty(t, shared.layers)

	t.Run("another digest", func(t *testing.T) {
		lying := from(0)
		lying[0].Digest = digest.FromString("other")
		right, wrong := New(from(0), o), New(lying, o)
		defer right.Close()
		defer wrong.Close()
		require.NoError(t, right.Load(t.Context()))
		require.Error(t, wrong.Load(t.Context()))
	})
	t.Run("another place", func(t *testing.T) {
		low, high := New(from(0), o), New(from(1, 0), o)
		defer low.Close()
		defer high.Close()
		require.NoError(t, low.Load(t.Context()))
		e, err := high.LookupAll(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, 1, e.Layer())
	})
	t.Run("limits", func(t *testing.T) {
		o := o
		o.MaxEntries = 2
		small, large := New(from(0), o), New(from(0, 1), o)
		defer small.Close()
		defer large.Close()
		require.NoError(t, small.Load(t.Context()))
		require.ErrorIs(t, large.Load(t.Context()), errdef.ErrLimit)
	})
}

// If one tree does not read a layer to the end, another does.
func TestSharedAndCancelled(t *testing.T) {
	from, _ := sections(gzipped(t, tarOf(t, file("a", "1"))), tarOf(t, file("b", "2")))
	var shared Shared
	o := Options{Shared: &shared}
	first, second := New(from(0, 1), o), New(from(0, 1), o)
	defer second.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, first.Load(ctx), context.Canceled)
	require.NoError(t, first.Close())
	require.NoError(t, second.Load(t.Context()))
}
