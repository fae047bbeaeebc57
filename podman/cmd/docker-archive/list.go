package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

func newListCommand(g *globalOptions) *cobra.Command {
	var asJSON, quiet, noTrunc, digests bool
	var server registryOptions
	var format string
	cmd := &cobra.Command{
		Use:     "list ARCHIVE...",
		Aliases: []string{"ls", "images"},
		Short:   "List the images in archives",
		Long: `List the images in archives, a line for each name. DIGEST is that of the
manifest or, if the archive has none, of the config. Artifacts show their type
instead of a platform.

Signatures, SBOMs and other referrers follow with their subjects. Left-out
layers ('docker-archive save --without') come last; --json lists each.

ARCHIVE may be compressed, - for standard input, or the directory of an OCI
layout.`,
		Example: `  docker-archive list images.tar
  curl -s https://example.com/images.tar.zst | docker-archive list -`,
		Args:              atLeast(1, "archives"),
		ValidArgsFunction: completeArchives,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch format { // As docker and podman have it.
			case "json":
				asJSON, format = true, ""
			case "table":
				format = ""
			}
			if asJSON && quiet || (asJSON || quiet) && format != "" {
				return usagef("only one of --json, --quiet and --format can be given")
			}
			lists, err := listAll(cmd, g, &server, args)
			switch {
			case err != nil && len(args) == 2 && strings.HasPrefix(args[1], "/"): // As ls has it.
				return withHint(err, fmt.Sprintf("Files in an image: docker-archive files %s %s", shortened(args[0]), shortened(args[1])))
			case err != nil:
				return err
			}
			if asJSON {
				return printListJSON(cmd.OutOrStdout(), lists)
			}
			for n, l := range lists {
				switch {
				case quiet:
					err = printFormatted(cmd.OutOrStdout(), "{{.Name}}", l.images)
				case format != "":
					err = printFormatted(cmd.OutOrStdout(), format, l.images)
				default:
					err = l.print(cmd.OutOrStdout(), n, len(lists), noTrunc)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all that is known, as JSON")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print names only, or @N where there is none")
	cmd.Flags().StringVar(&format, "format", "", "print each name by this Go `TEMPLATE`, or as json")
	cmd.Flags().BoolVar(&noTrunc, "no-trunc", false, "print digests in full")
	cmd.Flags().BoolVar(&digests, "digests", true, "print digests; they always are")
	hide(cmd.Flags(), "digests")
	server.registerServer(cmd.Flags())
	return cmd
}

// archiveList is the content of an archive.
type archiveList struct {
	archive string // as it was given
	images  []dockerarchive.ImageInfo
}

func listAll(cmd *cobra.Command, g *globalOptions, server *registryOptions, archives []string) ([]archiveList, error) {
	base, err := g.systemContext()
	if err != nil {
		return nil, err
	}
	sys, err := server.apply(*base)
	if err != nil {
		return nil, err
	}
	if err := server.useServers(sys, archives); err != nil {
		return nil, err
	}
	var lists []archiveList
	for _, arg := range archives {
		r, err := dockerarchive.NewReaderContext(cmd.Context(), sys, archivePath(arg))
		if err != nil {
			return nil, err
		}
		images, err := r.Images(cmd.Context())
		_ = r.Close() // It has only been read from.
		if err != nil {
			return nil, err
		}
		lists = append(lists, archiveList{arg, images})
	}
	return lists, nil
}

// print prints the nth of count lists, under a title if there are several.
func (l archiveList) print(out io.Writer, n, count int, whole bool) error {
	if count > 1 {
		gap := "\n"
		if n == 0 {
			gap = ""
		}
		if _, err := fmt.Fprintf(out, "%s%s:\n", gap, printable.String(l.archive)); err != nil {
			return err
		}
	}
	return printList(out, l.images, whole)
}

// printListJSON prints all images; with several archives, each image with its archive.
func printListJSON(out io.Writer, lists []archiveList) error {
	if len(lists) == 1 {
		return printJSON(out, lists[0].images)
	}
	type imageOfArchive struct {
		Archive string `json:"archive"`
		dockerarchive.ImageInfo
	}
	all := []imageOfArchive{}
	for _, l := range lists {
		for _, img := range l.images {
			all = append(all, imageOfArchive{l.archive, img})
		}
	}
	return printJSON(out, all)
}

// archivePath removes the transport from an argument, if it has one. A file of that
// name comes first.
func archivePath(arg string) string {
	if _, err := os.Stat(arg); err == nil {
		return arg
	}
	for _, transport := range []string{dockerarchive.Transport.Name(), dockerarchive.ImageTransport.Name(), "oci-archive", "oci"} {
		if path, ok := strings.CutPrefix(arg, transport+":"); ok {
			return path
		}
	}
	return arg
}

func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "    ")
	err := e.Encode(v)
	if err == nil {
		_, err = w.Write(printable.JSON(b.Bytes()))
	}
	return err
}

func printList(out io.Writer, images []dockerarchive.ImageInfo, whole bool) error {
	shorten := short
	if whole {
		shorten = func(d digest.Digest) string { return printable.String(d.String()) }
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "REFERENCE\tPLATFORM\tDIGEST\tCREATED\tLAYERS\tSIZE")
	for _, img := range images {
		if img.IsReferrer() {
			continue
		}
		id := img.Digest
		if id == "" {
			id = img.Config
		}
		platform := printable.String(platforms(img.ManifestInfo))
		for _, name := range printable.Strings(rowNames(img)) {
			if img.Error != "" {
				fmt.Fprintf(w, "%s\t%s\t%s\tbroken: %s\n", name, platform, shorten(id), printable.String(img.Error))
				continue
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", name, platform, shorten(id), day(img.Created), img.Layers, units.HumanSize(float64(img.Size)))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := printReferrers(out, images); err != nil {
		return err
	}
	var leftOut []errdef.LeftOut
	for _, img := range images {
		leftOut = append(leftOut, img.LeftOut...)
	}
	if len(leftOut) > 0 {
		fmt.Fprintln(out, "\nLEFT OUT:")
	}
	printLeftOut(out, leftOut)
	return nil
}

// day returns the day of a time in UTC, which is the same whenever a list is printed.
func day(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}

// rowNames returns the names of an image as the archive has them, or how else to
// refer to it.
func rowNames(img dockerarchive.ImageInfo) []string {
	if len(img.Names) > 0 {
		return img.Names
	}
	return []string{fmt.Sprintf("@%d", img.Position)}
}

// platforms names the complete, incomplete and missing platforms of an image in the
// archive. If it is no image, it names its kind.
func platforms(m dockerarchive.ManifestInfo) string {
	there, incomplete, missing := listedPlatforms(m)
	var not []string
	if len(incomplete) > 0 {
		not = append(not, "incomplete: "+strings.Join(incomplete, ","))
	}
	if len(missing) > 0 {
		not = append(not, "missing: "+strings.Join(missing, ","))
	}
	switch {
	case len(there)+len(not) == 0:
		return cmp.Or(m.ArtifactType, m.Platform.String(), "-")
	case len(not) == 0:
		return strings.Join(there, ",")
	}
	return fmt.Sprintf("%s (%s)", cmp.Or(strings.Join(there, ","), "-"), strings.Join(not, "; "))
}

func listedPlatforms(m dockerarchive.ManifestInfo) (there, incomplete, missing []string) {
	for _, child := range m.Manifests {
		switch {
		case child.Attestation:
		case child.Missing:
			missing = append(missing, cmp.Or(child.Platform.String(), child.Digest.String()))
		case child.Incomplete:
			incomplete = append(incomplete, cmp.Or(child.Platform.String(), child.Digest.String()))
		case len(child.Manifests) > 0:
			t, i, m := listedPlatforms(child)
			there, incomplete, missing = append(there, t...), append(incomplete, i...), append(missing, m...)
		default:
			there = append(there, cmp.Or(child.Platform.String(), "-"))
		}
	}
	return there, incomplete, missing
}

// short abbreviates a digest as Docker does.
func short(d digest.Digest) string {
	const length = 12
	algorithm, hex, _ := strings.Cut(d.String(), ":")
	return printable.String(algorithm + ":" + hex[:min(length, len(hex))])
}
