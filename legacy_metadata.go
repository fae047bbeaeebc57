package dockerarchive

import (
	"encoding/json"
	"fmt"

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
func legacyLayers(config []byte, diffIDs []digest.Digest) ([]layout.LegacyLayer, error) {
	var attributes map[string]json.RawMessage
	if err := json.Unmarshal(config, &attributes); err != nil {
		return nil, fmt.Errorf("parsing the image config: %w", err)
	}
	layers := make([]layout.LegacyLayer, 0, len(diffIDs))
	var chainID digest.Digest
	parent := ""
	for i, diffID := range diffIDs {
		if i == 0 {
			chainID = diffID
		} else {
			chainID = digest.FromString(chainID.String() + " " + diffID.String())
		}
		l := legacyLayer{diffID: diffID, parent: parent}
		if i == len(diffIDs)-1 {
			l.top = attributes
		}
		// Only for the ID, so that equal layers on other parents differ.
		hashed, err := l.encode("layer_id", chainID.String())
		if err != nil {
			return nil, err
		}
		l.id = digest.FromBytes(hashed).Encoded()
		layers = append(layers, layout.LegacyLayer{ID: l.id, Files: l.files})
		parent = l.id
	}
	return layers, nil
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
