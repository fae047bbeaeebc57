package containerd

import (
	"context"
	"fmt"
	"slices"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Unpack unpacks the layers of an image, each on those below it, unless they are. containerd
// keeps them as long as it keeps the config.
func (s *Store) Unpack(ctx context.Context, config digest.Digest, layers []imgspecv1.Descriptor, diffIDs []digest.Digest) error {
	if len(layers) != len(diffIDs) {
		return fmt.Errorf("%d layers have %d diff IDs", len(layers), len(diffIDs))
	}
	if len(layers) == 0 {
		return nil
	}
	chain := identity.ChainIDs(slices.Clone(diffIDs))
	parent := ""
	for n, layer := range layers {
		if err := s.unpack(ctx, layer, diffIDs[n], chain[n].String(), parent); err != nil {
			return fmt.Errorf("unpacking layer %s in containerd: %w", layer.Digest, native(err))
		}
		parent = chain[n].String()
	}
	return s.label(ctx, config, map[string]string{"containerd.io/gc.ref.snapshot." + s.snapshotter: parent})
}

// unpack makes the snapshot of a layer on another snapshot. Another client may do that
// at the same time.
func (s *Store) unpack(ctx context.Context, layer imgspecv1.Descriptor, diffID digest.Digest, name, parent string) error {
	there, err := s.hasSnapshot(ctx, name)
	if there || err != nil {
		return err
	}
	key := "extract-" + s.lease + " " + name // containerd removes old snapshots with such a key.
	prepared, err := s.snapshots.Prepare(s.with(ctx), &snapshotsapi.PrepareSnapshotRequest{Snapshotter: s.snapshotter, Key: key, Parent: parent})
	if err != nil {
		return err
	}
	if err := s.fill(ctx, layer, diffID, key, name, prepared); err != nil {
		s.removeSnapshot(key)
		if errdefs.IsAlreadyExists(native(err)) {
			return nil
		}
		return err
	}
	return nil
}

func (s *Store) fill(ctx context.Context, layer imgspecv1.Descriptor, diffID digest.Digest, key, name string, prepared *snapshotsapi.PrepareSnapshotResponse) error {
	applied, err := s.diff.Apply(s.with(ctx), &diffapi.ApplyRequest{Diff: descriptor(layer), Mounts: prepared.GetMounts()})
	if err != nil {
		return err
	}
	if got := applied.GetApplied().GetDigest(); got != diffID.String() {
		return fmt.Errorf("its diff ID is %s, and not %s as the config says", got, diffID)
	}
	_, err = s.snapshots.Commit(s.with(ctx), &snapshotsapi.CommitSnapshotRequest{Snapshotter: s.snapshotter, Name: name, Key: key})
	return err
}

// hasSnapshot reports whether a snapshot is there, and keeps it then.
func (s *Store) hasSnapshot(ctx context.Context, name string) (bool, error) {
	err := s.keep(ctx, "snapshots/"+s.snapshotter, name)
	if err == nil {
		_, err = s.snapshots.Stat(s.with(ctx), &snapshotsapi.StatSnapshotRequest{Snapshotter: s.snapshotter, Key: name})
	}
	if errdefs.IsNotFound(native(err)) {
		return false, nil
	}
	return err == nil, err
}

// removeSnapshot removes an unfinished snapshot. If that fails, it goes with the lease.
func (s *Store) removeSnapshot(key string) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	_, _ = s.snapshots.Remove(s.with(ctx), &snapshotsapi.RemoveSnapshotRequest{Snapshotter: s.snapshotter, Key: key})
}
