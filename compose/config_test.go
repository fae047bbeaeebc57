package compose

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/errdef"
)

// runOf returns what a config says of containers.
func runOf(t *testing.T, c *Config) string {
	t.Helper()
	raw, err := json.Marshal(c.run)
	require.NoError(t, err)
	return string(raw)
}

func TestUnset(t *testing.T) {
	c, err := ParseConfig([]byte(`{"config":{"Env":["A=1","AB=2"],"Labels":{"a":"1","b":"2"},"OnBuild":["x"],"Cmd":["c"],"ArgsEscaped":true,"Novel":1}}`))
	require.NoError(t, err)
	c.UnsetEnv("A")
	c.UnsetLabel("a")
	c.ClearOnBuild()
	c.SetCmd(nil)
	c.SetHealthcheck(&Healthcheck{Interval: time.Second})
	c.SetHealthcheck(nil)
	assert.JSONEq(t, `{"Env":["AB=2"],"Labels":{"b":"2"},"Novel":1}`, runOf(t, c))
	c.UnsetLabel("b")
	c.UnsetEnv("AB")
	assert.JSONEq(t, `{"Novel":1}`, runOf(t, c))
	c.SetLabel("x", "y")
	c.ClearLabels()
	assert.JSONEq(t, `{"Novel":1}`, runOf(t, c))
}

// Fields that another tool has written in another form stay beside those that are set
// here.
func TestOddFieldsStay(t *testing.T) {
	c, err := ParseConfig([]byte(`{"config":{"Env":["A=1","B=2","A=3"],"Labels":{"n":1,"s":"x"},"Volumes":{"/v":null}}}`))
	require.NoError(t, err)
	c.SetEnv("A", "4")
	c.SetLabel("l", "")
	c.AddVolume("/w")
	assert.JSONEq(t, `{"Env":["A=4","B=2"],"Labels":{"n":1,"s":"x","l":""},"Volumes":{"/v":null,"/w":{}}}`, runOf(t, c))

	for _, run := range []string{`{"Env":"A=1"}`, `{"Env":[1]}`, `{"Labels":["l"]}`, `{"Volumes":"/v"}`, `{"ExposedPorts":[80]}`, `{"OnBuild":{}}`} {
		_, err := ParseConfig([]byte(`{"config":` + run + `}`))
		require.ErrorIs(t, err, errdef.ErrDamaged, run)
	}
}
