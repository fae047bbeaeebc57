package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// readWithout reads the archives and lists of --without, nil if there are none. The
// archive that is saved calls them by their names, not by where they are here.
func readWithout(cmd *cobra.Command, paths []string, access archive.Access) (*copying.Without, error) {
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
		if err := openWithout(cmd, w, path, access); err != nil {
			return nil, fmt.Errorf("--without: %w", err)
		}
	}
	return w, nil
}

func openWithout(cmd *cobra.Command, w *copying.Without, path string, access archive.Access) error {
	if _, remote := naming.Scheme(path); remote {
		a, err := archive.Opener{Access: access}.Open(cmd.Context(), path)
		if err != nil {
			return err
		}
		defer a.Close() // It is only read.
		return w.AddArchive(cmd.Context(), filepath.Base(path), a)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // It is only read.
	return w.Open(cmd.Context(), filepath.Base(path), f)
}

// tellLeftOut prints what --without has left out, also if that is nothing.
func (o *saveOptions) tellLeftOut(out io.Writer, results []copying.SaveResult) error {
	if len(o.without) == 0 && len(o.delta.paths) == 0 {
		return nil
	}
	var leftOut []errdef.LeftOut
	for _, r := range results {
		if r.Err == nil {
			leftOut = append(leftOut, r.LeftOut...)
		}
	}
	if len(leftOut) == 0 {
		_, err := fmt.Fprintln(out, "nothing is left out: no layer is in what --without or --delta names, or made from it")
		return err
	}
	fmt.Fprintln(out, "left out:")
	printLeftOut(out, leftOut)
	return nil
}

// printLeftOut prints one line for each archive that has left-out layers whole, and one for each
// archive that some are made from. Then it prints why some cannot be made.
func printLeftOut(out io.Writer, layers []errdef.LeftOut) {
	type where struct {
		archive string
		how     string
	}
	type total struct {
		layers      int
		size, delta int64 // in bytes, without those of unknown size
	}
	totals := map[where]total{}
	seen := map[digest.Digest]bool{}
	for _, l := range layers {
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		w := where{sourcesOf(l), howMade(l)}
		t := totals[w]
		totals[w] = total{t.layers + 1, t.size + max(l.Size, 0), t.delta + l.DeltaSize}
	}
	order := slices.SortedFunc(maps.Keys(totals), func(a, b where) int {
		return cmp.Or(cmp.Compare(a.how, b.how), cmp.Compare(a.archive, b.archive))
	})
	for _, w := range order {
		t := totals[w]
		if w.how == "in" {
			fmt.Fprintf(out, "  %s, %s, in %s\n", plural(t.layers, "layer"), units.HumanSize(float64(t.size)), w.archive)
			continue
		}
		fmt.Fprintf(out, "  %s, %s, as %s of %s, %s %s\n", plural(t.layers, "layer"), units.HumanSize(float64(t.size)),
			plural(t.layers, "delta"), units.HumanSize(float64(t.delta)), w.how, w.archive)
	}
	for _, l := range layers {
		if l.Why != "" && seen[l.Digest] {
			seen[l.Digest] = false
			fmt.Fprintf(out, "  %s cannot be made: %s\n", printable.String(l.Digest.String()), printable.String(l.Why))
		}
	}
}

// howMade says how a left-out layer relates to the archive that has it.
func howMade(l errdef.LeftOut) string {
	switch {
	case l.Delta == "":
		return "in"
	case slices.ContainsFunc(l.From, func(b errdef.DeltaBase) bool { return b.Exact }):
		return "made from compressed layers of"
	}
	return "made from layers of"
}

// sourcesOf names the archives that a layer is in, or made from.
func sourcesOf(l errdef.LeftOut) string {
	names := []string{l.Archive}
	for _, b := range l.From {
		names = append(names, b.Archive)
	}
	slices.Sort(names)
	return strings.Join(printable.Strings(slices.Compact(names)), " and ")
}
