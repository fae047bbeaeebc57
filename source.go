package dockerarchive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/imageinfo"
	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// imageSource reads one image.
type imageSource struct {
	ref    archiveReference
	image  *catalog.Image
	reader *Reader
	owned  bool // reader is closed along with the source

	// only is the manifest that is meant if an index lacks this machine's; nil if the image is
	// meant as it is.
	only *digest.Digest

	mu     sync.Mutex
	warned map[digest.Digest]bool // manifests whose faults have been reported
}

// newImageSource opens the image that ref refers to. A reference that belongs
// to a Reader uses that.
func newImageSource(ctx context.Context, sys *types.SystemContext, ref archiveReference) (types.ImageSource, error) {
	s := &imageSource{ref: ref, reader: ref.reader}
	if s.reader == nil {
		r, err := ref.transport.newReader(ctx, sys, ref.path)
		if err != nil {
			return nil, err
		}
		s.reader, s.owned = r, true
		if err := ref.complete(ctx, r.catalog); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	var err error
	if s.image, _, err = s.reader.choose(ref, sys); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	// An error of reading it is returned when the manifest is asked for.
	warnings, _ := s.image.Settle(ctx)
	s.warn(warnings)
	s.choosePresent(ctx, sys)
	return s, nil
}

// warn logs the archive's claims about the image that are not believed.
func (s *imageSource) warn(warnings []string) {
	for _, w := range warnings {
		logrus.Warnf("%s:%s: %s", s.ref.transport.name, printable.String(s.ref.StringWithinTransport()), printable.String(w))
	}
}

// warnOf is warn for a manifest that the image's index lists, once.
func (s *imageSource) warnOf(ctx context.Context, instance digest.Digest) {
	if d, ok := s.image.Descriptor(); !ok || d.Digest == instance {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warned[instance] {
		return
	}
	if s.warned == nil {
		s.warned = map[digest.Digest]bool{}
	}
	s.warned[instance] = true
	warnings, _ := s.image.SettleInstance(ctx, instance)
	s.warn(warnings)
}

// Reference returns the reference that the source was opened with, without the digest of
// an index if the source stands for one of its manifests: containers/image would compare
// the two.
func (s *imageSource) Reference() types.ImageReference {
	if _, digested := s.ref.name.(reference.Digested); digested && s.only != nil {
		ref := s.ref
		ref.name = reference.TrimNamed(ref.name)
		return ref
	}
	return s.ref
}

// Close closes the archive, unless it belongs to a Reader.
func (s *imageSource) Close() error {
	if s.owned {
		return s.reader.Close()
	}
	return nil
}

// GetManifest returns the manifest or index as it is in the archive. If there is
// none, it returns a schema 2 manifest of uncompressed layers. If it is an index without this
// machine's platform, and the SystemContext that the source was opened with asks for none, it
// returns the manifest that is there instead.
func (s *imageSource) GetManifest(ctx context.Context, instanceDigest *digest.Digest) ([]byte, string, error) {
	wanted := instanceDigest
	if wanted == nil {
		wanted = s.only
	}
	data, mediaType, err := s.image.Manifest(ctx, wanted)
	if err != nil {
		if wanted != nil {
			err = s.reader.catalog.ExplainMissing(ctx, s.image, *wanted, err)
		}
		return nil, "", s.fail("reading the manifest", err)
	}
	if wanted != nil {
		s.warnOf(ctx, *wanted)
	}
	return data, mediaType, nil
}

// HasThreadSafeGetBlob returns true.
func (s *imageSource) HasThreadSafeGetBlob() bool { return true }

// GetBlob returns a config or a layer and its size, which is always known.
// Reading fails when ctx ends. As with every ImageSource, the caller must verify
// the digest; a layer that is decompressed here has been verified at its end.
func (s *imageSource) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	blob, err := s.image.Blob(ctx, info.Digest)
	if err != nil {
		if len(info.URLs) > 0 && errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("the layer is not in the archive but kept at %q: %w", info.URLs, err)
		}
		return nil, 0, s.fail("opening blob "+info.Digest.String(), err)
	}
	stream, err := blob.Open(ctx)
	if err != nil {
		return nil, 0, s.fail("opening blob "+info.Digest.String(), err)
	}
	return stream, blob.Size, nil
}

// GetSignatures returns none: archives have no place for those of GnuPG, and those of
// sigstore, which are images of their own, cannot be returned by a source outside of
// containers/image.
func (s *imageSource) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) {
	return [][]byte{}, nil
}

// LayerInfosForCopy returns nil: the manifest has the layers as they are.
func (s *imageSource) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

// LeftOut returns, for packages of this module that read archives, where a layer is that this
// archive was saved without and cannot borrow.
func (s *imageSource) LeftOut(d digest.Digest) (where image.Elsewhere, ok bool) {
	return s.reader.catalog.LeftOut(d)
}

// Stored returns, for packages of this module that read archives, the bytes that the archive
// has of a layer, compressed or not, for reading anywhere and concurrently, and the digest that
// they should have: it is empty if the layer is wanted in another form. Nothing is verified. It
// returns nil for a layer that is in another archive.
func (s *imageSource) Stored(ctx context.Context, d digest.Digest) (*io.SectionReader, digest.Digest, error) {
	blob, err := s.image.Blob(ctx, d)
	if err != nil {
		return nil, "", s.fail("opening blob "+d.String(), err)
	}
	if blob.IsBorrowed() {
		return nil, "", nil
	}
	at, stored := blob.Stored()
	return at, stored, nil
}

// Missing returns, for packages of this module that read archives, why the archive lacks a blob
// of the source that it has not left out on purpose; nil if it has it, or has left it out.
func (s *imageSource) Missing(ctx context.Context, d digest.Digest) error {
	_, err := s.image.Blob(ctx, d)
	var leftOut *errdef.LeftOutError
	if errors.As(err, &leftOut) {
		return nil
	}
	return err
}

// Origin returns what the archive says of an image of the source with this config,
// for packages of this module that write another archive.
func (s *imageSource) Origin(config digest.Digest) image.Origin { return s.image.Origin(config) }

func (s *imageSource) fail(doing string, err error) error {
	return fmt.Errorf("%s: %s: %s: %w", s.ref.transport.name, printable.String(s.ref.StringWithinTransport()), printable.String(doing), err)
}

// choosesPlatform reports whether sys says which platform is wanted.
func choosesPlatform(sys *types.SystemContext) bool {
	return sys != nil && (sys.OSChoice != "" || sys.ArchitectureChoice != "" || sys.VariantChoice != "")
}

// choosePresent has the source stand for a manifest of the image's index, if sys does not say
// which platform is wanted and this machine's is not there: for the only one that is, or the
// one that manifest.json names.
func (s *imageSource) choosePresent(ctx context.Context, sys *types.SystemContext) {
	if choosesPlatform(sys) {
		return
	}
	raw, mimeType, err := s.image.Manifest(ctx, nil)
	if err != nil || !manifest.MIMETypeIsMultiImage(mimeType) {
		return // GetManifest returns the error.
	}
	list, err := manifest.ListFromBlob(raw, mimeType)
	if err != nil {
		return
	}
	there := s.reader.catalog.Present(ctx, s.image)
	d, err := list.ChooseInstance(sys)
	if err == nil && slices.ContainsFunc(there, func(m imageinfo.Manifest) bool { return m.Digest == d }) {
		return
	}
	if meant, ok := s.image.Meant(there); ok {
		s.only = &meant.Digest
		logrus.Warnf("%s:%s: there is no image for this machine's platform; that for %s is taken", s.ref.transport.name, printable.String(s.ref.StringWithinTransport()), printable.String(meant.Platform.String()))
	}
}

// Made reports, for packages of this module that read archives, whether the archive has no
// manifest of the image, or none to be believed, so that GetManifest makes one.
func (s *imageSource) Made(ctx context.Context) bool {
	d, stored := s.image.Descriptor()
	if !stored {
		return true
	}
	raw, _, err := s.image.Manifest(ctx, nil)
	return err == nil && d.Digest.Algorithm().FromBytes(raw) != d.Digest
}
