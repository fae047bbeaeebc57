package loadable

import (
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/internal/image"
)

// names returns the names that clients read from a descriptor in index.json. containerd and
// Docker take one annotation for its name, podman and skopeo the other: both count.
func names(d v1.Descriptor) (full []string, tag string) {
	for _, key := range []string{containerdName, image.AnnotationTag, v1.AnnotationRefName} {
		name := d.Annotations[key]
		switch {
		case name == "" || slices.Contains(full, name):
		case key == v1.AnnotationRefName && !strings.ContainsAny(name, "/:@"):
			tag = name // This may be any word.
		default:
			full = append(full, name)
		}
	}
	return full, tag
}

// namesOf returns the full names of a descriptor in index.json. lone is its only name if that
// is a single word: Docker 29 takes that for a name in docker.io/library, and podman for one
// in localhost.
func namesOf(d v1.Descriptor) (full []string, lone string) {
	full, tag := names(d)
	if slices.ContainsFunc(full, func(name string) bool { return strings.HasSuffix(name, ":"+tag) }) {
		return full, ""
	}
	return full, tag
}

// isDigestTagged reports whether the names say that a document is about an image.
func isDigestTagged(full []string) bool {
	return len(full) > 0 && !slices.ContainsFunc(full, func(name string) bool {
		_, _, ok := image.ParseDigestTag(name)
		return !ok
	})
}
