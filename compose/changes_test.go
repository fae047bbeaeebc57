package compose

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runOf returns what a config says of containers.
func runOf(t *testing.T, c *Config) string {
	t.Helper()
	raw, err := json.Marshal(c.run)
	require.NoError(t, err)
	return string(raw)
}

func TestApply(t *testing.T) {
	for instruction, want := range map[string]string{
		`CMD ["a", "b c"]`:                     `{"Cmd":["a","b c"]}`,
		`cmd a  b`:                             `{"Cmd":["/bin/sh","-c","a  b"]}`,
		`CMD [a`:                               `{"Cmd":["/bin/sh","-c","[a"]}`,
		`ENTRYPOINT ["/app"]`:                  `{"Entrypoint":["/app"]}`,
		`ENTRYPOINT exec app`:                  `{"Entrypoint":["/bin/sh","-c","exec app"]}`,
		`ENV A=1 B="two words" C=x\ y D='$E"'`: `{"Env":["A=1","B=two words","C=x y","D=$E\""]}`,
		`ENV A one two`:                        `{"Env":["A=one two"]}`,
		`ENV A=`:                               `{"Env":["A="]}`,
		`ENV A="a\"b\\c\nd"`:                   `{"Env":["A=a\"b\\c\\nd"]}`,
		`LABEL a.b=c "d e"=f`:                  `{"Labels":{"a.b":"c","d e":"f"}}`,
		`EXPOSE 80 53/UDP 8000-8001`:           `{"ExposedPorts":{"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{}}}`,
		`VOLUME /a /b`:                         `{"Volumes":{"/a":{},"/b":{}}}`,
		`VOLUME ["/a b"]`:                      `{"Volumes":{"/a b":{}}}`,
		`USER app:app`:                         `{"User":"app:app"}`,
		`WORKDIR /a/../b/`:                     `{"WorkingDir":"/b"}`,
		`WORKDIR rel`:                          `{"WorkingDir":"/rel"}`,
		`STOPSIGNAL SIGINT`:                    `{"StopSignal":"SIGINT"}`,
		`SHELL ["/bin/bash", "-c"]`:            `{"Shell":["/bin/bash","-c"]}`,
		`ONBUILD RUN make`:                     `{"OnBuild":["RUN make"]}`,
		`HEALTHCHECK NONE`:                     `{"Healthcheck":{"Test":["NONE"]}}`,
		`HEALTHCHECK --interval=5s --retries=3 CMD curl -f x`:                         `{"Healthcheck":{"Test":["CMD-SHELL","curl -f x"],"Interval":5000000000,"Retries":3}}`,
		`HEALTHCHECK --start-period=1m --timeout=1s --start-interval=2s CMD ["curl"]`: `{"Healthcheck":{"Test":["CMD","curl"],"Timeout":1000000000,"StartPeriod":60000000000,"StartInterval":2000000000}}`,
	} {
		c := &Config{}
		require.NoError(t, c.Apply(instruction), instruction)
		assert.Equal(t, want, runOf(t, c), instruction)
	}
	c := &Config{}
	require.NoError(t, c.Apply("MAINTAINER Ada <a@example.com>"))
	assert.Equal(t, "Ada <a@example.com>", get[string](c.image, "author"))
}

func TestApplyRefuses(t *testing.T) {
	for instruction, want := range map[string]string{
		"":                              "not an instruction",
		"RUN make":                      "not an instruction",
		"FROM x":                        "not an instruction",
		"CMD":                           "wants an argument",
		"ENV A":                         "has no value",
		"ENV A=1 B":                     `"B" is not of the form`,
		"ENV =1":                        "not of the form",
		`ENV A="b`:                      "has no end",
		`ENV A=b\`:                      "has no end",
		"EXPOSE x":                      "is not a port",
		"EXPOSE x-80":                   "is not a port",
		"EXPOSE 9-8":                    "is not a port",
		"EXPOSE 70000":                  "is not a port",
		"SHELL bash":                    "a JSON array",
		"SHELL []":                      "a JSON array",
		"HEALTHCHECK curl":              "wants CMD",
		"HEALTHCHECK CMD":               "wants CMD",
		"HEALTHCHECK NONE x":            "wants CMD",
		"HEALTHCHECK --interval=x NONE": "--interval=x",
		"HEALTHCHECK --retries=x NONE":  "--retries=x",
		"HEALTHCHECK --x=1 NONE":        "no such flag",
	} {
		err := (&Config{}).Apply("USER ok", instruction)
		require.ErrorContains(t, err, want, instruction)
	}
}

// Later instructions see those before them, and what they say twice is said once.
func TestApplyInOrder(t *testing.T) {
	c := &Config{}
	require.NoError(t, c.Apply(`SHELL ["/bin/bash","-c"]`, "CMD x", "ENV A=1", "ENV B=2", "ENV A=3", "WORKDIR /a", "WORKDIR b", "LABEL l=1", "LABEL l=2"))
	assert.JSONEq(t, `{"Shell":["/bin/bash","-c"],"Cmd":["/bin/bash","-c","x"],"Env":["A=3","B=2"],"WorkingDir":"/a/b","Labels":{"l":"2"}}`, runOf(t, c))
	require.NoError(t, c.Apply(`ENTRYPOINT ["/e"]`))
	assert.NotContains(t, runOf(t, c), "Cmd", "another entrypoint has other arguments")
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
