package dockerarchive

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// The names of the docker layout, which come from Docker's image/tarexport.
const (
	manifestFileName     = "manifest.json"
	repositoriesFileName = "repositories"
	legacyLayerFileName  = "layer.tar"
	legacyConfigFileName = "json"
	legacyVersionFile    = "VERSION"
	legacyVersion        = "1.0"
)

// topLayerAttributes are those of the image config that the legacy config of
// the top layer repeats.
var topLayerAttributes = []string{"architecture", "config", "container", "container_config", "created", "docker_version", "os"}

// legacyLayer is a directory of the docker layout as it was before Docker 1.10,
// when every layer was an image of its own.
type legacyLayer struct {
	id     string
	config []byte
	diffID digest.Digest
}

// legacyLayers returns the legacy directories of an image, lowest layer first.
//
// The IDs are those that containers/image computes: unlike Docker's they are not
// the IDs that the layers had anywhere, only unique and the same every time.
func legacyLayers(config []byte, diffIDs []digest.Digest) ([]legacyLayer, error) {
	var attributes map[string]json.RawMessage
	if err := json.Unmarshal(config, &attributes); err != nil {
		return nil, fmt.Errorf("parsing the image config: %w", err)
	}
	layers := make([]legacyLayer, 0, len(diffIDs))
	var chainID digest.Digest
	for i, diffID := range diffIDs {
		fields := map[string]any{}
		if i == 0 {
			chainID = diffID
		} else {
			chainID = digest.FromString(chainID.String() + " " + diffID.String())
			fields["parent"] = layers[i-1].id
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
		layers = append(layers, legacyLayer{id: id, config: encoded, diffID: diffID})
	}
	return layers, nil
}

// entries returns the files of the legacy directory.
func (l legacyLayer) entries() ([]tarfile.Small, error) {
	link, err := symlinkHeader(l.id+"/"+legacyLayerFileName, "../"+dockerLayout{}.blobName(l.diffID))
	if err != nil {
		return nil, err
	}
	version, err := smallFile(l.id+"/"+legacyVersionFile, []byte(legacyVersion))
	if err != nil {
		return nil, err
	}
	config, err := smallFile(l.id+"/"+legacyConfigFileName, l.config)
	if err != nil {
		return nil, err
	}
	return []tarfile.Small{{Header: link}, version, config}, nil
}

// topLayerID returns the ID by which an image was known, "" if it has no layers.
func topLayerID(layers []legacyLayer) string {
	if len(layers) == 0 {
		return ""
	}
	return layers[len(layers)-1].id
}
