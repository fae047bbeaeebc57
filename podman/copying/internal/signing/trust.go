package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"go.podman.io/image/v5/docker/reference"
)

// Options say which signatures are accepted.
type Options struct {
	// Keys are public keys in PEM: ECDSA, RSA or ed25519. One of them must have signed
	// an image.
	Keys [][]byte
	// Identity is the repository that a signature must be for, such as
	// registry.example.com/team/app. By default that is the image's own, by each of
	// the names that it has in the archive. Signatures in bundles are for no repository.
	Identity string
	// Attestation is the type of an attestation that every image must have, in place of a
	// signature: the URI of its predicate, or one of cosign's names for some.
	Attestation string
	// TrustedRoot is sigstore's trusted_root.json. If it is not empty, every bundle that
	// comes with entries of a transparency log must prove that one of the logs in there has it.
	TrustedRoot []byte
}

// cosignSigned is the type of the attestations that cosign 3 makes to sign an image.
const cosignSigned = "https://sigstore.dev/cosign/sign/v1"

// predicates are the types of attestations that cosign has names for.
var predicates = map[string]string{
	"custom":           "https://cosign.sigstore.dev/attestation/v1",
	"cyclonedx":        "https://cyclonedx.org/bom",
	"link":             "https://in-toto.io/Link/v1",
	"openvex":          "https://openvex.dev/ns",
	"slsaprovenance":   "https://slsa.dev/provenance/v0.2",
	"slsaprovenance02": "https://slsa.dev/provenance/v0.2",
	"slsaprovenance1":  "https://slsa.dev/provenance/v1",
	"spdx":             "https://spdx.dev/Document",
	"spdxjson":         "https://spdx.dev/Document",
	"vuln":             "https://cosign.sigstore.dev/attestation/vuln/v1",
}

// predicateType returns the type of attestations that a user means.
func predicateType(name string) (string, error) {
	if known, ok := predicates[name]; ok || name == "" || name == cosignSigned {
		return known, nil
	}
	if _, err := url.ParseRequestURI(name); err != nil {
		return "", fmt.Errorf("the attestation %q is neither a URI nor one of cosign's names", name)
	}
	return name, nil
}

// trust holds the keys and logs that are trusted.
type trust struct {
	keys      []*publicKey
	predicate string
	logs      *root.TrustedRoot // nil if no log is asked for
}

func newTrust(o Options) (*trust, error) {
	t := &trust{}
	if len(o.Keys) == 0 {
		return nil, errors.New("there is no key")
	}
	for n, data := range o.Keys {
		key, err := newPublicKey(data)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", n+1, err)
		}
		t.keys = append(t.keys, key)
	}
	if o.Identity != "" {
		if _, err := reference.ParseNormalizedNamed(o.Identity); err != nil {
			return nil, fmt.Errorf("signed as %q: %w", o.Identity, err)
		}
	}
	var err error
	if t.predicate, err = predicateType(o.Attestation); err != nil {
		return nil, err
	}
	if len(o.TrustedRoot) > 0 {
		if t.logs, err = root.NewTrustedRootFromJSON(o.TrustedRoot); err != nil {
			return nil, fmt.Errorf("reading the trusted root: %w", err)
		}
	}
	return t, nil
}

// verify returns nil if one of the keys has signed a message.
func (t *trust) verify(signed, message []byte) error {
	for _, key := range t.keys {
		if key.VerifySignature(bytes.NewReader(signed), bytes.NewReader(message)) == nil {
			return nil
		}
	}
	return errNotSigned
}

var errNotSigned = errors.New("none of the keys has made the signature")

// publicKey verifies signatures in all ways that sigstore's clients make them with a key:
// cosign 2 hashes by SHA-256 for every curve, cosign 3 by the hash that fits the curve.
// It implements signature.Verifier.
type publicKey struct {
	key       crypto.PublicKey
	verifiers []signature.Verifier
}

func newPublicKey(data []byte) (*publicKey, error) {
	block, rest := pem.Decode(data)
	if block == nil || !strings.HasSuffix(block.Type, "PUBLIC KEY") {
		return nil, errors.New("it is no public key in PEM")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("the file has more than one block of PEM")
	}
	key, err := cryptoutils.UnmarshalPEMToPublicKey(data)
	if err != nil {
		return nil, err
	}
	//lint:ignore SA1019 Nothing else refuses keys that are too short.
	if err := cryptoutils.ValidatePubKey(key); err != nil {
		return nil, err
	}
	p := &publicKey{key: key}
	hashes := []crypto.Hash{crypto.SHA256}
	if _, ok := key.(*ecdsa.PublicKey); ok {
		hashes = append(hashes, crypto.SHA384, crypto.SHA512)
	}
	for _, hash := range hashes {
		v, err := signature.LoadVerifier(key, hash)
		if err != nil {
			return nil, err
		}
		p.verifiers = append(p.verifiers, v)
	}
	if _, ok := key.(ed25519.PublicKey); ok { // Bundles sign messages by their digest.
		v, err := signature.LoadDefaultVerifier(key, options.WithED25519ph())
		if err != nil {
			return nil, err
		}
		p.verifiers = append(p.verifiers, v)
	}
	return p, nil
}

// PublicKey implements signature.PublicKeyProvider.
func (p *publicKey) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return p.key, nil
}

// VerifySignature implements signature.Verifier.
func (p *publicKey) VerifySignature(signed, message io.Reader, opts ...signature.VerifyOption) error {
	s, err := io.ReadAll(signed)
	if err != nil {
		return err
	}
	m, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	for _, v := range p.verifiers {
		if v.VerifySignature(bytes.NewReader(s), bytes.NewReader(m), opts...) == nil {
			return nil
		}
	}
	return errNotSigned
}
