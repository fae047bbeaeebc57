package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

const archives = "../../../testdata/archives/"

// run runs the command line and returns what it prints.
func run(t *testing.T, args ...string) (string, error) {
	var out buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestList(t *testing.T) {
	out, err := run(t, "list", archives+"podman-multi.tar")
	require.NoError(t, err)
	assert.Equal(t, `REFERENCE                       PLATFORM      DIGEST                CREATED      LAYERS   SIZE
127.0.0.1:5111/tiny/one:v1      linux/amd64   sha256:a73d52a29d77   2001-09-09   4        31.54kB
127.0.0.1:5111/tiny/one:again   linux/amd64   sha256:a73d52a29d77   2001-09-09   4        31.54kB
127.0.0.1:5111/tiny/two:v1      linux/amd64   sha256:e2c4d7acc60b   2001-09-09   2        21.04kB
`, out)
	out, err = run(t, "list", "docker-archive:"+archives+"ctr24.tar")
	require.NoError(t, err)
	assert.Contains(t, out, "127.0.0.1:5111/tiny/multi:v1   linux/amd64,linux/arm64/v8   sha256:45d2602b3445   2001-09-09   5 ")

	out, err = run(t, "list", "--json", archives+"ctr24.tar")
	require.NoError(t, err)
	var images []dockerarchive.ImageInfo
	require.NoError(t, json.Unmarshal([]byte(out), &images))
	require.Len(t, images, 2)
	assert.Equal(t, []string{"127.0.0.1:5111/tiny/multi:v1"}, images[0].Names)
	require.Len(t, images[0].Manifests, 3)
	assert.Equal(t, "linux/arm64/v8", images[0].Manifests[1].Platform.String())
	assert.True(t, images[0].Manifests[2].Attestation)
}

func TestInspect(t *testing.T) {
	for _, test := range []struct{ args, want []string }{
		{[]string{"--format", "{{.Name}} {{.Digest}} {{.Os}} {{len .Layers}}", "docker29.tar:127.0.0.1:5111/tiny/one:v1"},
			[]string{"127.0.0.1:5111/tiny/one sha256:cbd2ddd5b036eda3c9a3ccd069641058e326783b38e15a1a87fbab169c657a05 linux 4\n"}},
		{[]string{"--format", "{{json .Env}}", "skopeo.tar"}, []string{`["PATH=/bin","GREETING=hi"]` + "\n"}},
		{[]string{"--raw", "ctr24.tar:@0"}, []string{`"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[`}},
		{[]string{"--config", "--platform", "linux/arm64", "ctr24.tar:@0"}, []string{`"architecture": "arm64"`}},
		{[]string{"--config", "--raw", "--platform", "linux/amd64", "ctr24.tar:@0"}, []string{`"architecture":"amd64"`}},
		{[]string{"crane.tar"}, []string{`"Created": "2001-09-09T01:46:40Z"`, `"maintainer": "none"`}},
	} {
		args := append([]string{"inspect"}, test.args...)
		args[len(args)-1] = archives + args[len(args)-1]
		out, err := run(t, args...)
		require.NoError(t, err, test.args)
		for _, want := range test.want {
			assert.Contains(t, out, want, test.args)
		}
	}
	_, err := run(t, "inspect", "--raw", "--format", "x", "y")
	assert.ErrorAs(t, err, &usageError{})
	_, err = run(t, "inspect", archives+"podman-multi.tar")
	assert.ErrorContains(t, err, "2 images are in the archive, choose one of them: @0 127.0.0.1:5111/tiny/one:v1")
}

func TestVerify(t *testing.T) {
	out, err := run(t, "verify", archives+"skopeo.tar")
	require.NoError(t, err)
	assert.Contains(t, out, ": OK (")

	data, err := os.ReadFile(archives + "skopeo.tar")
	require.NoError(t, err)
	data[600] ^= 1   // In the first layer,
	data[11300] ^= 1 // and in the second.
	path := filepath.Join(t.TempDir(), "damaged.tar")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	out, err = run(t, "verify", path)
	require.ErrorContains(t, err, "2 problems found")
	assert.Contains(t, out, "9038ee980dfc6000c9aac2773272ff876b0ec958edb30e7c2dbda860685a8c87.tar is damaged: its digest should be sha256:9038ee980dfc6000c9aac2773272ff876b0ec958edb30e7c2dbda860685a8c87 but is sha256:")
	assert.Contains(t, out, "55b95befbeb0908171c43b71cba854e709dec12af1a85f9d0668ebddbc81ac76.tar is damaged")
}
