package making_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// applied returns the part of a config for containers after some instructions.
func applied(t *testing.T, begin string, lines ...string) (string, error) {
	t.Helper()
	config, err := compose.ParseConfig([]byte(`{"config":` + begin + `}`))
	require.NoError(t, err)
	if err := making.Apply(config, lines...); err != nil {
		return "", err
	}
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	var document struct{ Config json.RawMessage }
	require.NoError(t, json.Unmarshal(raw, &document))
	return string(document.Config), nil
}

func TestApply(t *testing.T) {
	for instruction, want := range map[string]string{
		`CMD ["a", "b c"]`:                      `{"Cmd":["a","b c"]}`,
		`cmd a  b`:                              `{"Cmd":["/bin/sh","-c","a  b"]}`,
		`ENTRYPOINT ["/app"]`:                   `{"Entrypoint":["/app"]}`,
		`ENV A=1 B="two words" C=x\ y D='$E"'`:  `{"Env":["A=1","B=two words","C=x y","D=$E\""]}`,
		`ENV A one two`:                         `{"Env":["A=one two"]}`,
		`ENV A=`:                                `{"Env":["A="]}`,
		`LABEL a.b=c "d e"=f`:                   `{"Labels":{"a.b":"c","d e":"f"}}`,
		`EXPOSE 80 53/UDP 8000-8001 9000:90`:    `{"ExposedPorts":{"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{},"90/tcp":{}}}`,
		`VOLUME /a /b`:                          `{"Volumes":{"/a":{},"/b":{}}}`,
		`VOLUME ["/a b"]`:                       `{"Volumes":{"/a b":{}}}`,
		`USER "quoted"`:                         `{"User":"quoted"}`,
		`WORKDIR "/q/../b/"`:                    `{"WorkingDir":"/b"}`,
		`WORKDIR rel`:                           `{"WorkingDir":"/rel"}`,
		`STOPSIGNAL SIGINT`:                     `{"StopSignal":"SIGINT"}`,
		`ONBUILD RUN make $A`:                   `{"OnBuild":["RUN make $A"]}`,
		`HEALTHCHECK NONE`:                      `{"Healthcheck":{"Test":["NONE"]}}`,
		`HEALTHCHECK --retries=3 CMD curl -f x`: `{"Healthcheck":{"Test":["CMD-SHELL","curl -f x"],"Retries":3}}`,
	} {
		got, err := applied(t, `{}`, instruction)
		require.NoError(t, err, instruction)
		assert.JSONEq(t, want, got, instruction)
	}
}

func TestApplyExpandsVariables(t *testing.T) {
	const begin = `{"Env":["PATH=/bin","A=aval","P=80 443","S=TERM"]}`
	for instruction, want := range map[string]string{
		`ENV PATH=/opt/bin:$PATH`:       `"PATH=/opt/bin:/bin"`,
		`ENV X=${NONE:-other}${A:+set}`: `"X=otherset"`,
		`ENV X='$A'`:                    `"X=$A"`,
		`LABEL l=$A`:                    `"l":"aval"`,
		`USER $A`:                       `"User":"aval"`,
		`WORKDIR /w/$A`:                 `"WorkingDir":"/w/aval"`,
		`VOLUME /v/$A`:                  `"/v/aval"`,
		`EXPOSE $P`:                     `"443/tcp":{},"80/tcp":{}`,
		`STOPSIGNAL $S`:                 `"StopSignal":"TERM"`,
		`CMD $A`:                        `"$A"`,
	} {
		got, err := applied(t, begin, instruction)
		require.NoError(t, err, instruction)
		assert.Contains(t, got, want, instruction)
	}
}

func TestApplyRefuses(t *testing.T) {
	for _, instruction := range []string{
		"RUN make", "FROM x", "ARG x=y", "SHELL [\"/bin/bash\"]", "MAINTAINER x", `CMD ["a", 1]`,
		"ENV A", "ENV A=1 B", "ENV =1", `ENV A="b`, `LABEL a`,
		"EXPOSE x", "EXPOSE x-80", "EXPOSE 9-8", "EXPOSE 70000", "EXPOSE 80/icmp",
		"HEALTHCHECK curl", "HEALTHCHECK CMD", "HEALTHCHECK NONE x", "HEALTHCHECK --interval=x CMD x", "HEALTHCHECK --interval=-1s CMD x",
		"HEALTHCHECK --interval=1us CMD x", "HEALTHCHECK --retries=-1 CMD x", "HEALTHCHECK --x=1 CMD x",
		`VOLUME [""]`, "ONBUILD FROM x", "ONBUILD ONBUILD RUN x", "STOPSIGNAL NOPE",
	} {
		_, err := applied(t, `{}`, "USER ok", instruction)
		require.ErrorContains(t, err, instruction[:4], "it names the instruction")
	}
}

// Later instructions see those before them.
func TestApplyInOrder(t *testing.T) {
	got, err := applied(t, `{"Shell":["/bin/bash","-c"],"Cmd":["old"]}`, "ENV A=1", "ENV B=$A", "ENV A=3", "WORKDIR /a", "WORKDIR b", "LABEL l=1", "LABEL l=2", `ENTRYPOINT ["/e"]`)
	require.NoError(t, err)
	assert.JSONEq(t, `{"Shell":["/bin/bash","-c"],"Entrypoint":["/e"],"Env":["A=3","B=1"],"WorkingDir":"/a/b","Labels":{"l":"2"}}`, got, "another entrypoint has other arguments")
	got, err = applied(t, `{"Shell":["/bin/bash","-c"]}`, "CMD x", `ENTRYPOINT ["/e"]`)
	require.NoError(t, err)
	assert.JSONEq(t, `{"Shell":["/bin/bash","-c"],"Entrypoint":["/e"],"Cmd":["/bin/bash","-c","x"]}`, got, "but those that are given with it stay")
}

// --env takes variables of the config, and quotes and backslashes as they are.
func TestSetEnv(t *testing.T) {
	for value, want := range map[string]string{
		"/opt:$PATH": "/opt:/bin", "${PATH}x": "/binx", "${NONE:-y}": "y", "${PATH:+z}": "z", `"q" 'r' C:\d`: `"q" 'r' C:\d`, "": "", "a$b": "a$b", "${NONE}": "", `"$PATH"`: `"/bin"`, `'${PATH}' `: `'/bin' `,
	} {
		c := &compose.Config{}
		c.SetEnv("PATH", "/bin")
		require.NoError(t, making.SetEnv(c, "X", value), value)
		assert.Equal(t, []string{"PATH=/bin", "X=" + want}, c.Env(), value)
	}
	require.ErrorContains(t, making.SetEnv(&compose.Config{}, "X", "${"), "X=${: ")
}
