package s3

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/storetest"
)

// A key may have any character, also where the store copies.
func TestCopiedKey(t *testing.T) {
	s, old := newStore(t), content(1, 6<<20)
	const key = "dir/a+b c%2F~ä.tar"
	s.Put(key, old)
	fresh := content(2, 1000)
	require.NoError(t, write(t.Context(), fresh, func(ctx context.Context, _ string) (*output.Output, error) {
		o, err := output.Open(ctx, "s3://"+storetest.Bucket+"/"+strings.ReplaceAll(key, "%", "%25"), false)
		if err == nil {
			o.Grow(old[6<<20-512:], 6<<20-512, 6<<20)
		}
		return o, err
	}))
	assert.True(t, bytes.Equal(append(old, fresh...), s.Object(key)))
}

// An archive that changes while it is sent again is one to begin anew with.
func TestChangedWhileKept(t *testing.T) {
	s := newStore(t)
	s.Put("dir/x.tar", content(1, 2<<20))
	err := write(t.Context(), content(2, 1000), func(ctx context.Context, path string) (*output.Output, error) {
		o, err := output.Open(ctx, path, false)
		if err == nil {
			o.Grow(make([]byte, 512), 1<<20, 2<<20)
			s.Put("dir/x.tar", []byte("other"))
		}
		return o, err
	})
	require.ErrorIs(t, err, output.ErrChanged)
	assert.Equal(t, "other", string(s.Object("dir/x.tar")))
}

// An archive can be changed in a store that wants parts of the same size.
func TestEqualParts(t *testing.T) {
	copiedPart = 6 << 20
	t.Cleanup(func() { copiedPart = 128 << 20 })
	s := newStore(t)
	s.EqualParts()
	old, fresh := content(1, 17<<20), content(2, 1<<20)
	s.Put("dir/x.tar", old)
	at := int64(16<<20 + 512)
	require.NoError(t, write(t.Context(), fresh, func(ctx context.Context, path string) (*output.Output, error) {
		o, err := output.Open(ctx, path, false)
		if err == nil {
			o.Grow(old[at:][:512], at, 17<<20)
		}
		return o, err
	}))
	assert.True(t, bytes.Equal(append(old, fresh...), s.Object("dir/x.tar")))
}

// The parts behind those that were copied are as small as those of a new archive.
func TestSizesBehindCopies(t *testing.T) {
	copiedPart = 1 << 10
	t.Cleanup(func() { copiedPart = 128 << 20 })
	s := newStore(t)
	s.Put("dir/x.tar", content(1, 5<<20+1024))
	o, err := openSuccessor(t.Context(), path, output.RemoteOptions{Unconditional: true})
	require.NoError(t, err)
	require.NoError(t, o.Keep(5<<20))
	u := o.(*successor).upload
	require.Greater(t, len(u.parts), unexpected)
	assert.EqualValues(t, firstPart, u.sizes.of(len(u.parts)+1))
	require.NoError(t, o.Abort())

	for _, expects := range []int64{0, 1 << 30, 1 << 40, 4 << 40} {
		behind, total := sizesFor(expects, maxParts/2), int64(0)
		for number := maxParts/2 + 1; number <= maxParts; number++ {
			total += behind.of(number)
		}
		assert.Greater(t, total, max(expects, 1<<40), expects)
	}
}
