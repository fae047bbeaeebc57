package serving_test

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An image with SHA-512 digests is served under those.
func TestSHA512(t *testing.T) {
	s := serve(t, "../testdata/cases/sha512.tar")
	raw := s.get("sha512/manifests/v1")
	top := fmt.Sprintf("sha512:%x", sha512.Sum512(raw))
	assert.Equal(t, raw, s.get("sha512/manifests/"+top))
	assert.Equal(t, http.StatusOK, s.status("sha512/referrers/"+top))
	var m v1.Manifest
	require.NoError(t, json.Unmarshal(raw, &m))
	for _, d := range append(m.Layers, m.Config) {
		blob := s.get("sha512/blobs/" + d.Digest.String())
		assert.Equal(t, d.Digest.String(), fmt.Sprintf("sha512:%x", sha512.Sum512(blob)))
	}
}
