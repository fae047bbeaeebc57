package interop

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The images that every exporter is asked for, by the names that docs/exporters.md gives them.
const (
	sharedLayers   = "shared layers"
	layerTwice     = "one layer twice"
	noLayers       = "no layers"
	untagged       = "untagged"
	byDigest       = "by digest"
	parentChain    = "parent chain"
	multiPlatform  = "several platforms, attestation"
	foreignLayer   = "foreign layer"
	artifactImage  = "artifact"
	severalOfNames = "several names"
)

// An allowedDifference is a difference between an exporter and ours. docs/exporters.md says why,
// under the key.
type allowedDifference struct {
	key       string
	exporters []string
	lines     string // regular expression for its lines in the comparison of archives
	// images are the images whose archives may have it; nil for any.
	images []string
	// byChance says that it is not in every run.
	byChance bool
}

// The names of the exporters. Some behave the same.
var (
	docker20    = []string{"docker 20"}
	graphdriver = []string{"docker 29 graphdriver"}
	store       = []string{"docker 29 containerd store"}
	podman4     = []string{"podman"}
	ctr1        = []string{"ctr 1.6"}
	ctr2        = []string{"ctr 2"}
	moby        = slices.Concat(docker20, graphdriver)
	containerds = slices.Concat(store, ctr1, ctr2) // containerd's exporter in all of them
	ociLayouts  = slices.Concat(graphdriver, containerds)
	notOurs     = slices.Concat(docker20, ociLayouts)
)

var allowedDifferences = []allowedDifference{
	{key: "order", exporters: notOurs, lines: `order`},
	{key: "modes", exporters: notOurs, lines: `mode of .*`},
	{key: "times", exporters: moby, lines: `time of .*`},
	{key: "owners", exporters: docker20, lines: `owner of .*`},
	{key: "json", exporters: moby, lines: `writing of .*`},
	{key: "null", exporters: notOurs, images: []string{noLayers, untagged, byDigest}, lines: `manifest\.json \[\]\.(RepoTags|Layers): null, ours \[\]`},
	{key: "familiar-names", exporters: notOurs, images: []string{severalOfNames}, lines: `manifest\.json \[\]\.RepoTags\[\]: "exporters:3", ours "docker\.io/library/exporters:3"|repositories \.(docker\.io/library/)?exporters\.3 only .*`},

	{key: "layer-files", exporters: docker20, lines: `ours only: HEX\.tar|type of LAYER/layer\.tar: 0, ours 2|link of LAYER/layer\.tar: \.\./HEX/layer\.tar, ours \.\./HEX\.tar`},
	{key: "directories", exporters: docker20, lines: `theirs only: LAYER/`},
	{key: "legacy-configs", exporters: docker20, lines: `LAYER/json \.(author|config\.\w+|container_config\.\w+|created|os) only theirs: .*|LAYER/json \.(container|container_config|docker_version) only ours: null`},
	{key: "empty-repositories", exporters: docker20, images: []string{untagged, byDigest}, lines: `ours only: repositories`},

	{key: "original-manifests", exporters: graphdriver, lines: `(ours|theirs) only: manifest|index\.json \.manifests\[\]\.(digest|size|mediaType)( only|: ).*`},
	{key: "original-layers", exporters: graphdriver, lines: `(ours|theirs) only: layer`},
	{key: "legacy-blobs", exporters: graphdriver, lines: `theirs only: blob`},
	{key: "sources-of-all", exporters: graphdriver, lines: `manifest\.json \[\]\.LayerSources\..*`},
	{key: "repositories-top", exporters: graphdriver, lines: `repositories \..*: "HEX", ours "HEX"`},

	{key: "repositories", exporters: containerds, lines: `ours only: repositories`},
	{key: "layer-sources", exporters: containerds, images: []string{foreignLayer}, lines: `manifest\.json \[\]\.LayerSources\..* only ours: .*`},
	{key: "distribution-source", exporters: slices.Concat(store, ctr2), lines: `index\.json \.manifests\[\]\.annotations\.containerd\.io/distribution\.source\..* only theirs: .*`},
	{key: "made-manifests", exporters: containerds, images: []string{parentChain}, lines: `(ours|theirs) only: manifest|index\.json \.manifests\[\]\.digest: "sha256:HEX", ours "sha256:HEX"`},
	{key: "index-media-type", exporters: ctr1, lines: `index\.json \.mediaType only ours: .*`},
	{key: "artifact-items", exporters: slices.Concat(ctr1, ctr2), images: []string{artifactImage}, lines: `theirs only: manifest\.json`},
	{key: "non-distributable", exporters: store, images: []string{foreignLayer}, lines: `ours only: layer|manifest\.json \[\]\.Layers\[\]: "absent", ours .*`},
	{key: "digest-names", exporters: ociLayouts, images: []string{byDigest}, lines: `index\.json \.manifests\[\]\.annotations\.io\.containerd\.image\.name only ours: "REGISTRY/plain@sha256:HEX"|` +
		`index\.json \.manifests\[\]\.annotations\.org\.opencontainers\.image\.ref\.name only theirs: ".*@sha256:HEX"|` +
		`index\.json \.manifests\[\]\.(digest|size|mediaType) only .*|` +
		`manifest\.json \[\]\.RepoTags only ours: \[\]|manifest\.json \[\]\.RepoTags\[\] only theirs: ".*@sha256:HEX"`},
	{key: "platforms", exporters: ociLayouts, lines: `index\.json \.manifests\[\]\.platform\.\w+ only ours: .*`},
	{key: "item-order", exporters: containerds, images: []string{sharedLayers, parentChain}, lines: `writing of manifest\.json`, byChance: true},
	{key: "parent", exporters: slices.Concat(podman4, containerds), images: []string{parentChain}, lines: `manifest\.json \[\]\.Parent only ours: .*`},
}

// refusals are the images that an exporter cannot have or save, with a pattern for a part of its
// message.
var refusals = map[string]map[string]string{
	"docker 20":                  {noLayers: "empty export - not implemented", artifactImage: "unsupported media type"},
	"docker 29 graphdriver":      {noLayers: "empty export - not implemented", artifactImage: "unsupported media type"},
	"docker 29 containerd store": {artifactImage: "mismatched image rootfs and manifest layers"},
	"skopeo": {
		sharedLayers: "docker-archive doesn't support modifying existing images",
		// Docker writes the images in any order. The layers of the second are links to those of the
		// first, and skopeo does not know how long they are.
		parentChain:   "docker-archive doesn't support modifying existing images|archive/tar: write too long",
		artifactImage: "unsupported image-specific operation on artifact",
	},
	"podman":  {artifactImage: "unsupported image-specific operation on artifact"},
	"ctr 1.6": {untagged: "not found"},
	"ctr 2":   {untagged: "not found"},
}

// A docTable is a table of docs/exporters.md: the cells of its header and of the rows below.
type docTable struct {
	header []string
	rows   [][]string
}

func docTables(t *testing.T) []docTable {
	t.Helper()
	content, err := os.ReadFile("../docs/exporters.md")
	require.NoError(t, err)
	var tables []docTable
	inTable := false
	for line := range strings.Lines(string(content)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "|")
		cells := strings.Split(strings.TrimSuffix(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case ok && !inTable:
			tables = append(tables, docTable{header: cells})
		case ok && !strings.HasPrefix(line, "-"):
			last := &tables[len(tables)-1]
			require.Len(t, cells, len(last.header), line)
			last.rows = append(last.rows, cells)
		}
		inTable = ok
	}
	return tables
}

// TestExportersAreDocumented holds docs/exporters.md against what TestExporters allows: it has every
// key and no other, and names the images that an exporter cannot have.
func TestExportersAreDocumented(t *testing.T) {
	known, documented := map[string]bool{}, map[string]bool{}
	for _, a := range allowedDifferences {
		known[a.key] = true
	}
	var images docTable
	for _, table := range docTables(t) {
		if table.header[0] == "image" {
			images = table
		}
		at := slices.Index(table.header, "key")
		for _, row := range table.rows {
			if at >= 0 && row[at] != "" {
				documented[strings.Trim(row[at], "`")] = true
			}
		}
	}
	assert.Equal(t, slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(documented)))
	require.Len(t, images.rows, 10)
	for _, row := range images.rows {
		for i, exporter := range images.header {
			assert.Equal(t, refusals[exporter][row[0]] != "", strings.HasPrefix(row[i], "cannot"), "%s, %s", exporter, row[0])
		}
	}
}

// TestExportersNamesTests looks for every test that docs/exporters.md names.
func TestExportersNamesTests(t *testing.T) {
	content, err := os.ReadFile("../docs/exporters.md")
	require.NoError(t, err)
	tests := map[string]bool{}
	require.NoError(t, filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, found := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(source, -1) {
			tests[string(found[1])] = true
		}
		return err
	}))
	named := regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(content, -1)
	require.NotEmpty(t, named)
	for _, name := range named {
		assert.True(t, tests[string(name[1])], "there is no %s", name[1])
	}
}
