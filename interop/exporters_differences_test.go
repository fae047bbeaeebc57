package interop

import (
	"regexp"
	"slices"
)

// An allowedDifference is something that an exporter does and ours does otherwise. docs/exporters.md
// says why, under the key.
type allowedDifference struct {
	key       string
	exporters []string
	lines     string // regular expression for what the comparison of archives says of it
	// byChance says that it is not in every run.
	byChance bool
}

// The names of the exporters, of which some do the same.
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
	{key: "null", exporters: notOurs, lines: `manifest\.json \[\]\.(RepoTags|Layers): null, ours \[\]`},
	{key: "familiar-names", exporters: notOurs, lines: `manifest\.json \[\]\.RepoTags\[\]: "exporters:3", ours "docker\.io/library/exporters:3"|repositories \.(docker\.io/library/)?exporters\.3 only .*`},

	{key: "layer-files", exporters: docker20, lines: `ours only: HEX\.tar|type of LAYER/layer\.tar: 0, ours 2|link of LAYER/layer\.tar: \.\./HEX/layer\.tar, ours \.\./HEX\.tar`},
	{key: "directories", exporters: docker20, lines: `theirs only: LAYER/`},
	{key: "legacy-configs", exporters: docker20, lines: `LAYER/json \.(author|config\.\w+|container_config\.\w+|created|os) only theirs: .*|LAYER/json \.(container|container_config|docker_version) only ours: null`},
	{key: "empty-repositories", exporters: docker20, lines: `ours only: repositories`},

	{key: "original-manifests", exporters: graphdriver, lines: `(ours|theirs) only: manifest|index\.json \.manifests\[\]\.(digest|size|mediaType)( only|: ).*`},
	{key: "original-layers", exporters: graphdriver, lines: `(ours|theirs) only: layer`},
	{key: "legacy-blobs", exporters: graphdriver, lines: `theirs only: blob`},
	{key: "sources-of-all", exporters: graphdriver, lines: `manifest\.json \[\]\.LayerSources\..*`},
	{key: "repositories-top", exporters: graphdriver, lines: `repositories \..*: "HEX", ours "HEX"`},

	{key: "repositories", exporters: containerds, lines: `ours only: repositories`},
	{key: "layer-sources", exporters: containerds, lines: `manifest\.json \[\]\.LayerSources\..* only ours: .*`},
	{key: "distribution-source", exporters: slices.Concat(store, ctr2), lines: `index\.json \.manifests\[\]\.annotations\.containerd\.io/distribution\.source\..* only theirs: .*`},
	{key: "made-manifests", exporters: containerds, lines: `(ours|theirs) only: manifest|index\.json \.manifests\[\]\.digest: "sha256:HEX", ours "sha256:HEX"`},
	{key: "index-media-type", exporters: ctr1, lines: `index\.json \.mediaType only ours: .*`},
	{key: "artifact-items", exporters: slices.Concat(ctr1, ctr2), lines: `theirs only: manifest\.json`},
	{key: "non-distributable", exporters: store, lines: `ours only: layer|manifest\.json \[\]\.Layers\[\]: "absent", ours .*`},
	{key: "digest-names", exporters: ociLayouts, lines: `index\.json \.manifests\[\]\.annotations\.io\.containerd\.image\.name only ours: "REGISTRY/plain@sha256:HEX"|` +
		`index\.json \.manifests\[\]\.annotations\.org\.opencontainers\.image\.ref\.name only theirs: ".*@sha256:HEX"|` +
		`index\.json \.manifests\[\]\.(digest|size|mediaType) only .*|` +
		`manifest\.json \[\]\.RepoTags only ours: \[\]|manifest\.json \[\]\.RepoTags\[\] only theirs: ".*@sha256:HEX"`},
	{key: "item-order", exporters: containerds, lines: `writing of manifest\.json`, byChance: true},
	{key: "parent", exporters: slices.Concat(podman4, containerds), lines: `manifest\.json \[\]\.Parent only ours: .*`},
}

// refusals are the images that an exporter cannot have, or not save, and a part of what it says.
var refusals = map[string]map[string]string{
	"docker 20":                  {"no layers": "empty export - not implemented", "artifact": "unsupported media type"},
	"docker 29 graphdriver":      {"no layers": "empty export - not implemented", "artifact": "unsupported media type"},
	"docker 29 containerd store": {"artifact": "mismatched image rootfs and manifest layers"},
	"skopeo": {
		"shared layers": "docker-archive doesn't support modifying existing images",
		"parent chain":  "docker-archive doesn't support modifying existing images",
		"artifact":      "unsupported image-specific operation on artifact",
	},
	"podman":  {"artifact": "unsupported image-specific operation on artifact"},
	"ctr 1.6": {"untagged": "not found"},
	"ctr 2":   {"untagged": "not found"},
}

// allowed returns the key of the difference that a line is allowed for, "" if it is not.
func allowed(exporter, line string) string {
	for _, a := range allowedDifferences {
		if slices.Contains(a.exporters, exporter) && regexp.MustCompile("^(?:"+a.lines+")$").MatchString(line) {
			return a.key
		}
	}
	return ""
}
