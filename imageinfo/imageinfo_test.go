package imageinfo_test

import (
	"encoding/json"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/imageinfo"
)

// A platform is one string in JSON, and not there if nobody knows it.
func TestPlatformInJSON(t *testing.T) {
	m := imageinfo.Manifest{Platform: imageinfo.NewPlatform(&v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"})}
	raw, err := json.Marshal(m)
	require.NoError(t, err)
	assert.JSONEq(t, `{"mediaType":"","platform":"linux/arm64/v8","layers":0,"size":0}`, string(raw))
	var again imageinfo.Manifest
	require.NoError(t, json.Unmarshal(raw, &again))
	assert.Equal(t, m, again)

	raw, err = json.Marshal(imageinfo.Manifest{Platform: imageinfo.NewPlatform(nil)})
	require.NoError(t, err)
	assert.NotContains(t, string(raw), "platform")
	assert.Empty(t, imageinfo.Platform{}.String())
}
