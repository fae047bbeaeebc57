package verify

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/delta"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Deltas compares an archive's claims about deltas with the headers of these, and
// returns each mismatch once. Only applying a delta tests its result.
func Deltas(deltas []catalog.Made) (problems []error) {
	seen := map[digest.Digest]bool{}
	for _, m := range deltas {
		if seen[m.Layer.Digest] {
			continue
		}
		seen[m.Layer.Digest] = true
		if err := checkDelta(m); err != nil {
			problems = append(problems, errdef.Errorf(errdef.ErrDamaged, "delta %s of layer %s: %w", m.Delta.Digest, m.Layer.Digest, err))
		}
	}
	return problems
}

func checkDelta(m catalog.Made) error {
	d, err := delta.Open(m.Content, m.Content.Size())
	if err != nil {
		return err
	}
	same := func(b delta.Blob, from image.DeltaBase) bool {
		return image.SHA256(b.Digest) == from.Digest && image.SHA256(b.TextDigest) == from.DiffID && from.Exact == d.NeedsCompressedBases()
	}
	switch {
	case image.SHA256(d.Target.Digest) != m.Layer.Digest:
		return errors.New("it makes another one, " + image.SHA256(d.Target.Digest).String())
	case d.Target.Size != m.Layer.Size:
		return fmt.Errorf("it makes one of %d bytes, but the manifest says %d", d.Target.Size, m.Layer.Size)
	case !slices.EqualFunc(d.Bases, m.Delta.From, same):
		return errors.New("it is made from other layers than the archive says")
	}
	return nil
}
