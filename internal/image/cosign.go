package image

import (
	"slices"

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
