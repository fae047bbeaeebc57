package sources

import (
	"fmt"
	"io"
)

// breakingBody is a body whose connection, when it breaks, is ours to go on with.
type breakingBody struct{ io.ReadCloser }

// Read fails when the connection broke. containers/image waits a second then, whatever has
// come until then, and opens another, every time; it returns nothing, and no error.
func (b *breakingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n == 0 && err == nil && len(p) > 0 {
		err = fmt.Errorf("the connection broke: %w", io.ErrUnexpectedEOF)
	}
	return n, err
}
