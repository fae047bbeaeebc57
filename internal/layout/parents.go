package layout

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// Docker restores the parents of images from manifest.json. It refuses to load an
// archive with an impossible parent: docker load wants the history of the parent
// and one step more, as its builder made them.

// parents knows which images of an archive may be built on which others.
type parents struct {
	wanted    map[*kept[tagItem]]digest.Digest // as new images name them
	histories map[string][]string              // by config file; steps as JSON
	old       Archive                          // nil for a new archive
}

// add records the parent that a new image names.
func (p *parents) add(item *kept[tagItem], config []byte, parent digest.Digest) {
	if p.histories == nil {
		p.wanted, p.histories = map[*kept[tagItem]]digest.Digest{}, map[string][]string{}
	}
	p.histories[item.value.Config] = historyOf(config)
	if parent != "" {
		p.wanted[item] = parent
	}
}

// forget says that an image is no longer there.
func (p *parents) forget(item *kept[tagItem]) { delete(p.wanted, item) }

// link fills in the parents that are there and that Docker accepts.
func (p *parents) link(items []*kept[tagItem]) {
	if len(p.wanted) == 0 {
		return
	}
	byID := map[digest.Digest]*kept[tagItem]{}
	for _, item := range items {
		if id, ok := configDigest(item.value.Config); ok && byID[id] == nil {
			byID[id] = item
		}
	}
	parentOf := map[*kept[tagItem]]*kept[tagItem]{}
	for _, item := range items {
		id, _ := image.ParseDigest(item.value.Parent)
		parent := byID[id]
		if wanted, ok := p.wanted[item]; ok {
			if parent = byID[wanted]; parent != nil && !p.descends(item, parent) {
				parent = nil
			}
		}
		parentOf[item] = parent
	}
	looping := inLoops(parentOf)
	for item, wanted := range p.wanted {
		item.value.Parent = ""
		if parentOf[item] != nil && !looping[item] {
			item.value.Parent = wanted.String()
		}
	}
}

// inLoops returns the images that are among their own ancestors.
func inLoops[T comparable](parentOf map[T]T) map[T]bool {
	var none T
	looping := map[T]bool{}
	walk := map[T]T{} // on which walk an image was met first
	for start := range parentOf {
		at := start
		for at != none {
			if _, met := walk[at]; met {
				break
			}
			walk[at] = start
			at = parentOf[at]
		}
		if at == none || walk[at] != start {
			continue
		}
		for !looping[at] {
			looping[at] = true
			at = parentOf[at]
		}
	}
	return looping
}

// descends reports whether docker load would accept a parent.
func (p *parents) descends(item, parent *kept[tagItem]) bool {
	own, ofParent := p.history(item), p.history(parent)
	if len(own) == 0 && len(ofParent) == 0 {
		return true
	}
	if len(own) != len(ofParent)+1 {
		return false
	}
	for i, step := range ofParent {
		if own[i] != step {
			return false
		}
	}
	return true
}

func (p *parents) history(item *kept[tagItem]) []string {
	name := item.value.Config
	steps, ok := p.histories[name]
	if !ok && p.old != nil {
		if config, err := p.old.ReadTable(name); err == nil {
			steps = historyOf(config)
		}
		p.histories[name] = steps
	}
	return steps
}

// historyOf returns the steps of a config, none if Docker cannot read them.
func historyOf(config []byte) []string {
	var fields struct {
		History []v1.History `json:"history"`
	}
	if err := image.Decode("config", config, &fields); err != nil {
		return nil
	}
	steps := make([]string, len(fields.History))
	for i, h := range fields.History {
		step, err := json.Marshal(h)
		if err != nil {
			return nil
		}
		steps[i] = string(step)
	}
	return steps
}
