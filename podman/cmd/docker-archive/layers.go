package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// layersJSON is the result of layers.
type layersJSON struct {
	Image      string      `json:"image"`
	Layers     []layerJSON `json:"layers"`
	Content    int64       `json:"content"`
	Visible    int64       `json:"visible"`
	Efficiency float64     `json:"efficiency"`
}

// layerJSON is a layer as layers --json prints it.
type layerJSON struct {
	Layer     int           `json:"layer"`
	Digest    digest.Digest `json:"digest"`
	DiffID    digest.Digest `json:"diffID,omitempty"`
	Stored    int64         `json:"stored"`
	Unpacked  int64         `json:"unpacked"`
	Added     int           `json:"added"`
	Changed   int           `json:"changed"`
	Removed   int           `json:"removed"`
	Content   int64         `json:"content"`
	Hidden    int64         `json:"hidden"`
	CreatedBy string        `json:"createdBy,omitempty"`
}

func newLayersCommand(g *globalOptions) *cobra.Command {
	o := &insideFlags{globalOptions: g}
	var least string
	var whole bool
	cmd := &cobra.Command{
		Use:     "layers IMAGE",
		Aliases: []string{"history", "tree"},
		Short:   "Show what each layer of an image adds, changes and hides",
		Long: `Show the layers of an image, the lowest first: bytes stored and unpacked, files
added, changed and removed, bytes that later layers hide, and how the layer was
made. The last line is the share of all layers' bytes that is visible in the
image. An archive shows all its images.

` + imageUsage,
		Example: `  docker-archive layers nginx.tar
  docker-archive layers --min-efficiency 0.9 nginx.tar`,
		Args:              exactArgs(1, "one image"),
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			want, err := parseShare(least)
			if err != nil {
				return err
			}
			images := []oneOf{{args[0], args[0]}}
			if !o.json { // One image is one document.
				if images, err = o.each(cmd.Context(), args[0]); err != nil {
					return err
				}
			}
			var little faults
			for n, img := range images {
				if len(images) > 1 {
					fmt.Fprintf(cmd.OutOrStdout(), "%s%s:\n", strings.Repeat("\n", min(n, 1)), printable.String(img.name))
				}
				visible, err := o.layers(cmd.Context(), cmd.OutOrStdout(), img.arg, whole)
				switch {
				case err != nil:
					return err
				case visible < want:
					little = append(little, fmt.Errorf("%s: %.4f of the files is visible, less than %s", img.name, visible, least))
				}
			}
			if len(little) > 0 {
				return little.err()
			}
			return nil
		},
	}
	o.register(cmd.Flags())
	cmd.Flags().StringVar(&least, "min-efficiency", "", "exit with 1 if less than `SHARE` is visible, such as 0.9 or 90%")
	cmd.Flags().BoolVar(&whole, "no-trunc", false, "print in full how each layer was made")
	return cmd
}

// layers prints the layers of an image, and returns which share of their files is visible.
func (o *insideFlags) layers(ctx context.Context, out io.Writer, arg string, whole bool) (visible float64, err error) {
	img, err := o.open(ctx, arg, files.Options{})
	if err != nil {
		return 0, err
	}
	defer img.close()
	stats, err := img.Stats(ctx)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", img.name, err)
	}
	result := newLayersJSON(img, stats)
	if o.json {
		return result.Efficiency, printJSON(out, result)
	}
	return result.Efficiency, printLayers(out, &result, whole)
}

// parseShare parses 0.9 or 90%.
func parseShare(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	number, percent := strings.CutSuffix(s, "%")
	share, err := strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share >= 0 && share <= 1) {
		return 0, usagef("--min-efficiency %q is no share from 0 to 1, or 0%% to 100%%", s)
	}
	return share, nil
}

func newLayersJSON(img *inside, stats []files.LayerStats) layersJSON {
	result := layersJSON{Image: img.name, Layers: []layerJSON{}, Efficiency: 1}
	made := image.CreatedBy(img.config.History, len(img.layers))
	for i, s := range stats {
		l := layerJSON{
			Layer: i, Digest: img.layers[i].Digest, Stored: s.Stored, Unpacked: s.Unpacked,
			Added: s.Added, Changed: s.Changed, Removed: s.Removed, Content: s.Content, Hidden: s.Hidden, CreatedBy: made[i],
		}
		if i < len(img.config.RootFS.DiffIDs) {
			l.DiffID = img.config.RootFS.DiffIDs[i]
		}
		result.Layers = append(result.Layers, l)
	}
	result.Visible, result.Content = files.Visible(stats)
	if result.Content > 0 {
		result.Efficiency = float64(result.Visible) / float64(result.Content)
	}
	return result
}

func printLayers(out io.Writer, r *layersJSON, whole bool) error {
	const enough = 60
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "LAYER\tDIGEST\tSTORED\tUNPACKED\tADDED\tCHANGED\tREMOVED\tHIDDEN\tCREATED BY")
	for _, l := range r.Layers {
		by := []rune(printable.String(strings.Join(strings.Fields(l.CreatedBy), " ")))
		if len(by) > enough && !whole {
			by = append(by[:enough-1], '…')
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", l.Layer, short(l.Digest), units.HumanSize(float64(l.Stored)), units.HumanSize(float64(l.Unpacked)),
			l.Added, l.Changed, l.Removed, units.HumanSize(float64(l.Hidden)), string(by))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "visible: %s of %s (%.1f %%)\n", units.HumanSize(float64(r.Visible)), units.HumanSize(float64(r.Content)), 100*r.Efficiency)
	return err
}
