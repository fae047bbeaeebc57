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

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

func newListCommand(g *globalOptions) *cobra.Command {
	var asJSON, quiet bool
	var format string
	cmd := &cobra.Command{
		Use:        "list ARCHIVE",
		Aliases:    []string{"ls"},
		SuggestFor: []string{"images", "tags"},
		Short:      "List the images in an archive",
		Long: `List the images in an archive: one line for each name, with the digest of the
manifest or, if the archive has none, of the config. An image that is known to be
broken is marked; of something else than an image, its type is in the place of the
platform. What is about an image, such as signatures and SBOMs, is listed after the
images, with what it is about. Layers that the archive says are in another are counted
last ('docker-archive save --without'); --json names each. ARCHIVE may be compressed,
- for the standard input, and the directory of an OCI layout.`,
		Example: `  docker-archive list images.tar
  curl -s https://example.com/images.tar.zst | docker-archive list -`,
		Args: exactArgs(1, "one archive"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && quiet || (asJSON || quiet) && format != "" {
				return usagef("only one of --json, --quiet and --format can be given")
			}
			sys, err := g.systemContext()
			if err != nil {
				return err
			}
			r, err := dockerarchive.NewReaderContext(cmd.Context(), sys, archivePath(args[0]))
			if err != nil {
				return err
			}
			defer r.Close()
			images, err := r.Images(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return printJSON(cmd.OutOrStdout(), images)
			case quiet:
				return printFormatted(cmd.OutOrStdout(), "{{.Name}}", images)
			case format != "":
				return printFormatted(cmd.OutOrStdout(), format, images)
			}
			return printList(cmd.OutOrStdout(), images)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all that is known, as JSON")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print names only, or @N of what has none")
	cmd.Flags().StringVar(&format, "format", "", "print each name of an image by this Go `TEMPLATE`, as in '{{.Repository}}:{{.Tag}} {{.ID}}'")
	return cmd
}

// archivePath takes the transport off what the user gave, if it has one. A file of
// that name comes first.
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

func printList(out io.Writer, images []dockerarchive.ImageInfo) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "REFERENCE\tPLATFORM\tDIGEST\tLAYERS\tSIZE")
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
				fmt.Fprintf(w, "%s\t%s\t%s\tbroken: %s\n", name, platform, short(id), printable.String(img.Error))
				continue
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", name, platform, short(id), img.Layers, units.HumanSize(float64(img.Size)))
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

// rowNames returns the names of an image as the archive has them, or how else to
// refer to it.
func rowNames(img dockerarchive.ImageInfo) []string {
	if len(img.Names) > 0 {
		return img.Names
	}
	return []string{fmt.Sprintf("@%d", img.Position)}
}

// platforms names all platforms of an image that are in the archive, and those that
// its index lists besides, or what else this is.
func platforms(m dockerarchive.ManifestInfo) string {
	there, missing := listedPlatforms(m)
	switch {
	case len(there)+len(missing) == 0:
		return cmp.Or(m.ArtifactType, m.Platform.String(), "-")
	case len(missing) == 0:
		return strings.Join(there, ",")
	}
	return fmt.Sprintf("%s (missing: %s)", cmp.Or(strings.Join(there, ","), "-"), strings.Join(missing, ","))
}

func listedPlatforms(m dockerarchive.ManifestInfo) (there, missing []string) {
	for _, child := range m.Manifests {
		switch {
		case child.Attestation:
		case child.Missing:
			missing = append(missing, cmp.Or(child.Platform.String(), child.Digest.String()))
		case len(child.Manifests) > 0:
			t, m := listedPlatforms(child)
			there, missing = append(there, t...), append(missing, m...)
		default:
			there = append(there, cmp.Or(child.Platform.String(), "-"))
		}
	}
	return there, missing
}

// short abbreviates a digest as Docker does.
func short(d digest.Digest) string {
	const length = 12
	algorithm, hex, _ := strings.Cut(d.String(), ":")
	return printable.String(algorithm + ":" + hex[:min(length, len(hex))])
}
