package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/internal/files"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/internal/unpacking"
)

// extractJSON is the result of extract.
type extractJSON struct {
	Directory   string        `json:"directory"`
	Image       string        `json:"image"`
	Files       int           `json:"files"`
	Directories int           `json:"directories"`
	Links       int           `json:"links"`
	Devices     int           `json:"devices"`
	Bytes       int64         `json:"bytes"`
	NotKept     []notKeptJSON `json:"notKept"`
}

// notKeptJSON is something that the files here have not got.
type notKeptJSON struct {
	What    string `json:"what"`
	Files   int    `json:"files"`
	Example string `json:"example"`
}

func newExtractCommand(g *globalOptions) *cobra.Command {
	o := &insideFlags{globalOptions: g}
	var quiet bool
	cmd := &cobra.Command{
		Use:   "extract IMAGE [PATH] DIR",
		Short: "Unpack an image's files into a directory",
		Long: `Unpack the files of an image, or those below PATH, into a directory. Nothing is
written outside of DIR. Existing files are replaced, never written through;
directories and their other contents are kept.

Root keeps owners, modes, times, extended attributes and devices. Other users
cannot keep owners, devices and some attributes: the end of the output counts
these.

` + imageUsage,
		Example: `  docker-archive extract nginx.tar rootfs
  docker-archive extract nginx.tar /etc etc`,
		Args: betweenArgs(2, 3, "an image, perhaps a path in it, and a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			img, err := o.open(cmd.Context(), args[0], files.Options{})
			if err != nil {
				return err
			}
			defer img.close()
			path, dir := "", args[len(args)-1]
			if len(args) == 3 {
				path = args[1]
			}
			from, err := img.LookupAll(cmd.Context(), path)
			if err != nil {
				return fmt.Errorf("%s: %w", img.name, err)
			}
			result, err := unpacking.Unpack(cmd.Context(), img.Tree, from, dir)
			if err != nil {
				return fmt.Errorf("extracting %s: %w", img.name, err)
			}
			return tellExtracted(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.json, quiet, img.name, dir, result)
		},
	}
	o.register(cmd.Flags())
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print errors only")
	return cmd
}

func tellExtracted(out, stderr io.Writer, asJSON, quiet bool, image, dir string, r *unpacking.Result) error {
	j := extractJSON{Directory: dir, Image: image, Files: r.Files, Directories: r.Directories, Links: r.Links, Devices: r.Devices, Bytes: r.Bytes, NotKept: []notKeptJSON{}}
	for _, what := range slices.Sorted(maps.Keys(r.NotKept)) {
		example, _ := asText("/" + r.Examples[what])
		j.NotKept = append(j.NotKept, notKeptJSON{string(what), r.NotKept[what], example})
	}
	if asJSON {
		return printJSON(out, j)
	}
	if quiet {
		return nil
	}
	for _, n := range j.NotKept {
		fmt.Fprintf(stderr, "docker-archive: %s not kept of %d files, such as %s\n", n.What, n.Files, printable.String(n.Example))
	}
	_, err := fmt.Fprintf(out, "%s: %d files, %d directories, %d links, %d devices, %s\n", printable.String(dir), r.Files, r.Directories, r.Links, r.Devices, units.HumanSize(float64(r.Bytes)))
	return err
}
