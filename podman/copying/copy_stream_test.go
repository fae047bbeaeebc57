package copying_test

import (
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/copy"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// Bytes that were written to a stream cannot be taken back: a copy that fails there is
// not tried again, for any reason.
func TestCopyToAStreamIsNotTriedAgain(t *testing.T) {
	big := imagetest.Gzip(1, 200_000)
	for _, file := range []string{"a.tar", "a.tar.zst", ""} {
		m := imagetest.NewImage(t, "x", big)
		m.Disturb = imagetest.BrokenAt(big.Digest, 100_000, 1, io.ErrUnexpectedEOF)
		attempts := 0
		write := func(path string) error {
			dest, err := dockerarchive.ImageTransport.ParseReference(path)
			require.NoError(t, err)
			return copying.Retry(t.Context(), 3, 1, nil, func() error {
				attempts++
				_, err := copying.Copy(t.Context(), imagetest.Trusting(t), dest, m, &copying.CopyOptions{Options: copy.Options{DestinationCtx: imagetest.Isolated()}})
				return err
			})
		}
		if file != "" {
			require.NoError(t, write(filepath.Join(t.TempDir(), file)))
			require.Equal(t, 2, attempts)
			continue
		}
		_, err := toPipe(t, write)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Equal(t, 1, attempts)
	}
}

// A copy from a registry that did not answer for too long is not tried again either.
func TestSilentCopyToAStreamIsNotTriedAgain(t *testing.T) {
	impatient(t, time.Second, time.Second)
	reg := imagetest.NewRegistry(t)
	src := reg.Push(t, "app:1", imagetest.NewImage(t, "x", imagetest.Gzip(1, 200_000)))
	silent(t, reg, http.MethodGet, "/blobs/")
	attempts := 0
	_, err := toPipe(t, func(path string) error {
		dest, err := dockerarchive.ImageTransport.ParseReference(path)
		require.NoError(t, err)
		return copying.Retry(t.Context(), 3, 1, nil, func() error {
			attempts++
			_, err := copying.Copy(t.Context(), imagetest.Trusting(t), dest, src, &copying.CopyOptions{Options: copy.Options{SourceCtx: imagetest.RegistryContext(t), DestinationCtx: imagetest.Isolated()}})
			return err
		})
	})
	require.ErrorContains(t, err, "has sent nothing for")
	require.Equal(t, 1, attempts)
}
