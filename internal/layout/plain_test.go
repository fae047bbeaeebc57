package layout

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
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
	lists := []string{`[]`, `[ITEM]`, `[ITEM,ITEM]`, `[null]`, "[ null\n]", `[ITEM, null,ITEM]`, `[ITEM,null,ITEM]`, `null`, `[ITEM,]`, `[,ITEM]`, `[ITEM ITEM]`, `[ITEM`, `[ITEM]]`, `[[ITEM]]`, ` [ ITEM ] `, `[{}]`, `{}`, `7`, `["]"]`, `[ITEM,7]`, `[{"a":"]"},ITEM]`, `[ITEM,{"a":"\\\"}"}]`, ``}
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

// oldTables is an archive whose tables have been read.
type oldTables struct {
	oldArchive
	index *image.Index
	items []image.Element[image.Item]
}

func (o oldTables) Tables() (*image.Index, []image.Element[image.Item]) { return o.index, o.items }

// errNull is for a list with null, which is not written.
var errNull = errors.New("null")

// table is a way to read and write a table of contents.
type table[T any] struct {
	read   func(document []byte) (T, error)
	write  func(*T) ([]byte, error)
	change func(*T)
}

// compare compares what is decoded by hand with what encoding/json decodes, and what is
// encoded, unchanged and changed, with what encoding/json encodes.
func (c table[T]) compare(t *testing.T, document string) {
	t.Helper()
	got, err := c.read([]byte(document))
	var want T
	wantErr := image.Decode("x", []byte(document), &want)
	if wantErr != nil {
		require.Error(t, err, document)
		return
	}
	require.NoError(t, err, document)
	for _, changed := range []bool{false, true} {
		if changed {
			c.change(&got)
			c.change(&want)
		}
		data, err := c.write(&got)
		if errors.Is(err, errNull) {
			return
		}
		require.NoError(t, err, document)
		wantData, err := json.Marshal(&want)
		require.NoError(t, err, document)
		require.Equal(t, string(wantData), string(data), document)
	}
}

// compareTables compares a document in the place of each table of contents. It returns how many
// readers by hand could read it.
func compareTables(t *testing.T, document string) (plain int) {
	t.Helper()
	index := table[contents]{
		read: func(document []byte) (contents, error) {
			old := oldTables{oldArchive{v1.ImageIndexFile: string(document)}, nil, nil}
			if index, ok := image.ReadIndex(document); ok {
				plain++
				old.index = index
			}
			return readContents(old)
		},
		write: func(c *contents) ([]byte, error) {
			if slices.Contains(c.value.Manifests, nil) {
				return nil, errNull
			}
			return c.encode()
		},
		change: func(c *contents) { changeAll(c.change().Manifests) },
	}
	items := table[[]*kept[tagItem]]{
		read: func(document []byte) (list []*kept[tagItem], err error) {
			old := oldTables{oldArchive{manifestFile: string(document)}, nil, nil}
			if items, ok := image.ReadItems(document); ok {
				plain++
				old.items = items
			}
			x := newTagIndex(Metadata{})
			err = x.readItems(old)
			return x.items, err
		},
		write: func(list *[]*kept[tagItem]) ([]byte, error) {
			if slices.Contains(*list, nil) {
				return nil, errNull
			}
			return appendList(nil, *list)
		},
		change: func(list *[]*kept[tagItem]) { changeAll(*list) },
	}
	names := table[repositories]{
		read: func(document []byte) (r repositories, err error) {
			if _, ok := image.ReadRepositories(document); ok {
				plain++
			}
			x := newTagIndex(Metadata{})
			err = x.readRepositories(oldArchive{repositoriesFile: string(document)})
			return x.repositories, err
		},
		write: func(r *repositories) ([]byte, error) {
			return r.encode(), nil
		},
		change: func(*repositories) {},
	}
	index.compare(t, document)
	items.compare(t, document)
	if document != "null" { // It becomes an empty one, which can grow.
		names.compare(t, document)
	}
	return plain
}

func TestTablesAsJSON(t *testing.T) {
	plain := 0
	for _, document := range tables {
		plain += compareTables(t, document)
	}
	assert.Greater(t, plain, 200, "read by hand")
}

func FuzzTables(f *testing.F) {
	for n := 0; n < len(tables); n += 8 { // TestTablesAsJSON has all.
		f.Add(tables[n])
	}
	f.Fuzz(func(t *testing.T, document string) { compareTables(t, document) })
}

// changeAll says that elements have changed.
func changeAll[T any](list []*kept[T]) {
	for _, k := range list {
		if k != nil {
			k.change()
		}
	}
}

// An element that is null is found, however it is written.
func TestNullElements(t *testing.T) {
	for _, document := range []string{`[null]`, "[ null\n]"} {
		elements, ok := image.ReadItems([]byte(document))
		require.True(t, ok, document)
		assert.Equal(t, []*kept[tagItem]{nil}, keep(elements), document)
	}
}

// The names in tables that have been read stay as they are for the others that read them.
func TestTablesThatWereReadStay(t *testing.T) {
	for _, more := range []string{``, `,"more":1`} { // By hand, and by encoding/json.
		document := `[{"Config":"a.json","RepoTags":["a.b/c:1","a.b/c:2","a.b/c:3"],"Layers":[]` + more + `}]`
		elements, ok := image.ReadItems([]byte(document))
		require.True(t, ok)
		x := newTagIndex(Metadata{})
		require.NoError(t, x.read(oldTables{oldArchive{manifestFile: document}, nil, elements}))
		x.give(x.items[0], "a.b/c:4")
		x.remove(map[string]bool{"a.b/c:1": true}, false)
		assert.Equal(t, []string{"a.b/c:2", "a.b/c:3", "a.b/c:4"}, x.items[0].value.RepoTags)
		assert.Equal(t, []string{"a.b/c:1", "a.b/c:2", "a.b/c:3"}, elements[0].Value.RepoTags, more)
	}
}
