package compose

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// describe fills in what the config says of the layers and of how they came to be.
// diffIDs are those of the whole image, lowest first; the first kept ones are the
// base's.
func (m *maker) describe(diffIDs []digest.Digest, kept int) error {
	c := m.config
	set(&c.image, "created", m.created, false)
	set(&c.image, "rootfs", v1.RootFS{Type: "layers", DiffIDs: append([]digest.Digest{}, diffIDs...)}, false)
	history := c.steps()
	if m.image.Squash { // The squashed base has one step.
		history = nil
	}
	// Nobody can complete what never was.
	if m.image.OmitHistory || kept > 0 && len(history) == 0 {
		delete(c.image, "history")
		return nil
	}
	for _, h := range m.newHistory() {
		var step fields
		set(&step, "created", h.Created, false)
		setString(&step, "created_by", h.CreatedBy)
		setString(&step, "author", h.Author)
		setString(&step, "comment", h.Comment)
		set(&step, "empty_layer", true, !h.EmptyLayer)
		history = append(history, step)
	}
	layers := 0
	for _, step := range history {
		if !get[bool](step, "empty_layer") {
			layers++
		}
		step.date(m.image.Format)
	}
	if layers > len(diffIDs) { // Fewer are usual: not every tool says what it adds.
		return fmt.Errorf("the history of the base%s tells of %d layers more than it has; omit the history (--omit-history)", m.baseName(), layers-len(diffIDs))
	}
	set(&c.image, "history", history, len(history) == 0)
	return nil
}

// steps returns the steps of the history, including fields that this package does
// not know.
func (c *Config) steps() []fields {
	var steps []fields
	for _, raw := range get[[]json.RawMessage](c.image, "history") {
		var step fields
		if err := json.Unmarshal(raw, &step); err != nil || step == nil {
			step = fields{} // It is no object, and says nothing.
		}
		steps = append(steps, step)
	}
	return steps
}

// date writes an unknown time as a format does: OCI has none, Docker the zero time.
func (step fields) date(format Format) {
	t := get[time.Time](step, "created")
	switch {
	case !t.IsZero():
	case format == Docker:
		set(&step, "created", time.Time{}, false)
	default:
		delete(step, "created")
	}
}

// newHistory returns the history of what is added to the base.
func (m *maker) newHistory() []v1.History {
	var added []v1.History
	layers := m.image.Layers
	if m.image.Squash {
		squashed := Layer{Content: Files(time.Time{})} // It has some.
		if len(layers) > 0 {
			squashed.History = layers[len(layers)-1].History
		}
		layers = []Layer{squashed}
	}
	for _, l := range layers {
		h := l.History
		h.EmptyLayer = l.Content == nil
		if m.given || h.Created == nil {
			h.Created = &m.created
		} else {
			h.Created = new(h.Created.UTC())
		}
		if h.Author == "" {
			h.Author = get[string](m.config.image, "author")
		}
		if h.CreatedBy == "" {
			h.CreatedBy = "/bin/sh"
			if shell := m.config.Shell(); len(shell) > 0 {
				h.CreatedBy = strings.Join(shell, " ")
			}
		}
		added = append(added, h)
	}
	if len(added) > 0 && m.base.isNamed(m.image.BaseName) {
		added[0].Comment = strings.TrimSpace(added[0].Comment + " FROM " + m.image.BaseName)
	}
	return added
}

// isNamed reports whether a name is one of the base, and not its ID.
func (b *baseImage) isNamed(name string) bool {
	return name != "" && name != b.id.String() && name != b.id.Encoded()
}

// latest returns the latest of some times, the start of Unix time if that is later.
// Times that no document can hold are ignored.
func latest(times ...time.Time) time.Time {
	times = slices.DeleteFunc(append(times, time.Unix(0, 0)), func(t time.Time) bool { return !canSay(t) })
	return slices.MaxFunc(times, time.Time.Compare).UTC()
}

// canSay reports whether a time can be written in a document.
func canSay(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}
