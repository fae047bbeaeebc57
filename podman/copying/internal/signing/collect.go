package signing

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/loadable"
)

// The types of layers that hold signatures.
const (
	simpleSigning  = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsseEnvelope   = "application/vnd.dsse.envelope.v1+json" // cosign 2's attestations
	sigstoreBundle = "application/vnd.dev.sigstore.bundle"   // a prefix: versions follow
)

// signatureOf is the annotation of a layer of simpleSigning.
const signatureOf = "dev.cosignproject.cosign/signature"

// collect looks at everything in an archive that could be a signature or an attestation.
// Its place and its unsigned subject prove nothing: anybody can write them. A signed
// statement names its subject itself.
func collect(ctx context.Context, a *loadable.Archive, t *trust) (*evidence, error) {
	e := &evidence{wanted: t.predicate, statements: map[digest.Digest][]statement{}, rejected: map[digest.Digest][]error{}}
	for _, doc := range a.Documents() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if doc.Err != nil {
			continue // If a client loads it, it needs a signature.
		}
		for _, layer := range doc.Fields.Layers {
			c := carrier{archive: a, trust: t, found: e, document: doc, layer: layer}
			c.read()
		}
	}
	return e, nil
}

// carrier is a layer that holds a signature or an attestation.
type carrier struct {
	archive  *loadable.Archive
	trust    *trust
	found    *evidence
	document *loadable.Document
	layer    v1.Descriptor
}

func (c *carrier) read() {
	var look func(data []byte) (about digest.Digest, err error)
	switch t := c.layer.MediaType; {
	case t == simpleSigning:
		look = c.simple
	case t == dsseEnvelope:
		look = c.envelope
	case strings.HasPrefix(t, sigstoreBundle):
		look = c.bundle
	default:
		return
	}
	data, err := c.archive.Blob(c.layer.Digest)
	var about digest.Digest
	if err == nil {
		about, err = look(data)
	}
	if err == nil {
		return
	}
	err = fmt.Errorf("%s: %w", c.document.Digest, err)
	subject := c.subject()
	if about != "" && about != subject {
		c.found.reject(about, err)
	}
	c.found.reject(subject, err)
}

// subject is the signature's subject according to the archive. It is good for messages
// only.
func (c *carrier) subject() digest.Digest {
	if c.document.Fields.Subject == nil {
		return c.archive.About(c.document.Digest)
	}
	return c.document.Fields.Subject.Digest
}

// payload is the document that cosign signs, in the format of Red Hat's simple signing.
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest digest.Digest `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
}

// simple looks at a signature as cosign 1 and 2 make them.
func (c *carrier) simple(data []byte) (about digest.Digest, err error) {
	var p payload
	if err := image.Decode("what is signed", data, &p); err != nil {
		return "", err
	}
	about = p.Critical.Image.Digest
	encoded, ok := c.layer.Annotations[signatureOf]
	if !ok {
		return about, fmt.Errorf("missing %s annotation", signatureOf)
	}
	signed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return about, fmt.Errorf("decoding the signature: %w", err)
	}
	if err := c.trust.verify(signed, data); err != nil {
		return about, err
	}
	if p.Critical.Type != "cosign container image signature" {
		return about, fmt.Errorf("it is a signature of the type %q", p.Critical.Type)
	}
	if err := about.Validate(); err != nil {
		return "", fmt.Errorf("it is of the digest %q: %w", about, err)
	}
	if p.Critical.Identity.Reference == "" {
		return about, errors.New("it is for no repository")
	}
	c.found.add(about, statement{repository: p.Critical.Identity.Reference})
	return about, nil
}
