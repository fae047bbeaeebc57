package async

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Nothing is read once the context has ended.
func TestWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := WithContext(ctx, strings.NewReader("data"))
	two := make([]byte, 2)
	_, err := io.ReadFull(r, two)
	require.NoError(t, err)
	assert.Equal(t, "da", string(two))
	cancel()
	n, err := r.Read(two)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, n)
}
