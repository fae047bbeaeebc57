// Package pushing puts a Selection into registries: only blobs that they have not got, each
// once, and a name when all of its image is there. It does not know where images come from.
package pushing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/podman/copying/internal/selecting"
	"github.com/dockerarchive/dockerarchive/podman/internal/layouts"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
	"github.com/dockerarchive/dockerarchive/progress"
)

// ErrLeftOut is the error of Push if it kept going, and results say why some images were
// not pushed.
var ErrLeftOut = errors.New("not all images could be pushed")

// Push puts images into registries.
func Push(ctx context.Context, images []Wanted, o Options) ([]Result, error) {
	p, err := newPusher(images, o)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.prepare(ctx); err != nil {
		return p.results(), err
	}
	for _, phase := range p.phases() {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(p.options.Select.Jobs)
		for _, img := range phase {
			g.Go(func() error { return p.fail(img, p.push(gctx, img)) })
		}
		if err := g.Wait(); err != nil {
			return p.results(), err
		}
		if err := ctx.Err(); err != nil {
			return p.results(), context.Cause(ctx)
		}
	}
	if slices.ContainsFunc(p.images, func(img *pushedImage) bool { return img.result.Err != nil }) {
		return p.results(), ErrLeftOut
	}
	return p.results(), nil
}

// pusher is one call of Push.
type pusher struct {
	*sender
	reading *selecting.Selection // reads and checks the manifests
	images  []*pushedImage
	blobs   *sentBlobs
	made    *madeLayers
}

func newPusher(images []Wanted, o Options) (*pusher, error) {
	p := &pusher{sender: &sender{options: o, client: registries.New(o.DestinationCtx)}}
	selects := &p.options.Select
	if selects.Jobs <= 0 {
		selects.Jobs = selecting.DefaultJobs
	}
	if selects.Progress == nil {
		selects.Progress = func(progress.Event) {}
	}
	if err := checkTargets(images); err != nil {
		return nil, err
	}
	var hosts sources.Hosts
	for _, img := range images {
		for _, target := range img.Targets {
			if err := hosts.Add(o.DestinationCtx, target); err != nil {
				return nil, fmt.Errorf("pushing images: %w", err)
			}
		}
	}
	wanted := make([]selecting.Wanted, len(images))
	for n, img := range images {
		wanted[n] = img.Wanted
		wanted[n].Name, wanted[n].Names, wanted[n].FreeName = nil, nil, ""
		wanted[n].Whole = true
	}
	selects.Op, selects.AnyPlatform = "pushing", true
	var err error
	if selects.Layout, err = layouts.Of(nil, selects.SourceCtx); err != nil {
		return nil, err
	}
	if p.reading, err = selecting.New(wanted, *selects); err != nil {
		return nil, fmt.Errorf("pushing images: %w", err)
	}
	p.waiting = p.reading.Waiting
	p.made = newMadeLayers(o.Zstd, p.tempDir())
	p.blobs = newSentBlobs(p.sender, p.made)
	for n, img := range images {
		img.Targets = slices.Clone(img.Targets)
		p.images = append(p.images, &pushedImage{Image: p.reading.Images[n], result: Result{Image: img}})
	}
	return p, nil
}

// checkTargets fails if something is no name to push to.
func checkTargets(images []Wanted) error {
	if len(images) == 0 {
		return errors.New("pushing images: none is given")
	}
	for _, img := range images {
		targets := img.Targets
		if img.Otherwise != nil {
			targets = append(slices.Clone(targets), img.Otherwise)
		}
		for _, target := range targets {
			_, digested := target.(reference.Digested)
			if _, tagged := target.(reference.Tagged); tagged == digested {
				return fmt.Errorf("pushing %s: %s must have either a tag or a digest", transports.ImageName(img.Source), target)
			}
		}
	}
	return nil
}

func (p *pusher) close() {
	p.made.close()
	p.client.Close()
	p.reading.Close()
}

// tempDir is for layers that are compressed.
func (p *pusher) tempDir() string {
	if sys := p.options.Select.SourceCtx; sys != nil {
		return sys.BigFilesTemporaryDir
	}
	return ""
}

// prepare reads all manifests and finds out where the images go.
func (p *pusher) prepare(ctx context.Context) error {
	err := p.reading.Read(ctx)
	for _, img := range p.images {
		img.result.Digest, img.result.Warnings, img.result.Err = img.Digest, img.Warnings, p.reading.Err(img.Image)
	}
	if err != nil {
		return err
	}
	for _, img := range p.images {
		if img.result.Err != nil {
			continue
		}
		if img.isMade = img.IsMade(ctx); img.isMade {
			img.result.Digest = ""
		}
		if err := p.fail(img, img.fitTargets()); err != nil {
			return err
		}
		for _, document := range img.Documents {
			if document.Subject != nil && !img.Has(document.Subject.Digest) { // No part of the image itself.
				img.about = append(img.about, document.Subject.Digest)
			}
		}
	}
	for _, img := range p.images { // A referrer goes where its subject is.
		if len(img.about) > 0 || len(img.result.Image.Targets) > 0 || img.result.Err != nil {
			continue
		}
		if subject, ok := img.tagSubject(); ok {
			img.about = append(img.about, subject)
		} else if img.result.Image.Otherwise != nil {
			img.result.Image.Targets = []reference.Named{img.result.Image.Otherwise}
		}
	}
	p.place()
	for _, img := range p.images {
		switch {
		case img.result.Err != nil || len(img.result.Image.Targets) > 0:
		case img.result.Image.Otherwise != nil:
			img.result.Image.Targets = []reference.Named{img.result.Image.Otherwise}
		default:
			if err := p.fail(img, errors.New("it has no name, and is about no image that is pushed")); err != nil {
				return err
			}
		}
	}
	p.noteSources()
	if err := p.checkTaken(); err != nil || p.options.Planned == nil {
		return err
	}
	return p.options.Planned(p.results())
}

// fail records an error of an image, and returns it if it ends the others too.
func (p *pusher) fail(img *pushedImage, err error) error {
	if err == nil {
		return nil
	}
	img.result.Err = p.reading.ErrorOf(img.Image, err)
	if p.options.Select.KeepGoing && !selecting.IsLocal(err) {
		return nil
	}
	return img.result.Err
}

func (p *pusher) results() []Result {
	results := make([]Result, len(p.images))
	for n, img := range p.images {
		results[n] = img.result
	}
	return results
}

// push puts an image into all of its repositories.
func (p *pusher) push(ctx context.Context, img *pushedImage) error {
	if img.isMade {
		if err := p.made.complete(ctx, img); err != nil {
			return err
		}
		if err := img.nameMade(); err != nil {
			return err
		}
	}
	var missing []reference.Named
	for _, target := range img.result.Image.Targets {
		there, err := p.isThere(ctx, img, target)
		if err != nil {
			return err
		}
		if !there {
			missing = append(missing, target)
			continue
		}
		p.blobs.remember(img, target) // An image for another repository can mount them from here.
	}
	img.result.UpToDate = len(missing) == 0
	repositories := map[string]bool{}
	for _, target := range missing {
		if err := p.pushTo(ctx, img, target, !repositories[target.Name()]); err != nil {
			return err
		}
		repositories[target.Name()] = true
	}
	return p.list(ctx, img)
}

// pushTo puts an image, unless only its name is missing, into a repository.
func (p *pusher) pushTo(ctx context.Context, img *pushedImage, target reference.Named, all bool) error {
	if all {
		if err := p.pushContent(ctx, img, reference.TrimNamed(target)); err != nil {
			return err
		}
	}
	if p.options.DryRun {
		return nil
	}
	if added, err := p.addToList(ctx, img, target); added || err != nil {
		return err
	}
	err := p.putManifest(ctx, img, img.Top(), target)
	if err != nil && len(img.Missing) > 0 {
		err = fmt.Errorf("%w (%w)", err, &errdef.MissingError{Missing: img.Missing})
	}
	if err != nil {
		return err
	}
	return p.confirm(ctx, img, target)
}

// pushContent puts all into a repository that an image leads to.
func (p *pusher) pushContent(ctx context.Context, img *pushedImage, to reference.Named) error {
	if err := p.blobs.putLeftOut(ctx, img, to); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	seen := map[digest.Digest]bool{}
	for b := range image.BlobsOf(img.Documents) {
		_, leftOut := p.blobs.leftOut[b.Digest]
		if b.Kind == image.KindDocument || leftOut || seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		g.Go(func() error { return p.blobs.put(gctx, img, to, b) })
	}
	if err := g.Wait(); err != nil || p.options.DryRun {
		return err
	}
	for _, document := range img.Documents[:len(img.Documents)-1] {
		name, err := reference.WithDigest(to, document.Descriptor.Digest)
		if err != nil {
			return err
		}
		if err := p.putManifest(ctx, img, document, name); err != nil {
			return err
		}
	}
	return nil
}
