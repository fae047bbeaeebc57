package dockerarchive

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// The files of a legacy directory, which come from Docker's image/tarexport.
const (
	legacyLayerFileName  = "layer.tar"
	legacyConfigFileName = "json"
	legacyVersionFile    = "VERSION"
	legacyVersion        = "1.0"
)

// topLayerAttributes are those of the image config that the legacy config of
// the top layer repeats.
var topLayerAttributes = []string{"architecture", "config", "container", "container_config", "created", "docker_version", "os"}

// legacyLayers returns the directories of an image in the docker layout as it was
// before Docker 1.10, when every layer was an image of its own; lowest layer first.
//
// The IDs are those that containers/image computes: unlike Docker's they are not
// the IDs that the layers had anywhere, only unique and the same every time.
func legacyLayers(config []byte, diffIDs []digest.Digest) (layout.LegacyLayers, error) {
	var attributes map[string]json.RawMessage
	if err := json.Unmarshal(config, &attributes); err != nil {
		return layout.LegacyLayers{}, fmt.Errorf("parsing the image config: %w", err)
	}
	// The rest, such as tens of thousands of diff IDs, is not kept.
	maps.DeleteFunc(attributes, func(name string, _ json.RawMessage) bool { return !slices.Contains(topLayerAttributes, name) })
	ids := make([]string, len(diffIDs))
	layer := func(n int) legacyLayer {
		l := legacyLayer{id: ids[n], diffID: diffIDs[n]}
		if n > 0 {
			l.parent = ids[n-1]
		}
		if n == len(diffIDs)-1 {
			l.top = attributes
		}
		return l
	}
	var chainID digest.Digest
	for n, diffID := range diffIDs {
		if n == 0 {
			chainID = diffID
		} else {
			chainID = digest.FromString(chainID.String() + " " + diffID.String())
		}
		l := layer(n)
		// Only for the ID, so that equal layers on other parents differ.
		hashed, err := l.encode("layer_id", chainID.String())
		if err != nil {
			return layout.LegacyLayers{}, err
		}
		ids[n] = digest.FromBytes(hashed).Encoded()
	}
	return layout.LegacyLayers{IDs: ids, Files: func(n int) ([]tarfile.Small, error) {
		l := layer(n)
		return l.files()
	}}, nil
}

// legacyLayer is what the directory of a layer follows from.
type legacyLayer struct {
	id, parent string
	diffID     digest.Digest
	top        map[string]json.RawMessage // the config, of the top layer only
}

// encode returns the legacy config with one more field.
func (l *legacyLayer) encode(name, value string) ([]byte, error) {
	fields := map[string]any{name: value}
	if l.parent != "" {
		fields["parent"] = l.parent
	}
	if l.top != nil {
		for _, name := range topLayerAttributes {
			fields[name] = l.top[name] // null if there is none
		}
	}
	encoded, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encoding the legacy config of layer %s: %w", l.diffID, err)
	}
	return encoded, nil
}

// files returns the files of the directory.
func (l *legacyLayer) files() ([]tarfile.Small, error) {
	config, err := l.encode("id", l.id)
	if err != nil {
		return nil, err
	}
	link, err := symlinkHeader(l.id+"/"+legacyLayerFileName, "../"+layout.Docker{}.BlobName(l.diffID))
	if err != nil {
		return nil, err
	}
	version, err := fileHeader(l.id+"/"+legacyVersionFile, int64(len(legacyVersion)))
	if err != nil {
		return nil, err
	}
	json, err := fileHeader(l.id+"/"+legacyConfigFileName, int64(len(config)))
	if err != nil {
		return nil, err
	}
	return []tarfile.Small{
		{Header: link},
		{Header: version, Data: []byte(legacyVersion)},
		{Header: json, Data: config},
	}, nil
}
