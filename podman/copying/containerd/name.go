package containerd

import (
	"context"
	"fmt"
	"maps"
	"slices"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// Refer records that a manifest or an index needs other blobs, which containerd then keeps
// as long as it keeps that. They may be missing.
func (s *Store) Refer(ctx context.Context, document digest.Digest, to []digest.Digest) error {
	labels := map[string]string{}
	for n, d := range to {
		labels[fmt.Sprintf("containerd.io/gc.ref.content.%d", n)] = d.String()
	}
	return s.label(ctx, document, labels)
}

// label gives a blob labels beside those that it has.
func (s *Store) label(ctx context.Context, d digest.Digest, labels map[string]string) error {
	if len(labels) == 0 {
		return nil
	}
	mask := &fieldmaskpb.FieldMask{}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		mask.Paths = append(mask.Paths, "labels."+key)
	}
	_, err := s.content.Update(s.with(ctx), &contentapi.UpdateRequest{
		Info: &contentapi.Info{Digest: d.String(), Labels: labels}, UpdateMask: mask,
	})
	if err != nil {
		return fmt.Errorf("recording in containerd what %s needs: %w", d, native(err))
	}
	return nil
}

// Name makes a name stand for a manifest or an index, whatever it stood for before.
func (s *Store) Name(ctx context.Context, name string, target imgspecv1.Descriptor) error {
	img := &imagesapi.Image{Name: name, Target: descriptor(target)}
	_, err := s.images.Create(s.with(ctx), &imagesapi.CreateImageRequest{Image: img})
	if errdefs.IsAlreadyExists(native(err)) {
		_, err = s.images.Update(s.with(ctx), &imagesapi.UpdateImageRequest{
			Image: img, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"target"}},
		})
	}
	if err != nil {
		return fmt.Errorf("naming %s in containerd: %w", name, native(err))
	}
	return nil
}

func descriptor(d imgspecv1.Descriptor) *apitypes.Descriptor {
	return &apitypes.Descriptor{MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size}
}
