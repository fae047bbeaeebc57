package output

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Standard output belongs to the process, which may have more to say.
func TestStandardOutputStaysOpen(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	stdout := os.Stdout
	defer func() { os.Stdout = stdout }()
	os.Stdout = w
	o, err := Create(t.Context(), "-")
	require.NoError(t, err)
	_, err = io.WriteString(o.Writer(), "archive")
	require.NoError(t, err)
	require.NoError(t, o.Commit(t.Context()))
	_, err = w.WriteString(", more")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "archive, more", string(got))
}
