package daemon_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/daemon"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	file := func(data string, elem ...string) {
		path := filepath.Join(append([]string{dir}, elem...)...)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
	}
	meta := func(name, data string) {
		file(data, "contexts", "meta", digest.FromString(name).Encoded(), "meta.json")
	}
	meta("far", `{"Name":"far","Endpoints":{"docker":{"Host":"tcp://far:2376","SkipTLSVerify":false}}}`)
	tls := filepath.Join(dir, "contexts", "tls", digest.FromString("far").Encoded(), "docker")
	file("x", "contexts", "tls", digest.FromString("far").Encoded(), "docker", "ca.pem")
	meta("near", `{"Name":"near","Endpoints":{"docker":{"Host":"unix:///near.sock"}}}`)
	meta("plain", `{"Name":"plain","Endpoints":{"docker":{"Host":"tcp://plain:2375"}}}`)
	meta("empty", `{"Name":"empty","Endpoints":{}}`)
	meta("broken", `{`)

	host := func(h string) daemon.Config { return daemon.Config{Host: h} }
	for name, c := range map[string]struct {
		chosen  daemon.Chosen
		env     map[string]string
		current string
		want    daemon.Config
		err     string
	}{
		"nothing":                 {},
		"given":                   {chosen: daemon.Chosen{Config: host("unix:///x")}, env: map[string]string{"DOCKER_HOST": "unix:///y"}, want: host("unix:///x")},
		"the environment's":       {env: map[string]string{"DOCKER_HOST": "unix:///y", "DOCKER_CONTEXT": "far"}, want: host("unix:///y")},
		"tcp":                     {env: map[string]string{"DOCKER_HOST": "tcp://y:2375"}, want: host("http://y:2375")},
		"tcp with TLS":            {env: map[string]string{"DOCKER_HOST": "tcp://y:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}, want: daemon.Config{Host: "tcp://y:2376", CertDir: "/certs"}},
		"tcp with its settings":   {env: map[string]string{"DOCKER_HOST": "tcp://y:2376", "DOCKER_TLS_VERIFY": "1"}, want: daemon.Config{Host: "tcp://y:2376", CertDir: dir}},
		"tcp, not verified":       {env: map[string]string{"DOCKER_HOST": "tcp://y:2376", "DOCKER_TLS": "1", "DOCKER_CERT_PATH": "/certs"}, want: daemon.Config{Host: "tcp://y:2376", CertDir: "/certs", InsecureSkipVerify: true}},
		"no address":              {env: map[string]string{"DOCKER_HOST": "y"}, err: `"y" is no address`},
		"context":                 {chosen: daemon.Chosen{Context: "far"}, env: map[string]string{"DOCKER_HOST": "unix:///y"}, want: daemon.Config{Host: "tcp://far:2376", CertDir: tls}},
		"context without TLS":     {chosen: daemon.Chosen{Context: "plain"}, want: host("http://plain:2375")},
		"the environment's one":   {env: map[string]string{"DOCKER_CONTEXT": "near"}, current: "far", want: host("unix:///near.sock")},
		"the current one":         {current: "near", want: host("unix:///near.sock")},
		"the current one is none": {current: "default"},
		"both":                    {chosen: daemon.Chosen{Config: host("unix:///x"), Context: "far"}, err: "not both"},
		"unknown":                 {chosen: daemon.Chosen{Context: "none"}, err: `the context "none": open `},
		"without docker":          {chosen: daemon.Chosen{Context: "empty"}, err: "it has none"},
		"broken":                  {chosen: daemon.Chosen{Context: "broken"}, err: "parsing "},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH"} {
				t.Setenv(v, c.env[v])
			}
			t.Setenv("DOCKER_CONFIG", dir)
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "config.json")))
			if c.current != "" {
				file(`{"currentContext":"`+c.current+`"}`, "config.json")
			}
			got, err := daemon.Find(c.chosen)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}
