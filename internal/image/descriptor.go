package image

import (
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// CheckData returns what is wrong with the copy of its blob that a descriptor may have.
// Some clients take that for the blob, and others do not look at it.
func CheckData(d v1.Descriptor) error {
	if d.Data == nil {
		return nil
	}
	if got := d.Digest.Algorithm().FromBytes(d.Data); got != d.Digest {
		return errdef.Errorf(errdef.ErrDamaged, "the descriptor of %s has data that is another blob, %s", d.Digest, got)
	}
	return nil
}

// CheckListed returns what a descriptor says of a manifest or an index that is not so:
// its size, its type and its data.
func CheckListed(listed v1.Descriptor, raw []byte, f *Fields) error {
	if listed.Size != int64(len(raw)) {
		return errdef.Errorf(errdef.ErrDamaged, "the descriptor of %s says that it has %d bytes, but it has %d", listed.Digest, listed.Size, len(raw))
	}
	if is := f.Type(""); listed.MediaType != "" && listed.MediaType != is && (f.MediaType != "" || isIndexType(listed.MediaType) != f.IsIndex()) {
		return errdef.Errorf(errdef.ErrDamaged, "the descriptor of %s says that it is of type %s, but it is of type %s", listed.Digest, printable.String(listed.MediaType), printable.String(is))
	}
	return CheckData(listed)
}

func isIndexType(mediaType string) bool {
	return mediaType == v1.MediaTypeImageIndex || mediaType == DockerList
}

// Descriptors returns all that a document refers to.
func (f *Fields) Descriptors() []v1.Descriptor {
	var all []v1.Descriptor
	if f.Config != nil {
		all = append(all, *f.Config)
	}
	all = append(append(all, f.Layers...), f.Manifests...)
	if f.Subject != nil {
		all = append(all, *f.Subject)
	}
	return all
}
