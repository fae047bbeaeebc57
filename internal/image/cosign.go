package image

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// AnnotationKind is what cosign's save writes, and its load and verify --local-image look
// for, in an index.json that has one image: which descriptor is what.
const AnnotationKind = "kind"

// The kinds that cosign knows.
const (
	CosignImage        = "dev.cosignproject.cosign/image"
	CosignIndex        = "dev.cosignproject.cosign/imageIndex"
	CosignSignatures   = "dev.cosignproject.cosign/sigs"
	CosignAttestations = "dev.cosignproject.cosign/atts"
)

// CosignSubject returns what the signatures and attestations in an index.json are about that
// cosign wrote, "" if it says nothing of an image.
func CosignSubject(listed []v1.Descriptor) digest.Digest {
	n := slices.IndexFunc(listed, func(d v1.Descriptor) bool {
		kind := d.Annotations[AnnotationKind]
		return kind == CosignImage || kind == CosignIndex
	})
	if n < 0 || listed[n].Digest.Validate() != nil {
		return ""
	}
	return listed[n].Digest
}

// CosignTag returns the digest tag under which cosign has something in a registry that
// index.json knows by its kind only; "" for anything else. subject is what CosignSubject
// returns.
func CosignTag(d v1.Descriptor, subject digest.Digest) string {
	kinds := map[string]string{CosignSignatures: TagSignature, CosignAttestations: TagAttestation}
	tag, ok := kinds[d.Annotations[AnnotationKind]]
	if !ok || subject == "" {
		return ""
	}
	return DigestTag(subject, tag)
}

// SavedByCosign returns the image of an index.json that cosign's save has written, which gives it
// no name and lists no more than its signatures and attestations; "" of any other. This project
// writes kinds, too, but beside names.
func SavedByCosign(listed []v1.Descriptor) digest.Digest {
	const kinds = 3
	if len(listed) > kinds || slices.ContainsFunc(listed, func(d v1.Descriptor) bool { return len(d.Annotations) > 1 }) {
		return ""
	}
	return CosignSubject(listed)
}

// CosignUnlisted returns the referrers that cosign 3 has saved with an image and does not list: it
// finds them by reading all blobs. listed is what index.json has, paths are those of the layout's
// files, and object returns the content of a JSON object, nil for anything else. The digests of
// the result have not been checked.
func CosignUnlisted(listed []v1.Descriptor, paths iter.Seq[string], object func(path string) []byte) []v1.Descriptor {
	subject := SavedByCosign(listed)
	if subject == "" {
		return nil
	}
	sizes := map[digest.Digest]int64{} // of the blobs found
	for path := range paths {
		rest, isBlob := strings.CutPrefix(path, v1.ImageBlobsDir+"/")
		algorithm, encoded, _ := strings.Cut(rest, "/")
		d, err := digest.Parse(algorithm + ":" + encoded)
		if !isBlob || err != nil || slices.ContainsFunc(listed, func(l v1.Descriptor) bool { return l.Digest == d }) {
			continue
		}
		data := object(path)
		var fields Fields
		if data == nil || Decode(path, data, &fields) != nil || fields.Subject == nil || fields.Subject.Digest != subject || fields.Config == nil {
			continue
		}
		sizes[d] = int64(len(data))
	}
	var found []v1.Descriptor // Sorting the descriptors themselves would add 25 KB to a program.
	for _, d := range slices.Sorted(maps.Keys(sizes)) {
		found = append(found, v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: d, Size: sizes[d]})
	}
	return found
}
