package browsing

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	imagedoc "github.com/dockerarchive/dockerarchive/internal/image"
)

// referrerRow is something about an image: a signature, an SBOM or the like.
type referrerRow struct {
	Kind, URL, Digest string
	Size              int64
	Signers           []string
	Packages          string // URL, "" if it is no SBOM
}

const (
	mediaTypeInToto    = "application/vnd.in-toto+json"
	mediaTypeDSSE      = "application/vnd.dsse.envelope.v1+json"
	mediaTypeSimple    = "application/vnd.dev.cosign.simplesigning.v1+json"
	mediaTypeBundle    = "application/vnd.dev.sigstore.bundle"
	mediaTypeNotary    = "application/vnd.cncf.notary.signature"
	mediaTypeSPDX      = "application/spdx+json"
	mediaTypeSPDXText  = "text/spdx+json"
	mediaTypeCycloneDX = "application/vnd.cyclonedx+json"

	annotationReference   = "vnd.docker.reference.digest"
	annotationPredicate   = "in-toto.io/predicate-type"
	annotationCertificate = "dev.sigstore.cosign/certificate"
)

// maxReferrers bounds the blobs that are read for the referrers of one image.
const maxReferrers = 200

// referrers returns the referrers of an entry in the archive, and for an image of an index,
// also those in the index.
func (o *opened) referrers(ctx context.Context, s *shelf) []referrerRow {
	var about []*entry
	if o.info.Digest != "" {
		for _, img := range o.archive.Referrers(o.info.Digest) {
			d, err := img.Describe(ctx)
			if err != nil {
				continue
			}
			if e := s.entryOf(cmp.Or(d.Digest, d.Config), place{o.place.archive, img.Position}); e != nil {
				about = append(about, e)
			}
		}
	}
	if o.index != nil {
		about = append(about, o.attestations(ctx, s)...)
	}
	var rows []referrerRow
	for _, e := range about[:min(len(about), maxReferrers)] {
		rows = append(rows, e.referrerRow(ctx))
	}
	return rows
}

// attestations returns the attestations in an index about one of its images.
func (o *opened) attestations(ctx context.Context, s *shelf) (about []*entry) {
	index, err := o.index.openAt(ctx, o.place)
	if err != nil {
		return nil
	}
	defer index.done()
	for _, d := range index.manifest.Manifests() {
		if d.Annotations[annotationReference] == string(o.id) {
			if e := s.entryOf(d.Digest, o.place); e != nil {
				about = append(about, e)
			}
		}
	}
	return about
}

// referrerRow describes the entry as something about an image.
func (e *entry) referrerRow(ctx context.Context) referrerRow {
	row := referrerRow{Kind: artifactKind(e.info.ArtifactType), URL: e.url(), Digest: short(e.id), Size: e.info.Size}
	o, err := e.open(ctx)
	if err != nil {
		return row
	}
	defer o.done()
	layers := o.layers()
	row.Signers = o.signers(ctx, layers)
	if row.Kind == "" || row.Kind == "Artifact" || e.info.Attestation {
		row.Kind = layersKind(layers)
	}
	if sbomLayer(layers) >= 0 {
		row.Packages = e.url() + "/packages"
	}
	return row
}

// layers returns the layers of a manifest, nil if it cannot be read.
func (o *opened) layers() []imgspecv1.Descriptor {
	var fields struct {
		Layers []imgspecv1.Descriptor `json:"layers"`
	}
	if imagedoc.Decode("manifest", o.manifest.Data, &fields) != nil {
		return nil
	}
	return fields.Layers
}

// artifactKind explains an artifact type.
func artifactKind(artifactType string) string {
	switch t := artifactType; {
	case t == "", t == imgspecv1.MediaTypeEmptyJSON, t == imgspecv1.MediaTypeImageConfig:
		return "Artifact"
	case strings.HasPrefix(t, mediaTypeBundle), t == mediaTypeSimple:
		return "Signature (Sigstore)"
	case t == mediaTypeNotary:
		return "Signature (Notary Project)"
	case t == mediaTypeSPDX, t == mediaTypeSPDXText:
		return "SBOM (SPDX)"
	case t == mediaTypeCycloneDX:
		return "SBOM (CycloneDX)"
	case t == mediaTypeInToto:
		return "Attestation"
	default:
		return text(t)
	}
}

// layersKind describes the layers of an artifact.
func layersKind(layers []imgspecv1.Descriptor) string {
	var kinds []string
	for _, l := range layers {
		kind := artifactKind(l.MediaType)
		switch predicate := l.Annotations[annotationPredicate]; {
		case strings.HasPrefix(predicate, "https://spdx.dev/"):
			kind = "SBOM (SPDX)"
		case strings.HasPrefix(predicate, "https://cyclonedx.org/"):
			kind = "SBOM (CycloneDX)"
		case strings.HasPrefix(predicate, "https://slsa.dev/provenance"):
			kind = "Provenance (SLSA)"
		}
		if len(kinds) == 0 || kinds[len(kinds)-1] != kind {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 {
		return "Artifact"
	}
	return strings.Join(kinds[:min(len(kinds), 4)], ", ")
}

// maxSignature is how many bytes of a signature are read.
const maxSignature = 1 << 20

// signers returns the signers that signatures claim. Nothing is verified.
func (o *opened) signers(ctx context.Context, layers []imgspecv1.Descriptor) []string {
	var all []string
	for _, l := range layers[:min(len(layers), maxReferrers)] {
		switch {
		case l.MediaType == mediaTypeSimple:
			who := "a key"
			if block, _ := pem.Decode([]byte(l.Annotations[annotationCertificate])); block != nil {
				who = identity(block.Bytes)
			}
			all = append(all, who)
		case strings.HasPrefix(l.MediaType, mediaTypeBundle), l.MediaType == "application/jose+json":
			if data, err := o.read(ctx, l.Digest, maxSignature); err == nil {
				all = append(all, signerOf(data))
			}
		}
	}
	return all
}

// read reads a blob that is not too large.
func (o *opened) read(ctx context.Context, d digest.Digest, most int64) ([]byte, error) {
	b, err := o.image.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	if b.Size > most {
		return nil, errTooLarge
	}
	r, err := b.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // It was only read.
	return io.ReadAll(r)
}

// signerOf returns the signer of a Sigstore bundle or a JWS.
func signerOf(data []byte) string {
	type certificate struct {
		RawBytes []byte `json:"rawBytes"`
	}
	var document struct {
		Material struct {
			Certificate certificate `json:"certificate"`
			Chain       struct {
				Certificates []certificate `json:"certificates"`
			} `json:"x509CertificateChain"`
		} `json:"verificationMaterial"`
		Header struct {
			Chain [][]byte `json:"x5c"`
		} `json:"header"`
	}
	if imagedoc.Decode("signature", data, &document) != nil {
		return "an unreadable signature"
	}
	switch chain := document.Material.Chain.Certificates; {
	case len(document.Material.Certificate.RawBytes) > 0:
		return identity(document.Material.Certificate.RawBytes)
	case len(chain) > 0:
		return identity(chain[0].RawBytes)
	case len(document.Header.Chain) > 0:
		return identity(document.Header.Chain[0])
	}
	return "a key"
}

// issuers are the extensions of Fulcio's certificates with the issuer of the identity.
var issuers = map[string]bool{"1.3.6.1.4.1.57264.1.1": true, "1.3.6.1.4.1.57264.1.8": true}

// identity names the owner of a certificate.
func identity(der []byte) string {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return "an unreadable certificate"
	}
	who := c.Subject.String()
	switch {
	case len(c.EmailAddresses) > 0:
		who = c.EmailAddresses[0]
	case len(c.URIs) > 0:
		who = c.URIs[0].String()
	case len(c.DNSNames) > 0:
		who = c.DNSNames[0]
	}
	for _, e := range c.Extensions {
		if issuers[e.Id.String()] {
			issuer := bytes.TrimLeft(e.Value, "\x0c\x13\x16\x80\x81\x82")
			if at := bytes.Index(issuer, []byte("http")); at >= 0 {
				issuer = issuer[at:]
			}
			return text(who + " (" + string(issuer) + ")")
		}
	}
	return text(who)
}
