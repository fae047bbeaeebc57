package dockerarchive

import (
	"encoding/json"
	"slices"

	"github.com/containers/image/v5/docker/reference"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// manifestItem is an element of manifest.json.
type manifestItem struct {
	Config       string
	RepoTags     []string
	Layers       []string
	LayerSources map[digest.Digest]imgspecv1.Descriptor `json:",omitempty"` // of layers that have URLs, by diff ID
}

// dockerIndex is what manifest.json and repositories say, which archives of both
// layouts have.
type dockerIndex struct {
	items        []manifestItem // one per distinct config
	itemByConfig map[string]int
	repositories map[string]map[string]string // name, tag, ID of the top legacy layer
}

func newDockerIndex() dockerIndex {
	return dockerIndex{itemByConfig: map[string]int{}, repositories: map[string]map[string]string{}}
}

func (x *dockerIndex) empty() bool { return len(x.items) == 0 }

// has reports whether there is an image with that config file.
func (x *dockerIndex) has(config string) bool {
	_, ok := x.itemByConfig[config]
	return ok
}

// add records an image, or other names for one that is there. topLayerID is ""
// if the image has no layers.
func (x *dockerIndex) add(item manifestItem, names []reference.Named, topLayerID string) {
	i, ok := x.itemByConfig[item.Config]
	if !ok {
		i = len(x.items)
		x.itemByConfig[item.Config] = i
		x.items = append(x.items, item)
	}
	for _, name := range names {
		tagged, ok := name.(reference.NamedTagged)
		if _, digested := name.(reference.Digested); !ok || digested {
			continue // Docker's format knows tags only.
		}
		// With the host and the repository in full, so that clients with other
		// defaults for them understand the same.
		full := tagged.Name() + ":" + tagged.Tag()
		if !slices.Contains(x.items[i].RepoTags, full) {
			x.items[i].RepoTags = append(x.items[i].RepoTags, full)
		}
		if topLayerID == "" {
			continue
		}
		if x.repositories[tagged.Name()] == nil {
			x.repositories[tagged.Name()] = map[string]string{}
		}
		x.repositories[tagged.Name()][tagged.Tag()] = topLayerID
	}
}

// files returns manifest.json and repositories, the latter always or only if it
// says something.
func (x *dockerIndex) files(always bool) ([]tarfile.Small, error) {
	manifest, err := jsonFile(manifestFileName, x.items)
	if err != nil {
		return nil, err
	}
	files := []tarfile.Small{manifest}
	if len(x.repositories) == 0 && !always {
		return files, nil
	}
	repositories, err := jsonFile(repositoriesFileName, x.repositories)
	return append(files, repositories), err
}

func jsonFile(name string, value any) (tarfile.Small, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return tarfile.Small{}, err
	}
	return smallFile(name, data)
}

func smallFile(name string, data []byte) (tarfile.Small, error) {
	header, err := fileHeader(name, int64(len(data)))
	return tarfile.Small{Header: header, Data: data}, err
}
