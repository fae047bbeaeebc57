package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/cmd/docker-archive/internal/garbage"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/copying/containerd"
)

// baseOptions are the flags for archives that were saved with --without or --delta.
type baseOptions struct {
	paths      []string
	containerd containerd.Config // as far as flags set its address

	bases  *archive.Bases // nil before they are opened, and if there are none
	closes []func() error
}

func (o *baseOptions) register(f *pflag.FlagSet) {
	f.StringArrayVar(&o.paths, "base", nil, "read layers that a delta lacks from `ARCHIVE` or image; repeatable")
}

// open opens the archives and images of --base.
func (o *baseOptions) open(ctx context.Context, g *globalOptions, sys *types.SystemContext, keep int64) error {
	if len(o.paths) == 0 {
		return nil
	}
	o.bases = archive.NewBases(archive.BasesOptions{TempDir: g.tmpdir, Keep: keep})
	for _, path := range o.paths {
		if err := o.add(ctx, g, sys, path); err != nil {
			return fmt.Errorf("--base: %w", errors.Join(err, o.close()))
		}
	}
	return nil
}

// add adds an archive, or an image that is elsewhere.
func (o *baseOptions) add(ctx context.Context, g *globalOptions, sys *types.SystemContext, arg string) error {
	if name, ok := strings.CutPrefix(arg, toContainerd+":"); ok {
		return o.addContainerd(ctx, sys, name)
	}
	archives := []string{dockerarchive.Transport.Name(), dockerarchive.ImageTransport.Name(), "oci-archive", "oci"}
	transport, _, ok := cutTransport(arg)
	if isRegistry := strings.HasPrefix(arg, "docker://"); !isRegistry && (!ok || isPath(arg) || slices.Contains(archives, transport.Name())) {
		_, err := o.addArchive(ctx, g, archivePath(arg), trustOf(sys))
		return err
	}
	ref, _, err := parseImage(arg)
	if err != nil {
		return usagef("--base %q: %w", shortened(arg), err)
	}
	if ref.Transport().Name() == dockerDaemon {
		if err := locateDaemon(sys); err != nil {
			return err
		}
	}
	release, err := copying.AddBase(ctx, contextOf(sys, ref), o.bases, arg, ref)
	o.closes = append(o.closes, release)
	return err
}

// addContainerd adds an image in containerd.
func (o *baseOptions) addContainerd(ctx context.Context, sys *types.SystemContext, name string) error {
	store, err := containerd.Open(ctx, containerdConfig(o.containerd))
	if err != nil {
		return err
	}
	o.closes = append(o.closes, store.Close)
	layers, err := store.Layers(ctx, sys, name)
	for _, l := range layers {
		o.bases.AddLayer(l)
	}
	return err
}

// addArchive adds an archive, which stays open.
func (o *baseOptions) addArchive(ctx context.Context, g *globalOptions, path string, access archive.Access) (*archive.Archive, error) {
	a, err := archive.Opener{TempDir: g.tmpdir, Access: access}.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	o.closes = append(o.closes, a.Close)
	return a, o.bases.AddArchive(ctx, filepath.Base(path), a)
}

// close closes all that is open. It may be called more than once.
func (o *baseOptions) close() error {
	var errs []error
	if o.bases != nil {
		errs = append(errs, o.bases.Close())
	}
	for _, c := range o.closes {
		errs = append(errs, c())
	}
	o.bases, o.closes = nil, nil
	return errors.Join(errs...)
}

// complete returns a reference that takes layers from the bases, if it is to an archive.
func (o *baseOptions) complete(ref types.ImageReference) (types.ImageReference, error) {
	if o.bases == nil || !dockerarchive.IsArchive(ref) {
		return ref, nil
	}
	return dockerarchive.WithBases(ref, o.bases)
}

// lendEachOther lets the archives of a command take missing layers from each other. They are
// opened for that when one of them turns out to lack something. A stream lends nothing, for it
// cannot be read twice.
func (o *baseOptions) lendEachOther(cmd *cobra.Command, g *globalOptions, paths ...string) {
	slices.Sort(paths)
	paths = slices.DeleteFunc(slices.Compact(paths), isStream)
	if len(paths) < 2 {
		return
	}
	if o.bases == nil {
		o.bases = archive.NewBases(archive.BasesOptions{TempDir: g.tmpdir})
	}
	for _, path := range paths {
		o.bases.AddLater(func(ctx context.Context) error {
			if _, err := o.addArchive(ctx, g, path, archive.Access{}); err != nil && ctx.Err() == nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "docker-archive: warning: no layers are taken from %s: %s\n", printable.String(path), printable.Error(err))
			}
			return context.Cause(ctx)
		})
	}
}

// isStream reports whether a path is of something else than a file or a directory.
func isStream(path string) bool {
	if _, remote := naming.Scheme(path); remote {
		return false
	}
	info, err := os.Stat(path)
	return path == "-" || path == "/dev/stdin" || err != nil || !info.Mode().IsRegular() && !info.IsDir()
}

// archivePaths returns the paths of those images that are in archives.
func archivePaths(refs ...types.ImageReference) (paths []string) {
	for _, ref := range refs {
		if path, ok := dockerarchive.ArchivePath(ref); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// deltaOptions are the flags of save for deltas.
type deltaOptions struct {
	paths    []string
	textOnly bool

	from baseOptions
}

func (o *deltaOptions) register(f *pflag.FlagSet) {
	f.StringArrayVar(&o.paths, "delta", nil, "save only what is new against `ARCHIVE`, as deltas; repeatable")
	f.BoolVar(&o.textOnly, "text-only", false, "with --delta, make none that needs the base's compressed bytes")
}

// open opens the archives of --delta, and adds them to the left-out layers.
func (o *deltaOptions) open(cmd *cobra.Command, g *globalOptions, options *copying.SaveOptions) error {
	if len(o.paths) == 0 {
		return nil
	}
	if options.Without == nil {
		options.Without = &copying.Without{}
	}
	// Making a delta needs 50 MB at a time, and the limit costs no time. With the pages of the program, a save
	// stays below 96 MB.
	garbage.Limit(60 << 20)
	o.from.bases = archive.NewBases(archive.BasesOptions{TempDir: g.tmpdir})
	paths := make([]string, len(o.paths))
	for n, path := range o.paths {
		paths[n] = archivePath(path)
	}
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	var opened []*archive.Archive
	for _, path := range paths {
		a, err := o.from.addArchive(cmd.Context(), g, path, trustOf(options.SourceCtx))
		if err != nil {
			return fmt.Errorf("--delta: %w", errors.Join(err, o.from.close()))
		}
		opened = append(opened, a)
	}
	for n, a := range opened {
		if err := options.Without.AddArchive(cmd.Context(), filepath.Base(paths[n]), a); err != nil {
			return fmt.Errorf("--delta: %w", errors.Join(err, o.from.close()))
		}
	}
	options.Delta, options.TextOnly = o.from.bases, o.textOnly
	return nil
}
