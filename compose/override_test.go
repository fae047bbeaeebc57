package compose

import (
	"encoding/json"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
)

func TestOverride(t *testing.T) {
	c, err := ParseConfig([]byte(`{"os":"linux","architecture":"amd64","author":"a","rootfs":{"type":"layers"},"created":"2020-01-01T00:00:00Z",
		"config":{"User":"u","Env":["A=1","B=2"],"Cmd":["c"],"Tty":true,"OpenStdin":true,"ExposedPorts":{"80/tcp":{}},"Labels":{"a":"1","b":"2"},"Volumes":{"/v":{}},"Novel":1}}`))
	require.NoError(t, err)
	other, err := ParseOverrides([]byte(`{"architecture":"arm64","variant":"v8","author":"","os.features":["x"],"rootfs":{"diff_ids":["sha256:x"]},"created":"1999-01-01T00:00:00Z",
		"config":{"User":"","WorkingDir":"/w","Env":["B=3","C=4"],"Cmd":null,"Entrypoint":["e"],"Tty":false,"ExposedPorts":{"53/udp":{}},"Labels":{"b":"3"},"Volumes":null,"Healthcheck":{"Test":["NONE"]}}}`))
	require.NoError(t, err)
	c.Override(other)
	assert.JSONEq(t, `{"User":"u","WorkingDir":"/w","Env":["A=1","B=3","C=4"],"Cmd":["c"],"Entrypoint":["e"],"Tty":false,"OpenStdin":true,
		"ExposedPorts":{"80/tcp":{},"53/udp":{}},"Labels":{"a":"1","b":"3"},"Volumes":{"/v":{}},"Novel":1,"Healthcheck":{"Test":["NONE"]}}`, runOf(t, c))
	raw, err := json.Marshal(c.image)
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"created":"2020-01-01T00:00:00Z"`)
	assert.NotContains(t, string(raw), "sha256:x")
	assert.Contains(t, string(raw), `"author":"a"`)
	assert.Equal(t, v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8", OSFeatures: []string{"x"}}, c.Platform())

	// Only what is said of containers.
	other, err = ParseOverrides([]byte(`{"User":"me","Env":["A=2"]}`))
	require.NoError(t, err)
	c = &Config{}
	c.Override(other)
	assert.JSONEq(t, `{"User":"me","Env":["A=2"]}`, runOf(t, c))
	_, err = ParseOverrides([]byte(`[]`))
	require.ErrorIs(t, err, errdef.ErrDamaged)
	_, err = ParseOverrides([]byte(`{"config":7}`))
	require.ErrorIs(t, err, errdef.ErrDamaged)
}

func TestPortsAndVolumes(t *testing.T) {
	c := &Config{}
	c.AddPort("80")
	c.AddPort("53/udp")
	c.AddVolume("/v")
	c.AddVolume("/w")
	c.RemovePort("80/tcp")
	c.RemoveVolume("/v")
	assert.JSONEq(t, `{"ExposedPorts":{"53/udp":{}},"Volumes":{"/w":{}}}`, runOf(t, c))
	c.RemovePort("53/udp")
	c.RemoveVolume("/w")
	c.RemoveVolume("/none")
	assert.JSONEq(t, `{}`, runOf(t, c))
}

// A change does not reach the base: other images may be built on it.
func TestClone(t *testing.T) {
	c, err := ParseConfig([]byte(`{"config":{"Env":["A=1"]}}`))
	require.NoError(t, err)
	d := c.clone()
	d.SetEnv("A", "2")
	d.SetAuthor("x")
	assert.JSONEq(t, `{"Env":["A=1"]}`, runOf(t, c))
	assert.NotContains(t, c.image, "author")
}

// Adopted settings replace all that there are; fields that this package does not know
// stay.
func TestAdopt(t *testing.T) {
	c, err := ParseConfig([]byte(`{"os":"linux","architecture":"amd64","author":"base","config":{"Env":["A=1","B=2"],"Cmd":["x"],"Labels":{"a":"b"},"Unknown":1,"User":"u"}}`))
	require.NoError(t, err)
	other, err := ParseConfig([]byte(`{"architecture":"arm64","author":"","config":{"Env":["B=2","A=3"],"Cmd":[],"Labels":null,"Volumes":{"/v":{}},"User":"u","Hostname":"h"}}`))
	require.NoError(t, err)
	c.Adopt(other)
	raw, err := c.encode(OCI, nil)
	require.NoError(t, err)
	assert.JSONEq(t, `{"architecture":"arm64","os":"linux","author":"base","config":{"Env":["B=2","A=3"],"Volumes":{"/v":{}},"Unknown":1,"User":"u"}}`, string(raw))
}
