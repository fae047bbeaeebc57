package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/image"
)

const repositoriesFile = "repositories"

// legacyConfig is what matters here of <layer id>/json, the config that every
// layer had before Docker 1.10.
type legacyConfig struct {
	Parent          string `json:"parent"`
	Created         string `json:"created"`
	Author          string `json:"author"`
	Comment         string `json:"comment"`
	ContainerConfig struct {
		Cmd []string `json:"Cmd"`
	} `json:"container_config"`
}

// legacyOnly are the fields of a legacy config that one of today does not have.
var legacyOnly = []string{"id", "parent", "parent_id", "layer_id", "throwaway", "Size"}

// historyItem is a step of an image's history, in the order of docker's fields.
type historyItem struct {
	Created   string `json:"created,omitempty"`
	Author    string `json:"author,omitempty"`
	CreatedBy string `json:"created_by,omitempty"`
	Comment   string `json:"comment,omitempty"`
}

// loadLegacy returns the images of an archive of Docker before 1.10: those in
// repositories and, without a name, the layers that are nobody's parent.
func (c *Catalog) loadLegacy() ([]*Image, error) {
	names, err := c.loadRepositories()
	if err != nil {
		return nil, err
	}
	isParent := map[string]bool{}
	var tops []string
	for name := range c.files.Names() {
		id, ok := strings.CutSuffix(name, "/json")
		if !ok || strings.Contains(id, "/") || !c.files.Has(id+"/layer.tar") {
			continue
		}
		_, config, err := c.readLegacy(id)
		if err != nil {
			return nil, err
		}
		isParent[config.Parent] = true
		tops = append(tops, id)
	}
	tops = slices.DeleteFunc(tops, func(id string) bool { return isParent[id] || names[id] != nil })
	byName := map[string][]string{} // IDs by first names
	for _, id := range slices.Sorted(maps.Keys(names)) {
		byName[names[id][0]] = append(byName[names[id][0]], id)
	}
	var named []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		named = append(named, byName[name]...)
	}
	var images []*Image
	for _, id := range append(named, tops...) {
		img := &dockerImage{layers: c.layers, item: manifestItem{Config: id + "/json"}}
		img.makeConfig = func(ctx context.Context) ([]byte, []*layer, error) { return c.convertLegacy(ctx, id) }
		images = append(images, &Image{Names: names[id], contents: img})
	}
	return images, nil
}

// loadRepositories returns the names of each layer that is the top of an image.
func (c *Catalog) loadRepositories() (map[string][]string, error) {
	if !c.files.Has(repositoriesFile) {
		return nil, nil
	}
	data, err := c.files.ReadFile(repositoriesFile, maxTableOfContents)
	if err != nil {
		return nil, err
	}
	var repositories map[string]map[string]string
	if err := image.Decode(repositoriesFile, data, &repositories); err != nil {
		return nil, err
	}
	names := map[string][]string{}
	for repository, tags := range repositories {
		for tag, id := range tags {
			names[id] = append(names[id], repository+":"+tag)
		}
	}
	for _, n := range names {
		slices.Sort(n) // A JSON object has no order.
	}
	return names, nil
}

func (c *Catalog) readLegacy(id string) ([]byte, *legacyConfig, error) {
	name := path.Join(id, "json")
	data, err := c.files.ReadFile(name, image.MaxDocument)
	if err != nil {
		return nil, nil, err
	}
	config := &legacyConfig{}
	if err := image.Decode(name, data, config); err != nil {
		return nil, nil, err
	}
	return data, config, nil
}

// convertLegacy makes a config of those of all layers below id, as docker load
// does. The diff IDs are found by reading the layers.
func (c *Catalog) convertLegacy(ctx context.Context, id string) ([]byte, []*layer, error) {
	top, _, err := c.readLegacy(id)
	if err != nil {
		return nil, nil, err
	}
	var layers []*layer
	var history []historyItem
	for id != "" {
		if len(layers) == maxLegacyChain {
			return nil, nil, fmt.Errorf("%w: more than %d layers, probably in a loop", errdef.ErrLimit, maxLegacyChain)
		}
		_, config, err := c.readLegacy(id)
		if err != nil {
			return nil, nil, err
		}
		l, err := c.layers.find(path.Join(id, "layer.tar"))
		if err != nil {
			return nil, nil, err
		}
		layers = append(layers, l)
		history = append(history, historyItem{
			Created:   config.Created,
			Author:    config.Author,
			CreatedBy: strings.Join(config.ContainerConfig.Cmd, " "),
			Comment:   config.Comment,
		})
		id = config.Parent
	}
	slices.Reverse(layers)
	slices.Reverse(history)
	if err := measure(ctx, layers, true); err != nil {
		return nil, nil, err
	}
	config, err := modernConfig(top, layers, history)
	return config, layers, err
}

// modernConfig turns the legacy config of the top layer into one of today.
func modernConfig(top []byte, layers []*layer, history []historyItem) ([]byte, error) {
	diffIDs := make([]digest.Digest, len(layers))
	for i, l := range layers {
		diffIDs[i] = l.diffID
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(top, &fields); err != nil {
		return nil, errdef.Errorf(errdef.ErrDamaged, "decoding a legacy config: %w", err)
	}
	if fields == nil {
		return nil, errdef.Errorf(errdef.ErrDamaged, "a legacy config is null")
	}
	for _, name := range legacyOnly {
		delete(fields, name)
	}
	set := func(name string, value any) (err error) {
		fields[name], err = json.Marshal(value)
		return err
	}
	// Docker ran on nothing else when it did not write these.
	for name, value := range map[string]string{"os": "linux", "architecture": "amd64"} {
		if fields[name] == nil {
			if err := set(name, value); err != nil {
				return nil, err
			}
		}
	}
	err := errors.Join(
		set("rootfs", map[string]any{"type": "layers", "diff_ids": diffIDs}),
		set("history", history))
	if err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}
