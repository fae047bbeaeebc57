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
	for i, diffID := range diffIDs {
		fields := map[string]any{}
		if i == 0 {
			chainID = diffID
		} else {
			chainID = digest.FromString(chainID.String() + " " + diffID.String())
			fields["parent"] = layers[i-1].ID
		}
		if i == len(diffIDs)-1 {
			for _, name := range topLayerAttributes {
				fields[name] = attributes[name] // null if there is none
			}
		}
		fields["layer_id"] = chainID // only for the ID, so that equal layers on other parents differ
		hashed, err := json.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("encoding the legacy config of layer %s: %w", diffID, err)
		}
		delete(fields, "layer_id")
		id := digest.FromBytes(hashed).Encoded()
		fields["id"] = id
		encoded, err := json.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("encoding the legacy config of layer %s: %w", diffID, err)
		}
		files, err := legacyFiles(id, encoded, diffID)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layout.LegacyLayer{ID: id, Files: files})
	}
	return layers, nil
}

// legacyFiles returns the files of one directory.
func legacyFiles(id string, config []byte, diffID digest.Digest) ([]tarfile.Small, error) {
	link, err := symlinkHeader(id+"/"+legacyLayerFileName, "../"+layout.Docker{}.BlobName(diffID))
	if err != nil {
		return nil, err
	}
	version, err := fileHeader(id+"/"+legacyVersionFile, int64(len(legacyVersion)))
	if err != nil {
		return nil, err
	}
	json, err := fileHeader(id+"/"+legacyConfigFileName, int64(len(config)))
	if err != nil {
		return nil, err
	}
	return []tarfile.Small{
		{Header: link},
		{Header: version, Data: []byte(legacyVersion)},
		{Header: json, Data: config},
	}, nil
}
