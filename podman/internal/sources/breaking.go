package sources

import (
	"fmt"
	"io"
)

// breakingBody is a body that we read on from where its connection breaks.
type breakingBody struct{ io.ReadCloser }

// Read fails when the connection broke. containers/image then waits a second, however much
// has come, and opens another, every time; it returns nothing, and no error.
func (b *breakingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n == 0 && err == nil && len(p) > 0 {
		err = fmt.Errorf("the connection broke: %w", io.ErrUnexpectedEOF)
	}
	return n, err
}
