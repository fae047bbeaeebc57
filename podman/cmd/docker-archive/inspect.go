package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	template "github.com/DataDog/datadog-agent/pkg/template/text" // docs/architecture.md says why
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/dockerarchive/dockerarchive/errdef"
	documents "github.com/dockerarchive/dockerarchive/internal/image"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/sources"
)

// inspection has the fields of skopeo inspect, in their order.
type inspection struct {
	Name          string `json:",omitempty"`
	Tag           string `json:",omitempty"`
	Digest        digest.Digest
	RepoTags      []string
	Created       *time.Time
	DockerVersion string
	Labels        map[string]string
	Architecture  string
	Os            string
	Layers        []string
	LayersData    []types.ImageInspectLayer `json:",omitempty"`
	Env           []string
	// Not of skopeo's: layers that are in other archives.
	LeftOut []errdef.LeftOut `json:",omitempty"`
}

func newInspectCommand(g *globalOptions) *cobra.Command {
	o := &insideFlags{globalOptions: g}
	var raw, config, noTags, quiet bool
	var format string
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Show an image's manifest, config or a summary of both",
		Long: `Show an image, as 'skopeo inspect' does. An archive with one image needs no
name. Summary and config are those for this machine's platform, or for
--platform. LeftOut lists layers that the archive leaves to another one.

` + imageUsage + `

On a terminal, non-printing characters are escaped, as in \x1b. In a pipe or a
file, --raw and --format print every byte.`,
		Example: `  docker-archive inspect images.tar:alpine:3.20
  docker-archive inspect --config images.tar:@0
  docker-archive inspect --format '{{.Digest}}' image.tar
  docker-archive inspect example.com/app:1`,
		Args:              exactArgs(1, "one image"),
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format == "json" { // The output is JSON anyway, also that of --raw, which prints byte for byte.
				format = ""
			}
			if format != "" && (raw || config) {
				return guessError{usagef("--format cannot be used together with --raw or --config"), "docker-archive inspect --raw and --config print JSON; fields of it: … | jq"}
			}
			src, sys, err := o.source(cmd.Context(), args[0], raw && !config)
			if err != nil {
				return err
			}
			defer src.Close()
			out := cmd.OutOrStdout()
			switch {
			case config:
				return printConfig(cmd.Context(), out, sys, src, raw)
			case raw:
				return printManifest(cmd.Context(), shown(out), src)
			}
			summary, err := inspect(cmd.Context(), sys, src)
			if err != nil {
				return err
			}
			if format != "" {
				return printFormat(shown(out), format, summary)
			}
			return printJSON(out, summary)
		},
	}
	g.registerPlatform(cmd.Flags())
	o.registerSource(cmd.Flags())
	cmd.Flags().BoolVarP(&noTags, "no-tags", "n", false, "do not list the tags of the repository; they never are here")
	hide(cmd.Flags(), "no-tags")
	registerQuiet(cmd.Flags(), &quiet)
	cmd.Flags().BoolVar(&raw, "raw", false, "print the manifest or index byte for byte, with --config the config")
	cmd.Flags().BoolVar(&config, "config", false, "print the config")
	cmd.Flags().StringVarP(&format, "format", "f", "", "print the summary through a Go `template`, or as json")
	return cmd
}

// source opens the image that an argument means. With whole, it opens an index as it is,
// whatever its platforms.
func (o *insideFlags) source(ctx context.Context, arg string, whole bool) (types.ImageSource, *types.SystemContext, error) {
	base, err := o.systemContext()
	if err != nil {
		return nil, nil, err
	}
	sys, err := o.registry.apply(*base)
	if err != nil {
		return nil, nil, err
	}
	ref, err := o.reference(ctx, sys, arg)
	if err != nil {
		return nil, nil, err
	}
	opening := sources.Opening(contextOf(sys, ref), ref, whole)
	var src types.ImageSource
	err = copying.Retry(ctx, o.retryTimes, 0, nil, func() (err error) {
		if src, err = ref.NewImageSource(ctx, opening); err == nil {
			src = sources.Typed(ctx, src)
		}
		return err
	})
	if err != nil && !isArchive(arg) {
		err = o.registry.failed(hostOf(ref), &errdef.ImageError{Op: "opening", Image: transports.ImageName(ref), Err: err})
	}
	return src, sys, err
}

// reference parses the argument of inspect.
func (o *insideFlags) reference(ctx context.Context, sys *types.SystemContext, arg string) (types.ImageReference, error) {
	if isArchive(arg) {
		ref, err := dockerarchive.ParseReference(archivePath(arg))
		if err != nil {
			return nil, usageError{err}
		}
		return ref, nil
	}
	text, err := wholeID(ctx, sys, arg)
	if err != nil {
		return nil, err
	}
	ref, _, err := parseImage(text)
	if err != nil {
		return nil, usagef("image %q: %w", shortened(arg), err)
	}
	return ref, nil
}

// open returns an image or, of an index, that for the platform that is asked for.
func open(ctx context.Context, sys *types.SystemContext, src types.ImageSource) (types.Image, error) {
	instance, err := copying.ChoosePlatform(ctx, sys, src)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", transports.ImageName(src.Reference()), err)
	}
	return sources.Parse(ctx, sys, src, instance, image.UnparsedInstance(src, instance))
}

func printManifest(ctx context.Context, out io.Writer, src types.ImageSource) error {
	data, _, err := src.GetManifest(ctx, nil)
	if err == nil {
		_, err = out.Write(data)
	}
	return err
}

func printConfig(ctx context.Context, out io.Writer, sys *types.SystemContext, src types.ImageSource, raw bool) error {
	img, err := open(ctx, sys, src)
	if err != nil {
		return err
	}
	data, err := img.ConfigBlob(ctx)
	switch {
	case err != nil:
		return err
	case raw:
		_, err = shown(out).Write(data)
		return err
	case len(data) == 0: // Docker's schema 1 has no config.
		config, err := img.OCIConfig(ctx)
		if err != nil {
			return err
		}
		return printJSON(out, config)
	}
	var indented bytes.Buffer // All fields, in their order, also unknown ones.
	if err := json.Indent(&indented, bytes.TrimSpace(data), "", "    "); err != nil {
		return fmt.Errorf("%s: its config is no JSON, which --raw prints as it is: %w", transports.ImageName(src.Reference()), err)
	}
	indented.WriteByte('\n')
	_, err = out.Write(printable.JSON(indented.Bytes()))
	return err
}

func inspect(ctx context.Context, sys *types.SystemContext, src types.ImageSource) (*inspection, error) {
	data, _, err := src.GetManifest(ctx, nil)
	if err != nil {
		return nil, err
	}
	d, err := manifest.Digest(data)
	if err != nil {
		return nil, err
	}
	img, err := open(ctx, sys, src)
	if err != nil {
		return nil, err
	}
	info, err := img.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	summary := &inspection{
		Tag:           info.Tag,
		Digest:        d,
		RepoTags:      []string{},
		Created:       info.Created,
		DockerVersion: info.DockerVersion,
		Labels:        info.Labels,
		Architecture:  info.Architecture,
		Os:            info.Os,
		Layers:        info.Layers,
		LayersData:    info.LayersData,
		Env:           info.Env,
	}
	if archive, ok := src.(interface {
		LeftOut(digest.Digest) (documents.Elsewhere, bool)
	}); ok {
		for _, l := range img.LayerInfos() {
			if where, ok := archive.LeftOut(l.Digest); ok {
				summary.LeftOut = append(summary.LeftOut, where.Of(imgspecv1.Descriptor{Digest: l.Digest, Size: l.Size}))
			}
		}
	}
	if name := src.Reference().DockerReference(); name != nil {
		summary.Name = name.Name()
	}
	return summary, nil
}

// noFieldError means that a template wants a field that does not exist.
type noFieldError struct {
	name   string
	fields []string // that exist
}

// Error names the field, and those that exist.
func (e *noFieldError) Error() string {
	return fmt.Sprintf("--format: there is no field %s; there are %s", e.name, strings.Join(e.fields, ", "))
}

// fieldsOf returns the fields that a template has of a structure.
func fieldsOf(v any) []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.Indirect(reflect.ValueOf(v)).Type()) {
		if f.IsExported() && !f.Anonymous {
			names = append(names, f.Name)
		}
	}
	return names
}

// tabs replaces the two escapes that docker and podman also accept outside of a template's actions.
var tabs = strings.NewReplacer(`\t`, "\t", `\n`, "\n")

// printFormat prints a structure by a Go template, and a line end.
func printFormat(out io.Writer, format string, v any) error {
	t, err := template.New("format").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			data, err := json.Marshal(v)
			return string(data), err
		},
		"join": strings.Join,
	}).Parse(tabs.Replace(format))
	if err != nil {
		return fmt.Errorf("--format: %w", err)
	}
	if err := t.Execute(out, v); err != nil {
		if _, field, ok := strings.Cut(err.Error(), "can't evaluate field "); ok && strings.HasSuffix(field, fmt.Sprintf(" in type %T", v)) {
			name, _, _ := strings.Cut(field, " ")
			return &noFieldError{name, fieldsOf(v)}
		}
		return fmt.Errorf("--format: %w", err)
	}
	_, err = fmt.Fprintln(out)
	return err
}
