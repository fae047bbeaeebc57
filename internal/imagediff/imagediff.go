// Package imagediff says in what two images differ: in their configs, layers and files. It
// knows neither where the images come from nor where the result goes.
package imagediff

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/files"
)

// Field is a field of the config that differs. A or B is nil where an image has none.
type Field struct {
	Field string `json:"field"`
	A     any    `json:"a"`
	B     any    `json:"b"`
}

// Configs compares what configs say, the diff IDs apart, in the order of the fields' names
// (config.Env, history[0]). Times are compared only if asked for.
func Configs(a, b *imgspecv1.Image, times bool) []Field {
	as, bs := fields(a, times), fields(b, times)
	all := maps.Clone(as)
	maps.Copy(all, bs)
	found := []Field{}
	for _, field := range slices.Sorted(maps.Keys(all)) {
		if !reflect.DeepEqual(as[field], bs[field]) {
			found = append(found, Field{field, as[field], bs[field]})
		}
	}
	return found
}

// fields returns the fields of a config that have values, by names such as config.Env.
func fields(config *imgspecv1.Image, times bool) map[string]any {
	own := *config
	own.RootFS = imgspecv1.RootFS{}
	if !times {
		own.Created = nil
		own.History = slices.Clone(own.History)
		for i := range own.History {
			own.History[i].Created = nil
		}
	}
	data, err := json.Marshal(own)
	var fields map[string]any
	if err == nil {
		err = json.Unmarshal(data, &fields)
	}
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	delete(fields, "rootfs")
	history, _ := fields["history"].([]any)
	delete(fields, "history")
	for i, entry := range history {
		fields[fmt.Sprintf("history[%d]", i)] = entry
	}
	inner, _ := fields["config"].(map[string]any)
	delete(fields, "config")
	for name, value := range inner {
		fields["config."+name] = value
	}
	return fields
}

// LayerSets are the layers of two images, by their diff IDs.
type LayerSets struct {
	Common int             `json:"common"`
	OnlyA  []digest.Digest `json:"onlyA"`
	OnlyB  []digest.Digest `json:"onlyB"`
	Differ bool            `json:"differ"`
}

// Layers compares layers by their diff IDs. Different layers that add up to the same files
// differ in times only, or in things that no file system shows: they do not make images
// differ unless times are compared, or there are more of them.
func Layers(a, b []digest.Digest, times bool) *LayerSets {
	d := &LayerSets{OnlyA: []digest.Digest{}, OnlyB: []digest.Digest{}}
	for _, id := range a {
		if slices.Contains(b, id) {
			d.Common++
		} else {
			d.OnlyA = append(d.OnlyA, id)
		}
	}
	for _, id := range b {
		if !slices.Contains(a, id) {
			d.OnlyB = append(d.OnlyB, id)
		}
	}
	d.Differ = len(a) != len(b) || times && !slices.Equal(a, b)
	return d
}

// Stat counts files that differ, and their bytes.
type Stat struct {
	Added        int   `json:"added"`
	Removed      int   `json:"removed"`
	Changed      int   `json:"changed"`
	AddedBytes   int64 `json:"addedBytes"`
	RemovedBytes int64 `json:"removedBytes"`
	ChangedBytes int64 `json:"changedBytes"`
}

// Count counts changes.
func Count(changes []files.Change) (s Stat) {
	for _, c := range changes {
		switch {
		case c.Old == nil:
			s.Added++
			s.AddedBytes += c.New.Size()
		case c.New == nil:
			s.Removed++
			s.RemovedBytes += c.Old.Size()
		default:
			s.Changed++
			s.ChangedBytes += c.New.Size()
		}
	}
	return s
}
