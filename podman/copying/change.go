package copying

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/writing"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// Add is Save to an archive that is there, which is changed in place, as
// dockerarchive.OpenWriter says. Its own layout decides how images are stored:
// options.Transport and SkipDockerManifest say nothing. Blobs that it has are not
// fetched; of an archive that holds layers uncompressed, configs tell which those are.
// A name that an image has moves to the one that is added under it. If nothing is new,
// no byte of the file changes.
//
// An error means that the archive is what it was, unless it is ErrImagesLeftOut.
func Add(ctx context.Context, policyContext *signature.PolicyContext, path string, images []SaveImage, options *SaveOptions) ([]SaveResult, error) {
	var o SaveOptions
	if options != nil {
		o = *options
	}
	out, err := output.Open(ctx, path, o.Wait)
	if err != nil {
		return nil, err
	}
	o.existing, err = writing.ReadExisting(ctx, out, dockerarchive.Layouts(o.DestinationCtx))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("adding to %s: %w", path, err), out.Abort())
	}
	if o.KeepUntagged {
		o.existing.KeepUntagged()
	}
	results, err := save(ctx, policyContext, path, images, &o, func() (*output.Output, error) { return out, nil })
	return results, errors.Join(err, out.Abort()) // Which does nothing unless it was never begun.
}

// ChangeOptions are the options of Remove and Compact; nil and the zero value will do.
type ChangeOptions struct {
	// Ctx is for reading and writing the archive.
	Ctx *types.SystemContext
	// NoSync leaves it to the system when what is written gets to the disk.
	NoSync bool
	// Wait waits, as long as the context lasts, for others who change the archive.
	// Otherwise the error wraps errdef.ErrBusy.
	Wait bool
}

// Remove takes names away from the archive at path, and with its last name an image;
// @N is the image at that position, with all its names. A new table of contents is
// written, in place, and nothing else: Compact gives the space back. The error is an
// *errdef.NoImageError for what is not there.
func Remove(ctx context.Context, path string, names []string, options *ChangeOptions) error {
	if options == nil {
		options = &ChangeOptions{}
	}
	out, err := output.Open(ctx, path, options.Wait)
	if err != nil {
		return err
	}
	if options.NoSync {
		out.NoSync()
	}
	return writing.Remove(ctx, out, path, names, dockerarchive.Layouts(options.Ctx))
}

// Compact writes the archive at path again, without what no image refers to: as one
// Save of its images, in their order, would have written it. It takes the place of the
// old one when it is complete.
func Compact(ctx context.Context, policyContext *signature.PolicyContext, path string, options *ChangeOptions) error {
	if options == nil {
		options = &ChangeOptions{}
	}
	out, err := output.Replace(ctx, path, options.Wait)
	if err != nil {
		return err
	}
	if err := compact(ctx, policyContext, path, out, options); err != nil {
		return errors.Join(fmt.Errorf("compacting: %w", err), out.Abort())
	}
	return nil
}

func compact(ctx context.Context, policyContext *signature.PolicyContext, path string, out *output.Output, options *ChangeOptions) error {
	l, err := layoutOf(ctx, path, options.Ctx)
	if err != nil {
		return err
	}
	r, err := dockerarchive.NewReaderContext(ctx, options.Ctx, path)
	if err != nil {
		return err
	}
	defer r.Close() // It is only read.
	images, err := imagesIn(r, "")
	if err != nil {
		return err
	}
	o := &SaveOptions{
		Transport: dockerarchive.ImageTransport, SourceCtx: options.Ctx, DestinationCtx: options.Ctx, NoSync: options.NoSync, keepThin: true,
	}
	if oci, ok := l.(layout.OCI); !ok {
		o.Transport = dockerarchive.Transport
	} else {
		o.SkipDockerManifest = oci.Pure
	}
	_, err = save(ctx, policyContext, path, images, o, func() (*output.Output, error) { return out, nil })
	return err
}

func layoutOf(ctx context.Context, path string, sys *types.SystemContext) (layout.Layout, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // It is only read.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return writing.LayoutOf(ctx, f, info.Size(), dockerarchive.Layouts(sys))
}
