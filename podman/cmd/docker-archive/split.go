package main

import (
	"strings"

	"github.com/docker/go-units"
)

// splitSize returns the size of parts that --split says, 0 for an archive in one file.
func (o *saveOptions) splitSize() (int64, error) {
	if o.split == "" {
		return 0, nil
	}
	size, err := parseSize(o.split)
	const least = 1 << 20
	switch {
	case err != nil:
		return 0, usagef("--split %q is no size: write 4G, 700M or 4GiB", o.split)
	case size < least:
		return 0, usagef("--split %s: parts have at least 1MiB", o.split)
	case o.output == "-" || o.output == standardOutput:
		return 0, usagef("--split is for files: say which with --output")
	case o.force:
		return 0, usagef("--split replaces no archive: remove the old parts first, or choose another name, instead of --force")
	case o.sha256:
		return 0, usagef("--sha256 is of one file: the parts of --split have their own, which verify looks at")
	}
	return size, nil
}

// parseSize parses a number of bytes: k, M, G and T, with or without B, are powers of
// 1000, as on the label of a medium; with an i, as in GiB, powers of 1024.
func parseSize(s string) (int64, error) {
	if strings.ContainsAny(s, "iI") {
		return units.RAMInBytes(strings.TrimRight(s, "bB") + "B")
	}
	return units.FromHumanSize(s)
}
