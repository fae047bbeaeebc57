package image

import imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

// CreatedBy returns what a history says of how each of so many layers was made, "" where it
// says nothing. If the history has more layers or fewer, the steps cannot be matched: all
// are "".
func CreatedBy(history []imgspecv1.History, layers int) []string {
	made := make([]string, layers)
	n := 0
	for _, h := range history {
		if h.EmptyLayer {
			continue
		}
		if n < layers {
			made[n] = h.CreatedBy
			if made[n] == "" {
				made[n] = h.Comment
			}
		}
		n++
	}
	if n != layers {
		return make([]string, layers)
	}
	return made
}
