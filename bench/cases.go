package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// benchCase is something that both sides can do. What they write to
// env.output, a file or a directory, must be the same, or at least what a side
// writes every time.
type benchCase struct {
	name    string
	title   string
	goal    float64 // of the wall time, ours ÷ theirs; 0 if there is none
	later   float64 // the goal after that
	images  int     // fetched from the registry, 0 if it is not used
	moved   *input  // an archive whose blobs are sent, nil if none are
	there   *input  // an archive whose blobs are there already, nil if none are
	input   *input  // what is read, nil if it is the dataset
	differ  bool    // the sides write different things
	client  string  // that theirs needs, in clientsDir; "" if none
	varies  bool    // theirs writes something else every time
	network networkIndex
	ours    func(context.Context, *env) error
	theirs  func(context.Context, *env) error

	// Of those that need more; nil if nothing.
	missing func() error                                      // says why the case cannot be run here
	start   func(context.Context, *env) (func() error, error) // comes before all runs, and returns what ends it
	after   func(context.Context, *env) error                 // follows each run, not measured
}

// leftOut says why a case cannot be run here, nil if it can.
func (c benchCase) leftOut() error {
	if c.missing != nil {
		return c.missing()
	}
	if c.client == "" {
		return nil
	}
	if err := findClient(c.client); err != nil {
		return fmt.Errorf("%w; \"make interop\" builds what it needs", err)
	}
	return nil
}

// env is what a run works with.
type env struct {
	data     *dataset
	output   string // does not exist yet
	scratch  string // an existing directory for all that is temporary
	registry string
	sent     *atomic.Int64 // to what a case has started, by the other processes
}

var cases = []benchCase{
	{
		name: "oci", title: "oci: → archive", goal: 0.55, later: 0.32,
		ours: saveOurs(ociSource), theirs: saveTheirs(1, ociSource),
	},
	{
		name: "registry", title: "registry → archive", goal: 0.60, later: 0.42, images: 1,
		ours: saveOurs(registrySource), theirs: saveTheirs(1, registrySource),
	},
	{
		name: "plain", title: "dir:, uncompressed → archive", goal: 0.65,
		ours: saveOurs(plainSource), theirs: saveTheirs(1, plainSource),
	},
	{
		name: "shared", title: "registry, 2 images → archive", images: 2,
		ours: saveAllOurs(2, registrySource), theirs: saveTheirs(2, registrySource),
	},
	{
		// Their manifest calls the layers, which are not compressed, gzip.
		name: "load", title: "archive → dir:", input: &oneImage, differ: true,
		ours: loadOurs, theirs: loadTheirs,
	},
	{
		name: "list", title: "open 500 images of an archive", input: &manyImages,
		ours: listOurs, theirs: listTheirs,
	},
}

func allCases() []benchCase {
	return slices.Concat(cases, saveCases, resumeCases, slowCases, pushCases, loadCases, serveCases, makingCases, containerCases)
}

func findCase(name string) (benchCase, error) {
	for _, c := range allCases() {
		if c.name == name {
			return c, nil
		}
	}
	return benchCase{}, fmt.Errorf("there is no case %q", name)
}

// source returns a reference to an image of the dataset.
type source func(e *env, image int) (types.ImageReference, error)

func ociSource(e *env, image int) (types.ImageReference, error) {
	return layout.NewReference(e.data.ociDir(), ociName(image))
}

func plainSource(e *env, image int) (types.ImageReference, error) {
	return directory.NewReference(e.data.plainDir(image))
}

func registrySource(e *env, image int) (types.ImageReference, error) {
	return docker.ParseReference(fmt.Sprintf("//%s/%s:%s", e.registry, repository, ociName(image)))
}

// system returns the settings of both sides. Temporary files are where the
// archive is, so that both write to the same disk.
func (e *env) system() *types.SystemContext {
	return &types.SystemContext{
		BigFilesTemporaryDir:        e.scratch,
		BlobInfoCacheDir:            e.scratch,
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
	}
}

// copier copies images as skopeo does.
type copier struct {
	policy  *signature.PolicyContext
	options *copy.Options
}

func newCopier(sys *types.SystemContext) (*copier, error) {
	policy, err := acceptAnything()
	return &copier{policy: policy, options: &copy.Options{ReportWriter: io.Discard, SourceCtx: sys, DestinationCtx: sys}}, err
}

// archiveWriter is what the Writers of both sides have in common.
type archiveWriter interface {
	NewReference(reference.NamedTagged) (types.ImageReference, error)
	Close() error
}

// saveTheirs writes images with containers/image's docker/archive.
func saveTheirs(images int, from source) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		sources, err := e.sources(images, from)
		if err != nil {
			return err
		}
		w, err := archive.NewWriter(e.system(), e.output)
		if err != nil {
			return err
		}
		return errors.Join(e.copyAll(ctx, w, sources), w.Close())
	}
}

// saveOurs writes an image with this module as the command does.
func saveOurs(from source) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		src, err := from(e, 0)
		if err != nil {
			return err
		}
		name, err := imageName(0)
		if err != nil {
			return err
		}
		dst, err := dockerarchive.NewReference(e.output, name)
		if err != nil {
			return err
		}
		c, err := newCopier(e.system())
		if err != nil {
			return err
		}
		_, err = copying.Copy(ctx, c.policy, dst, src, c.options)
		return err
	}
}

// saveAllOurs writes images with this module to one archive, whose Writer knows
// the manifests before it starts.
func saveAllOurs(images int, from source) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		sources, err := e.sources(images, from)
		if err != nil {
			return err
		}
		plan := make([]dockerarchive.Plan, len(sources))
		for i, src := range sources {
			m, err := readManifest(ctx, e.system(), src)
			if err == nil {
				err = plan[i].AddManifest(m)
			}
			if err != nil {
				return err
			}
		}
		w, err := dockerarchive.NewWriterContext(ctx, e.system(), e.output, &dockerarchive.WriterOptions{Plan: plan})
		if err != nil {
			return err
		}
		if err := e.copyAll(ctx, w, sources); err != nil {
			return errors.Join(err, w.Abort())
		}
		return w.Close()
	}
}

func (e *env) sources(images int, from source) ([]types.ImageReference, error) {
	sources := make([]types.ImageReference, images)
	for i := range sources {
		src, err := from(e, i)
		if err != nil {
			return nil, err
		}
		sources[i] = src
	}
	return sources, nil
}

// copyAll copies the sources, one after the other, to references of w.
func (e *env) copyAll(ctx context.Context, w archiveWriter, sources []types.ImageReference) error {
	c, err := newCopier(e.system())
	if err != nil {
		return err
	}
	for i, src := range sources {
		name, err := imageName(i)
		if err != nil {
			return err
		}
		dst, err := w.NewReference(name)
		if err != nil {
			return err
		}
		if _, err := copy.Image(ctx, c.policy, dst, src, c.options); err != nil {
			return err
		}
	}
	return nil
}

// copyOne copies an image as skopeo does.
func (e *env) copyOne(ctx context.Context, dst, src types.ImageReference) error {
	c, err := newCopier(e.system())
	if err != nil {
		return err
	}
	_, err = copy.Image(ctx, c.policy, dst, src, c.options)
	return err
}

func imageName(i int) (reference.NamedTagged, error) {
	named, err := reference.ParseNormalizedNamed("example.com/app")
	if err != nil {
		return nil, err
	}
	return reference.WithTag(named, ociName(i))
}

func readManifest(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) ([]byte, error) {
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	m, _, err := src.GetManifest(ctx, nil)
	return m, errors.Join(err, src.Close())
}
