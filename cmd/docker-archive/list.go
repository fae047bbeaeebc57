package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive"
)

func newListCommand(g *globalOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list ARCHIVE",
		Aliases: []string{"ls"},
		Short:   "List the images in an archive",
		Long: `List the images in an archive: one line for each name, with the digest of the
manifest or, if the archive has none, of the config. ARCHIVE may be compressed,
and - for the standard input.`,
		Example: `  docker-archive list images.tar
  curl -s https://example.com/images.tar.zst | docker-archive list -`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
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
			if asJSON {
				return printJSON(cmd.OutOrStdout(), images)
			}
			return printList(cmd.OutOrStdout(), images)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all that is known, as JSON")
	return cmd
}

// archivePath takes the transport off what the user gave, if it has one.
func archivePath(arg string) string {
	return strings.TrimPrefix(arg, dockerarchive.Transport.Name()+":")
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "    ")
	return e.Encode(v)
}

func printList(out io.Writer, images []dockerarchive.ImageInfo) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "REFERENCE\tPLATFORM\tDIGEST\tLAYERS\tSIZE")
	for _, img := range images {
		id := img.Digest
		if id == "" {
			id = img.Config
		}
		for _, name := range rowNames(img) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", name, platforms(img.ManifestInfo), short(id), img.Layers, units.HumanSize(float64(img.Size)))
		}
	}
	return w.Flush()
}

// rowNames returns how to refer to an image, at least one way.
func rowNames(img dockerarchive.ImageInfo) []string {
	var names []string
	for _, ref := range img.References {
		if name := ref.DockerReference(); name != nil {
			names = append(names, name.String())
		}
	}
	if len(names) == 0 {
		names = []string{fmt.Sprintf("@%d", img.Position)}
	}
	return names
}

// platforms names all platforms of an image that are in the archive.
func platforms(m dockerarchive.ManifestInfo) string {
	var all []string
	for _, child := range m.Manifests {
		if !child.Missing && !child.Attestation {
			all = append(all, platforms(child))
		}
	}
	switch {
	case len(all) > 0:
		return strings.Join(all, ",")
	case m.Platform == "":
		return "-"
	}
	return m.Platform
}

// short abbreviates a digest as Docker does.
func short(d digest.Digest) string {
	const length = 12
	algorithm, hex, _ := strings.Cut(d.String(), ":")
	return algorithm + ":" + hex[:min(length, len(hex))]
}
