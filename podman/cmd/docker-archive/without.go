package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// readWithout reads the archives and lists of --without, nil if there are none. The
// archive that is saved calls them by their names, not by where they are here.
func readWithout(cmd *cobra.Command, paths []string) (*copying.Without, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	w := &copying.Without{}
	for _, path := range paths {
		if path == "-" {
			if err := w.Open(cmd.Context(), "standard input", cmd.InOrStdin()); err != nil {
				return nil, fmt.Errorf("--without: %w", err)
			}
			continue
		}
		path = archivePath(path)
		if err := openWithout(cmd, w, path); err != nil {
			return nil, fmt.Errorf("--without: %w", err)
		}
	}
	return w, nil
}

func openWithout(cmd *cobra.Command, w *copying.Without, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // It is only read.
	return w.Open(cmd.Context(), filepath.Base(path), f)
}

// tellLeftOut says what --without has left out, also if that is nothing.
func (o *saveOptions) tellLeftOut(out io.Writer, results []copying.SaveResult) error {
	if len(o.without) == 0 {
		return nil
	}
	var leftOut []errdef.LeftOut
	for _, r := range results {
		if r.Err == nil {
			leftOut = append(leftOut, r.LeftOut...)
		}
	}
	if len(leftOut) == 0 {
		_, err := fmt.Fprintln(out, "nothing is left out: no layer is in what --without names")
		return err
	}
	fmt.Fprintln(out, "left out:")
	printLeftOut(out, leftOut)
	return nil
}

// printLeftOut prints a line for every archive that has layers which another is without.
func printLeftOut(out io.Writer, layers []errdef.LeftOut) {
	type total struct {
		layers int
		size   int64 // in bytes, without those of unknown size
	}
	totals := map[string]total{}
	seen := map[digest.Digest]bool{}
	for _, l := range layers {
		if !seen[l.Digest] {
			seen[l.Digest] = true
			t := totals[l.Archive]
			totals[l.Archive] = total{t.layers + 1, t.size + max(l.Size, 0)}
		}
	}
	for _, archive := range slices.Sorted(maps.Keys(totals)) {
		t := totals[archive]
		fmt.Fprintf(out, "  %d layers, %s, in %s\n", t.layers, units.HumanSize(float64(t.size)), printable.String(archive))
	}
}
