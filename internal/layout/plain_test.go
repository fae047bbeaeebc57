package layout

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

const aHex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// tables are tables of contents with what is unusual in one or another place.
var tables = func() (all []string) {
	descriptor := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + aHex + `","size":525,"annotations":{"io.containerd.image.name":"example.com/app:1","org.opencontainers.image.ref.name":"1"},"platform":{"architecture":"amd64","os":"linux","os.features":["a"],"variant":"v1"},"artifactType":"a/b","urls":["https://example.com"]}`
	item := `{"Config":"blobs/sha256/` + aHex + `","RepoTags":["example.com/app:1"],"Layers":["blobs/sha256/` + aHex + `"],"Parent":"sha256:` + aHex + `","LayerSources":{"sha256:` + aHex + `":` + descriptor + `}}`
	changes := map[string]string{
		`:525`: `:0525 :-1 :5.25 :1e3 :0 :9223372036854775807 :9223372036854775808 :525x :`, `"a/b"`: `"<b>" "a\u0026b" "é" null 7 "a` + "\x01" + `" "a` + "\xff" + `" "\ud800" "a`, `"size"`: `"Size" "SIZE" "more" "size":1,"size" "si\u007ae" "annotations":{"a":"b"},"size" "platform":{"variant":"x"},"size"`,
		`,"size"`: `,"more":{"a":["}\"",1]},"size" ,,"size"`, `["a"]`: `[] null ["a",] ["a",null] [1] {}`, `{"io.`: `{"io.containerd.image.name":"other","io.`, `{"architecture"`: `null,"x":{"architecture" {"Architecture":"arm","architecture"`,
		`"Config"`: `"config" "Config":"x","Config" "more":[{}],"Config"`, `"RepoTags":["example.com/app:1"]`: `"RepoTags":null "RepoTags":[] "RepoTags":["b","a"] "RepoTags":{}`, `"Layers"`: `"Layers":["x"],"Layers" "LAYERS"`,
		`"LayerSources":{`: `"LayerSources":{"sha256:` + aHex + `":{"digest":"sha256:` + aHex + `"}, "LayerSources":{"x":{},`, `"mediaType":"app`: `"data":"YWJj","mediaType":"app`,
	}
	lists := []string{`[]`, `[ITEM]`, `[ITEM,ITEM]`, `[null]`, `[ITEM,null,ITEM]`, `null`, `[ITEM,]`, `[,ITEM]`, `[ITEM ITEM]`, `[ITEM`, `[ITEM]]`, `[[ITEM]]`, ` [ ITEM ] `, `[{}]`, `{}`, `7`, `["]"]`, `[ITEM,7]`, `[{"a":"]"},ITEM]`, `[ITEM,{"a":"\\\"}"}]`, ``}
	wraps := []string{`{"schemaVersion":2,"mediaType":"a","manifests":LIST}`, `{"schemaVersion":2,"manifests":LIST,"annotations":{"a":"[{\"b\":1}]"}}`, `{"schemaVersion":2,"manifests":LIST,"annotations":{"a":"b"},"artifactType":"x","subject":{"digest":"sha256:` + aHex + `","more":1}}`,
		`{"manifests":LIST,"schemaVersion":2}`, `{"manifests":LIST,"manifests":[{}]}`, `{"Manifests":LIST}`, `{"manifests":LIST,"MANIFESTS":[]}`, `{"manifests":LIST,"more":[1]}`, `{"manifests":LIST,"indexHead":1}`, `{"schemaVersion":"2","manifests":LIST}`, ` {"manifests": LIST}`, `{"manifests":LIST,"annotations": {"a":"&"}}`}
	for _, element := range []string{descriptor, item} {
		elements := []string{element}
		for _, from := range slices.Sorted(maps.Keys(changes)) {
			for to := range strings.SplitSeq(changes[from], " ") {
				if changed := strings.Replace(element, from, to, 1); changed != element {
					elements = append(elements, changed)
				}
			}
		}
		for n, e := range elements {
			lists, wraps := lists, wraps
			if n > 0 {
				lists, wraps = lists[1:3], wraps[:2]
			}
			for _, l := range lists {
				l = strings.ReplaceAll(l, "ITEM", e)
				all = append(all, l)
				for _, w := range wraps {
					all = append(all, strings.Replace(w, "LIST", l, 1))
				}
			}
		}
	}
	return append(all, `{"a":{"1":"x"},"b":{}}`, `{"a":null}`, `{"a":{"1":"x"},"a":{"2":"y"}}`, `{"a":{"1":null}}`, `{"a":{"<":"\u003c"},"é":{"é":"\u2028"}}`, `{"b":{"2":"x","1":"y"},"a":{}}`)
}()

// errNull is for a list with null, which is not written.
var errNull = errors.New("null")

// sameAsJSON compares what is decoded by hand with what encoding/json decodes, and what is
// encoded, unchanged and changed, with what encoding/json encodes.
func sameAsJSON[T any](t *testing.T, document string, change func(*T), encode func(*T) ([]byte, error)) {
	t.Helper()
	var got, want T
	err := image.Decode("x", []byte(document), &got)
	wantErr := image.CheckDocument([]byte(document))
	if wantErr == nil {
		type direct struct{ V T } // It hides ReadPlain.
		var d direct
		wantErr = json.Unmarshal([]byte(`{"V":`+document+`}`), &d)
		want = d.V
	}
	if wantErr != nil {
		require.Error(t, err, document)
		return
	}
	if err != nil {
		require.ErrorContains(t, err, "digest", document)
		return
	}
	values := func(v *T) string {
		data, err := json.Marshal(v)
		require.NoError(t, err, document)
		return string(data)
	}
	require.Equal(t, values(&want), values(&got), document)
	for _, changed := range []bool{false, true} {
		if changed {
			change(&got)
			change(&want)
		}
		data, err := encode(&got)
		if errors.Is(err, errNull) {
			return
		}
		require.NoError(t, err)
		require.Equal(t, values(&want), string(data), document)
	}
}

func TestTablesAsJSON(t *testing.T) {
	plain := 0
	for _, document := range tables {
		sameAsJSON(t, document, func(c *contents) { changeAll(c.change().Manifests) }, func(c *contents) ([]byte, error) {
			if slices.Contains(c.value.Manifests, nil) {
				return nil, errNull
			}
			return c.encode()
		})
		sameAsJSON(t, document, func(items *tagItems) { changeAll(*items) }, func(items *tagItems) ([]byte, error) {
			if slices.Contains(*items, nil) {
				return nil, errNull
			}
			return appendList(nil, *items)
		})
		sameAsJSON(t, document, func(*repositories) {}, func(r *repositories) ([]byte, error) {
			if *r == nil {
				return []byte("null"), nil
			}
			return r.encode(), nil
		})
		var c contents
		if image.Decode("x", []byte(document), &c) == nil && c.plain {
			plain++
		}
	}
	assert.Greater(t, plain, 10, "some are read by hand")
}

// changeAll says that elements have changed.
func changeAll[T any](list []*kept[T]) {
	for _, k := range list {
		if k != nil {
			k.change()
		}
	}
}
