package loadable

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// ambiguities finds keys, and names of entries, that clients read in different ways
// although all read the same bytes. The error is that of ctx.
func (c *checker) ambiguities(ctx context.Context) error {
	tables := []string{indexJSON, manifestJSON, repositoriesFile}
	for _, name := range tables {
		if err := Unambiguous(c.files, name); err != nil {
			c.problems = append(c.problems, err)
		}
	}
	for name := range c.files.Names() {
		lower := strings.ToLower(name)
		if lower != name && (strings.HasPrefix(lower, v1.ImageBlobsDir+"/") || lower == v1.ImageLayoutFile || slices.Contains(tables, lower)) {
			c.problem(name, errdef.Errorf(errdef.ErrDamaged, "where names have no case, it replaces %s", lower))
		}
	}
	for name := range c.files.BehindLinks() {
		c.problem(name, errdef.Errorf(errdef.ErrDamaged, "a part of its path is no directory"))
		break // One says enough.
	}
	for entry := range c.files.ReplacedEntries() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !c.isSame(ctx, entry) {
			c.problem(entry.Name, errdef.Errorf(errdef.ErrDamaged, "the archive has several entries of this name, and not every client takes the same"))
		}
	}
	return ctx.Err()
}

// isSame reports whether an entry that another of its name replaces has the same content.
func (c *checker) isSame(ctx context.Context, replaced tarfile.Member) bool {
	f, err := c.files.Lookup(replaced.Name)
	if err != nil || f.Size != replaced.Size {
		return false
	}
	if f.Offset == replaced.Offset { // One is a hard link to the other.
		return true
	}
	const size = 256 << 10
	one, other := make([]byte, size), make([]byte, size)
	a, b := c.files.Open(f), c.files.Open(replaced)
	for ctx.Err() == nil {
		n, err := io.ReadFull(a, one)
		m, otherErr := io.ReadFull(b, other)
		if !bytes.Equal(one[:n], other[:m]) || (err == nil) != (otherErr == nil) {
			return false
		}
		if err != nil {
			return err == io.EOF || err == io.ErrUnexpectedEOF
		}
	}
	return false
}
