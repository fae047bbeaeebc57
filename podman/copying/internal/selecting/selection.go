// Package selecting decides which parts of the wanted images are taken: it opens each
// source once, reads manifests, chooses platforms, asks the policy, and finds referrers. A
// Selection is the images with their sources. Archives are written, registries filled and
// daemons loaded from it. It does not know which.
package selecting

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/async"
	"github.com/dockerarchive/dockerarchive/internal/fetching"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/retry"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// Options are how images are read, and which parts of them are taken.
type Options struct {
	Op     string // the operation, for errors
	Policy *signature.PolicyContext
	// Layout limits what can be taken: it is the layout of the archive, or the closest
	// one.
	Layout    layout.Layout
	SourceCtx *types.SystemContext

	Platforms    []imgspecv1.Platform
	AnyPlatform  bool
	AllPlatforms bool
	SkipMissing  bool
	KeepIndex    bool

	SkipNonDistributable bool
	LeaveOut             func(layer imgspecv1.Descriptor) bool
	KeepThin             bool // leave out the layers that the archives being read leave out
	Without              *Without
	Referrers            *Referrers // nil for none

	Jobs      int
	Retries   retry.Policy
	RangeSize int           // in bytes; 0 is that of package fetching
	Patience  time.Duration // for how long a line shows its rate; likewise
	Hosts     *fetching.Hosts
	KeepGoing bool
	Progress  func(progress.Event)
}

// DefaultJobs is the number that containers/image uses for layers.
const DefaultJobs = 6

// Selection is the wanted parts of some images. Its Images are not to be changed while
// blobs are fetched.
type Selection struct {
	Layout  layout.Layout
	Images  []*Image
	Fetcher *fetching.Fetcher

	// Store takes a layer; configs stay in memory. Kept, if not nil, returns the part of a
	// blob that is here already. Fatal reports whether an error of Store ends all images.
	Store func(ctx context.Context, blob *fetching.Blob, r io.Reader) error
	Kept  func(ctx context.Context, blob *fetching.Blob) io.Reader
	Fatal func(error) bool

	options  Options
	policyMu sync.Mutex          // a PolicyContext does one thing at a time
	opened   []types.ImageSource // of referrers

	clientsMu sync.Mutex
	clients   map[*types.SystemContext]*registries.Client // of registries, by how they are reached

	configsMu sync.Mutex
	configs   map[digest.Digest][]byte // of images that are still to be completed
	read      map[digest.Digest][]byte // those of the Selection that this was taken from
}

// New returns a Selection of images that have not been read. It must be closed.
func New(images []Wanted, options Options) (*Selection, error) {
	s := &Selection{
		options: options, Layout: options.Layout,
		configs: map[digest.Digest][]byte{}, clients: map[*types.SystemContext]*registries.Client{},
	}
	if s.options.Jobs <= 0 {
		s.options.Jobs = DefaultJobs
	}
	if s.options.Hosts == nil {
		s.options.Hosts = new(fetching.Hosts)
	}
	if s.options.Progress == nil {
		s.options.Progress = func(progress.Event) {}
	}
	if len(images) == 0 {
		return nil, errors.New("none is given")
	}
	if err := s.checkOptions(); err != nil {
		return nil, err
	}
	var hosts sources.Hosts
	for _, img := range images {
		if err := hosts.AddReference(cmp.Or(img.SourceCtx, options.SourceCtx), img.Source); err != nil {
			return nil, err
		}
	}
	s.newFetcher()
	for _, img := range images {
		if img.Name != nil {
			img.Name = reference.TagNameOnly(img.Name)
		}
		img.Names = slices.Clone(img.Names) // The caller's stay as they are.
		for i, name := range img.Names {
			img.Names[i] = reference.TagNameOnly(name)
		}
		s.add(&Image{Wanted: img})
	}
	return s, nil
}

func (s *Selection) newFetcher() {
	s.Fetcher = fetching.New(fetching.Options{
		Jobs:      s.options.Jobs,
		KeepGoing: s.options.KeepGoing,
		Backoff:   s.options.Retries.Backoff,
		Kept:      s.kept,
		Store:     s.store,
		Fatal:     s.isFatal,
		RangeSize: s.options.RangeSize,
		Patience:  s.options.Patience,
		Hosts:     s.options.Hosts,
		Busy:      sources.IsBusy,
		Progress:  s.options.Progress,
	})
}

// add adds an image.
func (s *Selection) add(img *Image) {
	name := ""
	if img.about == nil {
		name = transports.ImageName(img.Source)
	}
	img.fetched = s.Fetcher.AddImage(img, name, func(err error) error { return s.ErrorOf(img, err) })
	s.Images = append(s.Images, img)
}

// ErrorOf returns an error that names the image.
func (s *Selection) ErrorOf(img *Image, err error) error {
	if named, ok := err.(*errdef.ImageError); ok {
		return named
	}
	return &errdef.ImageError{Op: s.options.Op, Image: transports.ImageName(img.Source), Err: err}
}

// Less returns some of the images, with the sources of s, without layers that are not
// wanted. Only their layers are read again. Do not close it; close s only after its
// last use.
func (s *Selection) Less(images []*Image, leavesOut func(imgspecv1.Descriptor) bool) *Selection {
	less := &Selection{options: s.options, Layout: s.Layout, configs: map[digest.Digest][]byte{}, read: s.configs}
	less.newFetcher()
	for _, img := range images {
		less.add(img.less(leavesOut))
	}
	less.collect()
	return less
}

// Replacing returns the same images with deltas in the place of layers. The rules of Less
// hold for it too.
func (s *Selection) Replacing(deltas image.LeftOut) *Selection {
	other := &Selection{options: s.options, Layout: s.Layout, configs: map[digest.Digest][]byte{}, read: s.configs}
	other.newFetcher()
	for _, img := range s.Images {
		made := img.replacing(deltas)
		other.add(made)
		if err := s.Err(img); err != nil {
			_ = other.Fail(made, err) // It has been reported, if it ended all.
		}
	}
	other.collect()
	return other
}

// isFatal reports whether an error of storing ends all images.
func (s *Selection) isFatal(err error) bool { return s.Fatal != nil && s.Fatal(err) }

// kept returns the part of a blob that is here already.
func (s *Selection) kept(ctx context.Context, blob *fetching.Blob) io.Reader {
	if config, ok := s.read[blob.Digest]; ok && blob.Kind == image.KindConfig {
		return bytes.NewReader(config)
	}
	if s.Kept == nil {
		return nil
	}
	return s.Kept(ctx, blob)
}

// store keeps a config in memory, and hands a layer on.
func (s *Selection) store(ctx context.Context, blob *fetching.Blob, r io.Reader) error {
	if blob.Kind != image.KindConfig {
		return s.Store(ctx, blob, r)
	}
	ahead := async.NewReader(ctx, r) // Ends with the context, even if the source does not.
	defer ahead.Close()
	data, err := io.ReadAll(io.LimitReader(ahead, image.MaxDocument+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading config %s: %w", blob.Digest, err)
	case len(data) > image.MaxDocument:
		return fmt.Errorf("config %s: %w: larger than %d bytes, which is more than a config may have", blob.Digest, errdef.ErrLimit, image.MaxDocument)
	}
	s.configsMu.Lock()
	defer s.configsMu.Unlock()
	s.configs[blob.Digest] = data
	return nil
}

// Waiting reports a registry that sends nothing to the caller.
func (s *Selection) Waiting(host string) {
	s.options.Progress(progress.Event{Kind: progress.Waiting, Host: host})
}

// sourceCtx returns the context for reading an image.
func (s *Selection) sourceCtx(img *Image) *types.SystemContext {
	return cmp.Or(img.SourceCtx, s.options.SourceCtx)
}

// client returns the client for what containers/image cannot ask the registry of an image.
func (s *Selection) client(img *Image) *registries.Client {
	sys := s.sourceCtx(img)
	s.clientsMu.Lock()
	defer s.clientsMu.Unlock()
	if s.clients[sys] == nil {
		s.clients[sys] = registries.New(sys)
	}
	return s.clients[sys]
}

// Close closes the sources.
func (s *Selection) Close() {
	for _, img := range s.Images {
		if img.src != nil {
			img.blobs.Close()
			img.src.Close() // It has only been read from.
		}
	}
	for _, src := range s.opened {
		src.Close() // Likewise.
	}
	for _, client := range s.clients {
		client.Close()
	}
}

// Read opens all sources and reads all manifests. Then it is known which blobs there are.
func (s *Selection) Read(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.options.Jobs)
	for _, img := range s.Images {
		g.Go(func() error {
			err := s.of(img).resolve(gctx)
			if err == nil || gctx.Err() != nil && errors.Is(err, context.Canceled) {
				return err // Another image is the reason.
			}
			if err := s.Fail(img, err); err != nil && endsReading(err) {
				return err
			}
			return nil
		})
	}
	err := g.Wait()
	if ctxErr := ctx.Err(); ctxErr != nil {
		return cmp.Or(err, ctxErr)
	}
	if !s.options.KeepGoing {
		err = s.faults()
	}
	if err != nil {
		return err
	}
	if err := s.askParents(ctx); err != nil {
		return err
	}
	if err := s.gatherReferrers(ctx); err != nil {
		return err
	}
	if err := s.checkNames(); err != nil {
		return err
	}
	s.collect()
	return nil
}

// checkNames fails if one name would mean two images.
func (s *Selection) checkNames() error {
	byName := map[string]*Image{}
	for img := range s.Good() {
		for _, name := range img.AllNames() {
			other, ok := byName[name]
			if !ok {
				byName[name] = img
			} else if other.Digest != img.Digest {
				return fmt.Errorf("two images want the name %s, and clients keep only one of them: %s (%s) and %s (%s); name or save them separately, or save an index that lists them", name,
					transports.ImageName(other.Source), other.Digest, transports.ImageName(img.Source), img.Digest)
			}
		}
	}
	return nil
}

// collect finds the distinct blobs of all images that have not failed.
func (s *Selection) collect() {
	for img := range s.Good() {
		for b := range image.BlobsOf(img.Documents) {
			if b.Kind != image.KindDocument {
				img.Needed = append(img.Needed, s.Fetcher.Need(img.fetched, b))
			}
		}
	}
}

// FetchConfigs reads the configs of an image.
func (s *Selection) FetchConfigs(ctx context.Context, img *Image) error {
	for _, blob := range img.Needed {
		if blob.Kind != image.KindConfig {
			continue
		}
		if !blob.Fetched() {
			if err := s.Fetcher.Fetch(ctx, blob); err != nil {
				return err
			}
		}
		if err := blob.Await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Config returns a config that has been fetched.
func (s *Selection) Config(d digest.Digest) []byte {
	s.configsMu.Lock()
	defer s.configsMu.Unlock()
	return s.configs[d]
}

// ContentOf returns an image whose configs have been fetched.
func (s *Selection) ContentOf(img *Image) *image.Image {
	content := &image.Image{
		Documents: img.Documents, Names: img.AllNames(),
		Configs: map[digest.Digest][]byte{}, Origins: map[digest.Digest]image.Origin{},
	}
	s.configsMu.Lock()
	defer s.configsMu.Unlock()
	for _, blob := range img.Needed {
		if data, ok := s.configs[blob.Digest]; ok {
			content.Configs[blob.Digest] = data
			if img.origins != nil {
				content.Origins[blob.Digest] = img.origins.Origin(blob.Digest)
			}
		}
	}
	img.describe(content)
	return content
}

// Done forgets the configs that no image after one needs.
func (s *Selection) Done(img *Image) {
	s.configsMu.Lock()
	defer s.configsMu.Unlock()
	for _, blob := range img.Needed {
		if blob.LastNeededBy(img.fetched) {
			delete(s.configs, blob.Digest)
		}
	}
}

// Plan returns the blobs of the images for an archive.
func (s *Selection) Plan() [][]image.Blob {
	var plan [][]image.Blob
	for img := range s.Good() {
		plan = append(plan, slices.Collect(image.BlobsOf(img.Documents)))
	}
	return plan
}

// Referrers say which referrers of images are saved: signatures, SBOMs, attestations
// and others, and referrers to those.
//
// They come from the referrers API, which is asked about the manifests that are saved,
// or from the referrers tag of the distribution specification where there is no API;
// and from cosign's tags. They refer to saved manifests only: a signature of an index
// is not found for the one platform that is taken from it. The policy is asked about
// the images, and not about their referrers.
type Referrers struct {
	// ArtifactTypes are those that are saved; none means all. A type is that of the
	// artifact or, if it has none, as with cosign's tags, of its layers.
	ArtifactTypes []string
}
