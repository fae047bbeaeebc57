package sources

import (
	"context"
	"io"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.podman.io/image/v5/types"
)

// A method of another shape is not called.
func TestIsRanger(t *testing.T) {
	type chunk struct{ Offset, Length uint64 }
	type other struct{ Offset, Length int64 }
	is := func(f any) bool { return isRanger(reflect.TypeOf(f)) }
	assert.True(t, is(func(context.Context, types.BlobInfo, []chunk) (a chan io.ReadCloser, b chan error, c error) { return }))
	assert.False(t, is(func(context.Context, types.BlobInfo, []other) (a chan io.ReadCloser, b chan error, c error) { return }))
	assert.False(t, is(func(context.Context, types.BlobInfo, ...chunk) (a chan io.ReadCloser, b chan error, c error) { return }))
	assert.False(t, is(func(context.Context, types.BlobInfo, []chunk) (a chan io.ReadCloser, c error) { return }))
	assert.False(t, is(func(context.Context, string, []chunk) (a chan io.ReadCloser, b chan error, c error) { return }))
}
