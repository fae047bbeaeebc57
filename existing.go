package dockerarchive

import (
	"context"
	"errors"
	"fmt"

	"github.com/containers/image/v5/types"

	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/writing"
)

// OpenWriter returns a Writer that adds images to the archive at path, in place.
// Blobs that the archive has are not written again. A name moves from the image that has
// it to the one that is added under it. An image that loses its last name leaves the
// archive's table of contents, unless options.KeepUntagged is set. The archive's own
// layout decides how images are stored; options.Transport is ignored.
//
// Until Close has succeeded, all readers see the archive as it was, after a failure of
// the machine too. Readers that have it open then read on in the old state. No other
// Writer can change it meanwhile: OpenWriter returns errdef.ErrBusy, wrapped, or waits
// as long as ctx lasts if options.Wait is set. The caller must call Close or Abort.
func OpenWriter(ctx context.Context, sys *types.SystemContext, path string, options *WriterOptions) (*Writer, error) {
	if options == nil {
		options = &WriterOptions{}
	}
	ctx = reaching(ctx, sys)
	out, err := output.Open(ctx, path, options.Wait)
	if err != nil {
		return nil, err
	}
	existing, err := writing.ReadExisting(ctx, out, layouts(sys))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("adding to %s: %w", path, err), out.Abort())
	}
	if options.KeepUntagged {
		existing.KeepUntagged()
	}
	return newWriter(ctx, sys, path, options, existing, func() (*output.Output, error) { return out, nil })
}

// layouts returns the layouts that an archive may have.
func layouts(sys *types.SystemContext) []layout.Layout {
	return []layout.Layout{ImageTransport.Layout(sys), Transport.Layout(sys)}
}

// openOrCreate returns a Writer of the archive at path, new or not.
func openOrCreate(ctx context.Context, sys *types.SystemContext, path string, options *WriterOptions) (*Writer, error) {
	w, err := NewWriterContext(ctx, sys, path, options)
	if !errors.Is(err, output.ErrNotEmpty) {
		return w, err
	}
	w, openErr := OpenWriter(ctx, sys, path, options)
	if openErr != nil {
		return nil, fmt.Errorf("%w; nor can it be added to: %w", err, openErr)
	}
	return w, nil
}
