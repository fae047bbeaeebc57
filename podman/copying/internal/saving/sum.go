package saving

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/output"
)

// sum computes the digest of an archive, if the caller wants it.
type sum struct {
	into *digest.Digest
	hash hash.Hash // of an archive that is written from start to end; else nil
}

func (s *saver) newSum(out *output.Output, algorithm compression.Algorithm) *sum {
	wanted := &sum{into: s.options.ArchiveDigest}
	if wanted.into != nil && (out.Stream() || algorithm != compression.None || s.options.Split != 0) {
		wanted.hash = sha256.New()
	}
	return wanted
}

// finish sets the digest of a complete archive, which it reads if it must.
func (s *sum) finish(ctx context.Context, path string) error {
	if s.into == nil {
		return nil
	}
	if s.hash == nil {
		s.hash = sha256.New()
		if err := hashFile(ctx, s.hash, path); err != nil {
			return fmt.Errorf("hashing the archive, which is complete: %w", err)
		}
	}
	*s.into = digest.NewDigest(digest.SHA256, s.hash)
	return nil
}

func hashFile(ctx context.Context, h hash.Hash, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // It is only read.
	_, err = io.Copy(h, async.WithContext(ctx, f))
	return err
}
