package saving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/ranged"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/internal/writing"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/layouts"
	"github.com/dockerarchive/dockerarchive/podman/internal/stores"
)

// Add adds images to the archive at path. If wait is set, it waits for other processes
// that change the archive. An image that loses its last name stays if keepUntagged is.
func Add(ctx context.Context, path string, images []selecting.Wanted, o Options, wait, keepUntagged bool) (results []Result, err error) {
	ctx = stores.Reaching(ctx, o.DestinationCtx)
	err = again(ctx, path, func() (err error) {
		results, err = add(ctx, path, images, o, wait, keepUntagged)
		return err
	})
	return results, err
}

// changes says how often a change of an object in a store is repeated because another program has
// changed the object meanwhile. Each attempt reads the images again.
var changes = retry.Policy{Times: 10, FirstDelay: 200 * time.Millisecond, Classifiers: []retry.Classifier{
	func(err error) (retry.Verdict, bool) {
		return retry.Verdict{Retry: errors.Is(err, output.ErrChanged) || errors.Is(err, ranged.ErrChanged)}, true
	},
}}

// again makes a change, and repeats it for an object. Files are locked, so one attempt suffices.
func again(ctx context.Context, path string, change func() error) error {
	if !output.IsRemote(path) {
		return change()
	}
	return changes.Do(ctx, nil, change)
}

func add(ctx context.Context, path string, images []selecting.Wanted, o Options, wait, keepUntagged bool) ([]Result, error) {
	out, err := output.Open(ctx, path, wait)
	if err != nil {
		return nil, err
	}
	o.existing, err = writing.ReadExisting(ctx, out, layouts.All(o.DestinationCtx))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("adding to %s: %w", path, err), out.Abort())
	}
	if keepUntagged {
		o.existing.KeepUntagged()
	}
	results, err := save(ctx, path, images, o, func() (*output.Output, error) { return out, nil })
	return results, errors.Join(err, out.Abort()) // Abort does nothing unless the archive was never begun.
}

// ChangeOptions are how an archive is changed. See copying.ChangeOptions for the
// fields.
type ChangeOptions struct {
	Ctx    *types.SystemContext
	NoSync bool
	Wait   bool
}

// Remove takes names away from the archive at path. It returns the digests of the referrers
// that are removed along.
func Remove(ctx context.Context, path string, names []string, keepReferrers bool, o ChangeOptions) (referrers []digest.Digest, err error) {
	err = o.change(ctx, path, func(out *output.Output) (err error) {
		referrers, err = writing.Remove(ctx, out, path, names, keepReferrers, layouts.All(o.Ctx))
		return err
	})
	return referrers, err
}

// change opens an archive and changes it.
func (o ChangeOptions) change(ctx context.Context, path string, change func(*output.Output) error) error {
	ctx = stores.Reaching(ctx, o.Ctx)
	return again(ctx, path, func() error {
		out, err := output.Open(ctx, path, o.Wait)
		if err != nil {
			return err
		}
		if o.NoSync {
			out.NoSync()
		}
		return change(out)
	})
}

// Tag gives an image in the archive at path another name.
func Tag(ctx context.Context, path, image, name string, rename bool, o ChangeOptions) (warnings []string, err error) {
	err = o.change(ctx, path, func(out *output.Output) (err error) {
		warnings, err = writing.Tag(ctx, out, path, image, name, rename, layouts.All(o.Ctx))
		return err
	})
	return warnings, err
}

// Compact writes the archive at path again, in its place.
func Compact(ctx context.Context, policy *signature.PolicyContext, path string, o ChangeOptions) error {
	ctx = stores.Reaching(ctx, o.Ctx)
	return again(ctx, path, func() error { return compactOnce(ctx, policy, path, o) })
}

func compactOnce(ctx context.Context, policy *signature.PolicyContext, path string, o ChangeOptions) error {
	out, err := output.Replace(ctx, path, o.Wait)
	if err != nil {
		return err
	}
	if err := compact(ctx, policy, path, out, o); err != nil {
		return errors.Join(fmt.Errorf("compacting %s: %w", path, err), out.Abort())
	}
	return nil
}

func compact(ctx context.Context, policy *signature.PolicyContext, path string, out *output.Output, change ChangeOptions) error {
	l, err := layoutOf(ctx, path, change.Ctx)
	if err != nil {
		return err
	}
	r, err := dockerarchive.NewReaderContext(ctx, change.Ctx, path)
	if err != nil {
		return err
	}
	defer r.Close() // It is only read.
	images, err := selecting.ImagesIn(r, "")
	if err != nil {
		return err
	}
	o := Options{
		Select:    selecting.Options{Policy: policy, SourceCtx: change.Ctx, KeepThin: true},
		Transport: dockerarchive.ImageTransport, DestinationCtx: change.Ctx, NoSync: change.NoSync,
	}
	if oci, ok := l.(layout.OCI); !ok {
		o.Transport = dockerarchive.Transport
	} else {
		o.SkipDockerManifest = oci.Pure
	}
	_, err = save(ctx, path, together(images), o, func() (*output.Output, error) { return out, nil })
	return err
}

// together returns the images of an archive with those joined that are one image under names
// that follow one another: an image is read once then, and not for each of thousands of names.
func together(images []selecting.Wanted) []selecting.Wanted {
	var joined []selecting.Wanted
	for _, img := range images {
		if n := len(joined); n > 0 && img.Name != nil && joined[n-1].Name != nil && img.FreeName == "" && joined[n-1].FreeName == "" &&
			img.Source.StringWithinTransport() == joined[n-1].Source.StringWithinTransport() {
			joined[n-1].Names = append(joined[n-1].Names, img.Name)
			continue
		}
		joined = append(joined, img)
	}
	return joined
}

func layoutOf(ctx context.Context, path string, sys *types.SystemContext) (layout.Layout, error) {
	open := openFile
	if output.IsRemote(path) {
		open = openObject
	}
	f, size, err := open(ctx, path, sys)
	if err != nil {
		return nil, err
	}
	defer f.Close() // It is only read.
	if err := writing.CheckPlain(f); err != nil {
		return nil, err
	}
	return writing.LayoutOf(ctx, f, size, layouts.All(sys))
}

// file is an archive that is only read.
type file interface {
	io.ReaderAt
	io.Closer
}

func openFile(_ context.Context, path string, _ *types.SystemContext) (file, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func openObject(ctx context.Context, path string, sys *types.SystemContext) (file, int64, error) {
	o := input.Options{Access: stores.Access(sys)}
	if sys != nil {
		o.TempDir = sys.BigFilesTemporaryDir
	}
	f, err := input.Open(ctx, path, o)
	if err != nil {
		return nil, 0, err
	}
	if f.Copied {
		return nil, 0, errors.Join(errors.New("the archive is compressed, and cannot be compacted: decompress it first"), f.Close())
	}
	return f, f.Size(), nil
}
