package layout

import (
	"fmt"
	"maps"
	"slices"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/naming"
)

// SameTags implements Table. An index.json has the tag alone as the name that the
// specification knows, and clients such as skopeo look for that one.
func (t *ociTable) SameTags(img *image.Image) []string {
	return t.sameTags(img.Names, img.Digest().String())
}

func (t *ociTable) sameTags(names []string, id string) []string {
	if t.tagged == nil {
		t.tagged = make(map[string][]string, len(t.names))
		t.noteTags(slices.Sorted(maps.Keys(t.names)))
	}
	var warnings []string
	for _, name := range names {
		tag := refName(name)
		other := t.firstTagged(tag)
		if d := t.names[other]; d == "" || d == id {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("%s and %s have the same tag: a client that looks for %s=%s in index.json gets one of the two", other, name, v1.AnnotationRefName, tag))
	}
	return warnings
}

// firstTagged returns the first name with a tag that still is one, "" if there is none.
func (t *ociTable) firstTagged(tag string) string {
	for all := t.tagged[tag]; len(all) > 0; all = all[1:] {
		if t.names[all[0]] != "" {
			return all[0]
		}
		t.tagged[tag] = all[1:] // It is noted again if it is claimed again.
	}
	return ""
}

// noteTags remembers the tags of names that are new.
func (t *ociTable) noteTags(names []string) {
	if t.tagged == nil {
		return // They are found among the names when somebody asks.
	}
	for _, name := range names {
		if tag := refName(name); tag != "" {
			t.tagged[tag] = append(t.tagged[tag], name)
		}
	}
}

// refName returns the reference name of an image in index.json, "" if it has none.
func refName(name string) string {
	if _, _, ok := image.ParseDigestTag(name); ok {
		return ""
	}
	if _, tag, ok := naming.SplitFull(name); ok {
		return tag
	}
	return annotations(name)[v1.AnnotationRefName]
}
