//go:build interop

package interop

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/compose"
	"github.com/dockerarchive/dockerarchive/podman/making"
)

// Every line of testdata/instructions.txt changes a config as docker import --change does, or
// both refuse it. A line may be several instructions, with \n between them.
func TestInstructions(t *testing.T) {
	dir := t.TempDir()
	layer := filepath.Join(dir, "layer.tar")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644}))
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(layer, b.Bytes(), 0o600))
	lines, err := os.ReadFile(filepath.Join("testdata", "instructions.txt"))
	require.NoError(t, err)
	docker := newBuiltDocker(true)(t).(dockerd).docker
	before := []string{"ENV PATH=/bin A=aval S=TERM", `ENV P="80 443"`}

	n := 0
	for line := range strings.Lines(string(lines)) {
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), `\n`, "\n")
		n++
		config := &compose.Config{}
		refused := making.Apply(config, append(before, line)...)
		args := []string{"import"}
		for _, change := range append(before, line) {
			args = append(args, "--change", change)
		}
		id, theirs := docker.try(t, append(args, layer)...)
		if refused != nil || theirs != nil {
			assert.Equal(t, refused != nil, theirs != nil, "%q: here: %v\ndocker: %v", line, refused, theirs)
			continue
		}
		inspected := docker.run(t, "image", "inspect", "--format", "{{json .Config}}", strings.TrimSpace(id))
		raw, err := json.Marshal(config)
		require.NoError(t, err)
		var ours struct {
			Config map[string]any `json:"config"`
		}
		require.NoError(t, json.Unmarshal(raw, &ours))
		var want map[string]any
		require.NoError(t, json.Unmarshal([]byte(inspected), &want))
		assert.Equal(t, saying(want), saying(ours.Config), "%q", line)
	}
	assert.Greater(t, n, 92)
}

// saying returns the fields of a config that say something.
func saying(config map[string]any) map[string]any {
	config = maps.Clone(config)
	if check, ok := config["Healthcheck"].(map[string]any); ok {
		delete(check, "StartInterval") // Debian's docker command asks for an API that does not know it.
	}
	maps.DeleteFunc(config, func(_ string, value any) bool {
		switch v := value.(type) {
		case string:
			return v == ""
		case []any:
			return len(v) == 0
		case map[string]any:
			return len(v) == 0
		case bool:
			return !v
		}
		return value == nil
	})
	return config
}
