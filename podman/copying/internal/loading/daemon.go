package loading

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"

	distribution "github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// ErrNotLoaded is the error if a daemon reported no error, and has not got the image.
var ErrNotLoaded = errors.New("the docker daemon has not got what it was sent")

// Daemon puts images into a Docker daemon.
func Daemon(ctx context.Context, images []selecting.Wanted, o Options) (*Done, error) {
	l := newLoader(o)
	defer l.close()
	config := sources.DaemonConfig(o.DestinationCtx)
	config.Host = o.Host
	config, err := daemon.Find(daemon.Chosen{Config: config, Context: o.Context})
	if err != nil {
		return nil, err
	}
	if l.daemon, err = daemon.Open(config); err != nil {
		return nil, err
	}
	defer l.daemon.Close()
	if err := l.prepare(ctx, whole(images)); err != nil {
		return l.done, err
	}
	err = l.sendAndCheck(ctx)
	var refused *daemon.RefusedError
	if len(l.leftOut) > 0 && (errors.As(err, &refused) || errors.Is(err, ErrNotLoaded)) && !isFull(err) {
		l.options.Select.Progress(progress.Event{Kind: progress.Retried, Err: err})
		l.leftOut, l.done.LeftOut = nil, 0
		err = l.sendAndCheck(ctx)
	}
	return l.done, err
}

// isFull reports whether a daemon's disk is full, which it says in words only.
func isFull(err error) bool { return strings.Contains(err.Error(), syscall.ENOSPC.Error()) }

// prepare finds out what both sides have.
func (l *loader) prepare(ctx context.Context, images []selecting.Wanted) (err error) {
	if l.kind, err = l.daemon.Kind(ctx); err != nil {
		return err
	}
	if len(l.options.Select.Platforms) == 0 && !l.kind.Containerd {
		l.options.Select.Platforms = []imgspecv1.Platform{l.kind.Platform}
	}
	if len(l.options.Select.Platforms) > 1 && !l.kind.Containerd {
		return errors.New("the docker daemon keeps one platform of an image; choose one")
	}
	if err := l.read(ctx, images); err != nil {
		return err
	}
	if len(l.images) == 0 {
		return l.nothing()
	}
	for _, img := range l.images {
		for _, name := range img.others() {
			if _, err := distribution.ParseNormalizedNamed(name); err != nil || !l.kind.Containerd {
				return l.from.ErrorOf(img.Image, unkept(name, "the docker daemon"))
			}
		}
	}
	if l.options.Full {
		return nil
	}
	present, err := l.daemon.Present(ctx, l.kind)
	if err != nil {
		return err
	}
	l.leaveOut(present)
	return nil
}

func (l *loader) sendAndCheck(ctx context.Context) error {
	if err := l.send(ctx); err != nil {
		return err
	}
	for _, img := range l.images {
		if err := l.check(ctx, img); err != nil {
			return l.from.ErrorOf(img.Image, err)
		}
	}
	return nil
}

// check fails if the daemon has not got an image under its names.
func (l *loader) check(ctx context.Context, img *loadedImage) error {
	ids := img.ids(l.kind)
	var asked []string
	for _, name := range img.tags() {
		asked = append(asked, name.String())
	}
	asked = append(asked, img.others()...)
	if len(asked) == 0 {
		asked = []string{ids[0].String()}
	}
	for _, name := range asked {
		told, err := l.daemon.Inspect(ctx, name, nil)
		var refused *daemon.RefusedError
		switch {
		case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
			return fmt.Errorf("%w: %w", ErrNotLoaded, err)
		case err != nil:
			return err
		case !slices.Contains(ids, told.ID):
			return fmt.Errorf("%w: %s is %s there, and not %s", ErrNotLoaded, name, told.ID, ids[0])
		}
		if err := img.complete(l.kind, told); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrNotLoaded, name, err)
		}
		result := &l.done.Images[img.place]
		if result.ID == "" && img.lacksBlobs(told) {
			result.Warnings = append(result.Warnings, "the daemon has its layers unpacked, but not all of them as they are in the archive, which docker push and docker save need; if they are to be used, send everything")
		}
		result.ID = told.ID
	}
	return nil
}

// leaveOut decides which layers are not sent. A layer is sent for the sake of one image
// that needs it, even if others do not: a daemon knows a layer by all that is below it.
func (l *loader) leaveOut(present *daemon.Present) {
	chains := map[digest.Digest]bool{}
	for _, layers := range present.Chains {
		for _, id := range identity.ChainIDs(slices.Clone(layers)) {
			chains[id] = true
		}
	}
	there, needed, sizes := map[digest.Digest]bool{}, map[digest.Digest]bool{}, map[digest.Digest]int64{}
	for _, img := range l.images {
		for _, m := range img.manifests {
			ids := identity.ChainIDs(slices.Clone(m.diffIDs))
			for n, layer := range m.layers {
				sizes[layer.Digest] = layer.Size
				switch {
				case present.Manifests[m.digest]: // And with it the layer as it is.
					there[layer.Digest] = true
				case n >= len(ids) || !chains[ids[n]]:
					needed[layer.Digest] = true
				}
			}
		}
	}
	l.leftOut = map[digest.Digest]bool{}
	for d, size := range sizes {
		if there[d] || !needed[d] {
			l.leftOut[d] = true
			l.done.LeftOut += max(size, 0)
		}
	}
}
