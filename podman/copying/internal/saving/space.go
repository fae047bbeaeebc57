package saving

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// blobSpace returns how many bytes the blobs, manifests and indexes take in the
// archive, and whether all their sizes are known.
func (s *saver) blobSpace() (need int64, known bool, err error) {
	if s.from.Layout.Unpacks() {
		return 0, false, nil
	}
	known = true
	seen := map[digest.Digest]bool{}
	for _, blobs := range s.from.Plan() {
		for _, b := range blobs {
			if seen[b.Digest] {
				continue
			}
			seen[b.Digest] = true
			if b.Size < 0 {
				known = false
				continue
			}
			span, err := tarfile.Span(s.from.Layout.BlobName(b.Digest), b.Size)
			if err == nil && need > math.MaxInt64-span {
				err = tarfile.ErrTooLarge
			}
			if err != nil {
				return 0, false, fmt.Errorf("blob %s: %w", b.Digest, err)
			}
			need += span
		}
	}
	return need, known, nil
}

// checkSpace fails if the archive will certainly not fit on the disk.
func (s *saver) checkSpace(path string, out *output.Output) error {
	need, known, err := s.blobSpace()
	if err != nil {
		return err
	}
	if known {
		out.Expect(need)
	}
	if out.Stream() || !known {
		return nil
	}
	free, ok := local.Free(out.Dir())
	if !ok || need <= free+out.Allocated() {
		return nil
	}
	return spaceError(path, need, free, syscall.ENOSPC)
}

// explain adds figures to the error of a full disk.
func (s *saver) explain(err error, path string, out *output.Output) error {
	if !errors.Is(err, syscall.ENOSPC) || out.Stream() {
		return err
	}
	free, ok := local.Free(out.Dir())
	if !ok {
		return err
	}
	need, _, sizeErr := s.blobSpace()
	if sizeErr != nil {
		return err
	}
	return spaceError(path, need, free, err)
}

func spaceError(path string, need, free int64, err error) error {
	return fmt.Errorf("the disk is too small for %s: the archive needs at least %d bytes, %d are free; free some or choose another disk: %w", path, need, free, err)
}
