package signing_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/podman/copying/internal/signing"
)

// transparencyLog is a log of one entry, as Rekor is.
type transparencyLog struct {
	key signerOf
	id  []byte
	der []byte
}

func newTransparencyLog(t *testing.T) transparencyLog {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	id := sha256.Sum256(der)
	return transparencyLog{signerOf{key, crypto.SHA256}, id[:], der}
}

// root is a trusted_root.json with the log.
func (l transparencyLog) root(t *testing.T) []byte {
	t.Helper()
	return encode(t, map[string]any{
		"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs": []any{map[string]any{
			"baseUrl": "https://rekor.example.com", "hashAlgorithm": "SHA2_256",
			"publicKey": map[string]any{"rawBytes": l.der, "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": map[string]any{"start": "2020-01-01T00:00:00Z"}},
			"logId":     map[string]any{"keyId": l.id},
		}},
	})
}

// enter returns an entry for an envelope and the proof that the log has it.
func (l transparencyLog) enter(t *testing.T, s signerOf, envelope map[string]any) map[string]any {
	t.Helper()
	signed := envelope["signatures"].([]any)[0].(map[string]any)["sig"].([]byte)
	payload := sha256.Sum256(envelope["payload"].([]byte))
	whole := sha256.Sum256(encode(t, envelope))
	hash := func(sum [32]byte) map[string]string {
		return map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
	}
	body := encode(t, map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
		"envelopeHash": hash(whole), "payloadHash": hash(payload),
		"signatures": []any{map[string]any{"signature": base64.StdEncoding.EncodeToString(signed), "verifier": s.public(t)}},
	}})
	leaf := sha256.Sum256(append([]byte{0}, body...))
	note := fmt.Sprintf("rekor.example.com - 1\n1\n%s\n", base64.StdEncoding.EncodeToString(leaf[:]))
	checkpoint := note + "\n— rekor.example.com " + base64.StdEncoding.EncodeToString(append(l.id[:4:4], l.key.sign(t, []byte(note))...)) + "\n"
	return map[string]any{
		"logIndex": "0", "logId": map[string]any{"keyId": l.id}, "kindVersion": map[string]string{"kind": "dsse", "version": "0.0.1"},
		"integratedTime": "1700000000", "canonicalizedBody": body,
		"inclusionProof": map[string]any{"logIndex": "0", "rootHash": leaf[:], "treeSize": "1", "hashes": []any{}, "checkpoint": map[string]string{"envelope": checkpoint}},
	}
}

// With a trusted root, a bundle that says that a log has it must prove that.
func TestTransparencyLog(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s := signerOf{key, crypto.SHA256}
	log, other := newTransparencyLog(t), newTransparencyLog(t)
	archive := func(change func(entry map[string]any)) []byte {
		a := newArchived(t)
		envelope := envelopeOf(t, s, inToto, statementOf(a.image.Digest, cosignSigned))
		material := map[string]any{"publicKey": map[string]string{"hint": "key"}}
		if change != nil {
			entry := log.enter(t, s, envelope)
			change(entry)
			material["tlogEntries"] = []any{entry}
		}
		a.refer(t, bundleType, bundleOf(t, map[string]any{"dsseEnvelope": envelope, "verificationMaterial": material}))
		return a.tar(t)
	}
	same := func(map[string]any) {}
	trusting := func(l transparencyLog) signing.Options {
		return signing.Options{Keys: [][]byte{s.public(t)}, TrustedRoot: l.root(t)}
	}
	assert.NoError(t, problems(t, archive(same), trusting(log)))
	assert.NoError(t, problems(t, archive(nil), trusting(log)), "it does not say that a log has it")
	assert.ErrorContains(t, problems(t, archive(same), trusting(other)), "not enough verified log entries")
	assert.ErrorContains(t, problems(t, archive(func(entry map[string]any) {
		proof := entry["inclusionProof"].(map[string]any)
		proof["rootHash"] = make([]byte, sha256.Size)
	}), trusting(log)), "log inclusion")
	assert.ErrorContains(t, problems(t, archive(func(entry map[string]any) {
		another := log.enter(t, s, envelopeOf(t, s, inToto, []byte(`{}`)))
		for key, value := range another {
			entry[key] = value
		}
	}), trusting(log)), "does not match")
}
