package https

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/input"
)

// BenchmarkInOrder reads 256 MiB from a server that thinks for 20 ms before each answer: by one GET, and as layers
// are read.
func BenchmarkInOrder(b *testing.B) {
	const size = 256 << 20
	s := newServer(b, size)
	s.before = func(http.ResponseWriter, *http.Request) bool {
		time.Sleep(20 * time.Millisecond)
		return false
	}
	read := func(b *testing.B, r io.Reader) {
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 32<<10))
		require.NoError(b, err)
		require.Equal(b, int64(size), n)
		b.SetBytes(size)
	}
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			answer, err := s.Client().Get(s.URL + "/x.tar")
			require.NoError(b, err)
			read(b, answer.Body)
			require.NoError(b, answer.Body.Close())
		}
	})
	b.Run("ranges", func(b *testing.B) {
		for b.Loop() {
			file, err := input.Open(b.Context(), s.URL+"/x.tar", input.Options{Access: s.access})
			require.NoError(b, err)
			read(b, io.NewSectionReader(file, 0, file.Size()))
			require.NoError(b, file.Close())
		}
	})
}
