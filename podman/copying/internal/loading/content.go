package loading

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/progress"
)

// ErrIncomplete is the error if something is missing again that was there, or was sent.
var ErrIncomplete = errors.New("the content store has lost what it had")

// Content puts images into a content store.
func Content(ctx context.Context, images []selecting.Wanted, store Store, o Options) (*Done, error) {
	l := newLoader(o)
	defer l.close()
	l.store, l.kind = store, daemon.Kind{Containerd: true}
	return l.done, l.toStore(ctx, images)
}

func (l *loader) toStore(ctx context.Context, images []selecting.Wanted) error {
	if err := l.read(ctx, whole(images)); err != nil {
		return err
	}
	if len(l.images) == 0 {
		return l.nothing()
	}
	if err := l.sendMissing(ctx); err != nil {
		return err
	}
	for _, img := range l.images {
		if err := l.nameInStore(ctx, img); err != nil {
			return l.from.ErrorOf(img.Image, err)
		}
	}
	return nil
}

// sendMissing sends what the store lacks, and again if it then lacks more.
func (l *loader) sendMissing(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		if err := l.askStore(ctx); err != nil {
			return err
		}
		if err := l.send(ctx); err != nil {
			return err
		}
		missing, err := l.missing(ctx)
		if missing == "" || err != nil {
			return err
		}
		err = fmt.Errorf("%w: blob %s", ErrIncomplete, missing)
		if attempt > 0 {
			return err
		}
		l.options.Select.Progress(progress.Event{Kind: progress.Retried, Err: err})
	}
}

// askStore decides which layers are not sent.
func (l *loader) askStore(ctx context.Context) error {
	l.leftOut, l.done.LeftOut = map[digest.Digest]bool{}, 0
	asked := map[digest.Digest]bool{}
	for _, img := range l.images {
		for _, m := range img.manifests {
			for _, layer := range m.layers {
				if asked[layer.Digest] {
					continue
				}
				asked[layer.Digest] = true
				there, err := l.store.Has(ctx, layer.Digest)
				if err != nil {
					return err
				}
				if there {
					l.leftOut[layer.Digest] = true
					l.done.LeftOut += max(layer.Size, 0)
				}
			}
		}
	}
	return nil
}

// missing returns a blob that the store has not got.
func (l *loader) missing(ctx context.Context) (digest.Digest, error) {
	asked := map[digest.Digest]bool{}
	for _, img := range l.images {
		for _, d := range img.needs() {
			if asked[d] {
				continue
			}
			asked[d] = true
			if there, err := l.store.Has(ctx, d); err != nil || !there {
				return d, err
			}
		}
	}
	return "", nil
}

// nameInStore makes an image of the blobs that the store has got.
func (l *loader) nameInStore(ctx context.Context, img *loadedImage) error {
	for _, document := range img.Documents {
		var to []digest.Digest
		if document.Config != nil {
			to = append(to, document.Config.Digest)
		}
		for _, d := range slices.Concat(document.Layers, document.Manifests) {
			to = append(to, d.Digest)
		}
		if err := l.store.Refer(ctx, document.Descriptor.Digest, to); err != nil {
			return err
		}
	}
	names := img.AllNames()
	if len(names) == 0 {
		names = []string{"import@" + img.Digest.String()}
	}
	for _, name := range names {
		if err := l.store.Name(ctx, name, img.Documents[len(img.Documents)-1].Descriptor); err != nil {
			return err
		}
	}
	l.done.Images[img.place].ID = img.Digest
	for _, m := range img.manifests {
		if l.options.NoUnpack || !m.runs || !l.unpacks(img, m.platform) {
			continue
		}
		if err := l.store.Unpack(ctx, m.config, m.layers, m.diffIDs); err != nil {
			return fmt.Errorf("%s is loaded, but cannot be run: %w", names[0], err)
		}
	}
	return nil
}

// unpacks reports whether a platform of an image is unpacked. A caller that chose an
// image for another architecture, and not an index, can unpack it, and perhaps run it.
func (l *loader) unpacks(img *loadedImage, p imgspecv1.Platform) bool {
	return len(l.options.Select.Platforms) > 0 || p.OS == runtime.GOOS && (p.Architecture == runtime.GOARCH || len(img.Documents) == 1)
}
