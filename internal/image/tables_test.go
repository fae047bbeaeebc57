package image

import (
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// compareElements compares elements that were read with what Decode reads.
func compareElements[T any](t *testing.T, want []T, got []Element[T]) {
	t.Helper()
	require.Len(t, got, len(want))
	require.Equal(t, want == nil, got == nil)
	for i, e := range got {
		require.Equal(t, want[i], e.Value)
		require.Equal(t, strings.Trim(e.Raw, " \t\r\n") == "null", e.Null)
		if !e.Plain {
			continue
		}
		decoder := json.NewDecoder(strings.NewReader(e.Raw))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(new(T)), "an unknown field")
		written, err := json.Marshal(json.RawMessage(e.Raw))
		require.NoError(t, err)
		require.Equal(t, e.Raw, string(written))
	}
}

// FuzzReadTables compares tables that are read by hand with those that Decode reads.
func FuzzReadTables(f *testing.F) {
	hex := strings.Repeat("0a", 32)
	descriptor := `{"mediaType":"m","digest":"sha256:` + hex + `","size":5,"urls":["u"],"annotations":{"a":"b","a":"c"},"platform":{"architecture":"a","os":"o","os.version":"v","os.features":[],"variant":"w"},"artifactType":"t"}`
	item := `{"Config":"c","RepoTags":["a","b"],"Layers":[],"Parent":"p","LayerSources":{"sha256:` + hex + `":` + descriptor + `}}`
	for _, document := range []string{
		`{"schemaVersion":2,"mediaType":"m","artifactType":"t","manifests":[` + descriptor + `,null],"subject":` + descriptor + `,"annotations":{"a":"b"}}`,
		`{"schemaVersion":2,"manifests":[` + strings.Replace(descriptor, `5`, `123456789012345678`, 1) + `],"subject":null,"annotations":null}`,
		`{"manifests":[],"annotations":{"a":"[{\"b\":\"}\"}]"}}`, `{"manifests":null}`, `{}`, `[]`, `[null]`, `[` + item + `,` + item + `]`,
		`[{"Config":"a\u0026","more":[{"a":[1,"]"]}]},{"RepoTags":null,"Layers":[null]}]`, `[` + strings.Repeat(`[`, 70) + strings.Repeat(`]`, 70) + `]`,
		`{"a":{"1":"x","1":"y"},"a":{"2":"z"},"b":{}}`, `{"a":null}`, `[{"RepoTags":["` + "\xff" + `"]}]`, `[{"config":"x","Config":"y"}]`, `{"manifests":[` + descriptor + `]}x`, "[{}]\n", `{"manifests":[{"digest":"sha256:x"}]}`,
		`[{"Config":"<a>"},{"Config":"x","Config":"y"}]`, `[{"LayerSources":{},"LayerSources":{"sha256:` + hex + `":` + descriptor + `}}]`, `{"manifests":[{"digest":"sha256:` + hex + `","annotations":{"a":"b"},"annotations":{"c":"d"}}]}`, `{"manifests":[{"size":1}]}`, `{"manifests":[{"digest":"sha256:` + hex + `","size":01}]}`, `{"schemaVersion":02,"manifests":[]}`,
	} {
		f.Add(document)
	}
	f.Fuzz(func(t *testing.T, document string) {
		data := []byte(document)
		if index, ok := ReadIndex(data); ok {
			var want struct {
				SchemaVersion int
				MediaType     string
				ArtifactType  string
				Manifests     []v1.Descriptor
				Subject       *v1.Descriptor
				Annotations   map[string]string
			}
			require.NoError(t, Decode("x", data, &want))
			compareElements(t, want.Manifests, index.Manifests)
			require.Equal(t, document, index.Raw)
			require.Equal(t, []any{want.SchemaVersion, want.MediaType, want.ArtifactType, want.Subject, want.Annotations}, []any{index.SchemaVersion, index.MediaType, index.ArtifactType, index.Subject, index.Annotations})
			var fields Fields
			require.NoError(t, Decode("x", data, &fields), "what the catalog decodes otherwise")
			require.Equal(t, want.Manifests, fields.Manifests)
		}
		if items, ok := ReadItems(data); ok {
			var want []Item
			require.NoError(t, Decode("x", data, &want))
			compareElements(t, want, items)
		}
		if all, ok := ReadRepositories(data); ok {
			var want map[string]map[string]string
			require.NoError(t, Decode("x", data, &want))
			require.Equal(t, want, all)
		}
	})
}
