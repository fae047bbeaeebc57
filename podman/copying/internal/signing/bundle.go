package signing

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	sigstoredsse "github.com/sigstore/sigstore/pkg/signature/dsse"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

const inToto = "application/vnd.in-toto+json"

// bundle looks at a bundle of sigstore: a signed attestation, or the signature of a manifest.
func (c *carrier) bundle(data []byte) (about digest.Digest, err error) {
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(data); err != nil {
		return "", fmt.Errorf("reading the bundle: %w", err)
	}
	content, err := b.SignatureContent()
	if err != nil {
		return "", err
	}
	if message := content.MessageSignatureContent(); message != nil {
		return c.message(b, message)
	}
	if err := c.verifyBundle(b, verify.WithoutArtifactUnsafe); err != nil { // It names its subject itself.
		return "", err
	}
	raw := content.EnvelopeContent().RawEnvelope()
	body, err := raw.DecodeB64Payload()
	if err != nil {
		return "", err
	}
	return "", c.attest(raw.PayloadType, body)
}

// message looks at a signature of the bytes of a manifest.
func (c *carrier) message(b *bundle.Bundle, message verify.MessageSignatureContent) (about digest.Digest, err error) {
	if about = c.subject(); about == "" {
		if about, err = digest.Parse("sha256:" + hex.EncodeToString(message.Digest())); err != nil {
			return "", fmt.Errorf("it is of something else than a manifest: %w", err)
		}
	}
	manifest, err := c.archive.Blob(about)
	if err != nil {
		return about, fmt.Errorf("reading what is signed: %w", err)
	}
	if err := c.verifyBundle(b, func() verify.ArtifactPolicyOption { return verify.WithArtifact(bytes.NewReader(manifest)) }); err != nil {
		return about, err
	}
	c.found.add(about, statement{})
	return about, nil
}

// verifyBundle returns nil if one of the keys has signed a bundle, and a log has it, if
// that is demanded and the bundle says so. artifact returns the signed content, for each key
// anew: it may be a stream.
func (c *carrier) verifyBundle(b *bundle.Bundle, artifact func() verify.ArtifactPolicyOption) error {
	options := []verify.VerifierOption{verify.WithNoObserverTimestamps()} // Keys of users do not expire.
	entries, err := b.TlogEntries()
	if err != nil {
		return err
	}
	if c.trust.logs != nil && len(entries) > 0 {
		options = []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithCurrentTime()}
	}
	var failed error
	for _, key := range c.trust.keys {
		verifier, err := verify.NewVerifier(&material{key: key, logs: c.trust.logs}, options...)
		if err != nil {
			return err
		}
		_, err = verifier.Verify(b, verify.NewPolicy(artifact(), verify.WithKey()))
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// material is a key and, if they are asked for, the logs of a trusted root.
type material struct {
	root.BaseTrustedMaterial
	key  *publicKey
	logs *root.TrustedRoot
}

// PublicKeyVerifier implements root.TrustedMaterial. The key that a bundle names is only a
// hint.
func (m *material) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	return root.NewExpiringKey(m.key, time.Time{}, time.Time{}), nil
}

// RekorLogs implements root.TrustedMaterial.
func (m *material) RekorLogs() map[string]*root.TransparencyLog {
	if m.logs == nil {
		return nil
	}
	return m.logs.RekorLogs()
}

// envelope looks at an attestation as cosign 2 keeps it, without a bundle.
func (c *carrier) envelope(data []byte) (about digest.Digest, err error) {
	var e dsse.Envelope
	if err := image.Decode("the envelope", data, &e); err != nil {
		return "", err
	}
	var failed error
	for _, key := range c.trust.keys {
		v, err := dsse.NewEnvelopeVerifier(&sigstoredsse.VerifierAdapter{SignatureVerifier: key, Pub: key.key})
		if err != nil {
			return "", err
		}
		if _, err = v.Verify(context.Background(), &e); err == nil {
			body, err := e.DecodeB64Payload()
			if err != nil {
				return "", err
			}
			return "", c.attest(e.PayloadType, body)
		}
		failed = errors.Join(failed, err)
	}
	return "", fmt.Errorf("verifying the envelope: %w", failed)
}

// attest records an attestation for its subjects, after its signature has been verified.
func (c *carrier) attest(payloadType string, body []byte) error {
	if payloadType != inToto {
		return fmt.Errorf("it is signed content of the type %q", printable.String(payloadType))
	}
	var s struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := image.Decode("the statement", body, &s); err != nil {
		return err
	}
	if s.Type != "https://in-toto.io/Statement/v1" && s.Type != "https://in-toto.io/Statement/v0.1" {
		return fmt.Errorf("it is a statement of the type %q", printable.String(s.Type))
	}
	if s.PredicateType == "" {
		return errors.New("it is a statement without a type")
	}
	for _, subject := range s.Subject {
		for algorithm, hex := range subject.Digest {
			if d, err := digest.Parse(algorithm + ":" + hex); err == nil {
				c.found.add(d, statement{predicate: s.PredicateType})
			}
		}
	}
	return nil
}
