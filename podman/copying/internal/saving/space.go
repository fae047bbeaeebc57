package saving

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/writing"
)

// checkSpace fails if the archive will certainly not fit on the disk.
func (s *saver) checkSpace(path string, out *output.Output) error {
	need, known, err := writing.Space(s.from.Layout, s.from.Plan())
	if err != nil {
		return err
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
	need, _, sizeErr := writing.Space(s.from.Layout, s.from.Plan())
	if sizeErr != nil {
		return err
	}
	return spaceError(path, need, free, err)
}

func spaceError(path string, need, free int64, err error) error {
	return fmt.Errorf("the disk is too small for %s: the archive needs at least %d bytes, %d are free; free some or choose another disk: %w", path, need, free, err)
}
