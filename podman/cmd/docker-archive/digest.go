package main

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/manifest"

	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// newDigestCommand returns the hidden command that crane and regctl call digest.
func newDigestCommand(g *globalOptions) *cobra.Command {
	o := &insideFlags{globalOptions: g}
	tarball := ""
	cmd := &cobra.Command{
		Use:               "digest IMAGE",
		Short:             "Print the digest of an image, or of all images in an archive",
		Example:           "  docker-archive digest images.tar",
		Hidden:            true,
		Args:              betweenArgs(0, 1, "one image"),
		ValidArgsFunction: completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			image := tarball
			switch {
			case len(args) == 1 && tarball != "": // A name in that.
				image += ":" + args[0]
			case len(args) == 1:
				image = args[0]
			case tarball == "":
				return usagef("digest takes one image")
			}
			each, err := o.each(cmd.Context(), image)
			if err != nil {
				return err
			}
			for _, img := range each {
				d, err := o.digest(cmd.Context(), img.arg)
				if err != nil {
					return err
				}
				line := d.String()
				if len(each) > 1 {
					line += " " + printable.String(img.name)
				}
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), line); err != nil {
					return err
				}
			}
			return nil
		},
	}
	g.registerPlatform(cmd.Flags())
	o.registerSource(cmd.Flags())
	cmd.Flags().StringVar(&tarball, "tarball", "", "`ARCHIVE` that has the image, as crane has it")
	return cmd
}

// digest returns the digest of the manifest or index of an image.
func (o *insideFlags) digest(ctx context.Context, arg string) (digest.Digest, error) {
	src, sys, err := o.source(ctx, arg, true)
	if err != nil {
		return "", err
	}
	defer src.Close()
	if sys.OSChoice != "" || sys.ArchitectureChoice != "" || sys.VariantChoice != "" { // The image that is asked for.
		img, err := open(ctx, sys, src)
		if err != nil {
			return "", err
		}
		data, _, err := img.Manifest(ctx)
		if err != nil {
			return "", err
		}
		return manifest.Digest(data)
	}
	data, _, err := src.GetManifest(ctx, nil)
	if err != nil {
		return "", err
	}
	return manifest.Digest(data)
}

// oneOf is an image, as it is named on a command line and to people.
type oneOf struct{ arg, name string }

// each returns the images that an argument means: all of an archive that has several, where none is chosen.
func (o *insideFlags) each(ctx context.Context, arg string) ([]oneOf, error) {
	if !isArchive(arg) || arg == "-" {
		return []oneOf{{arg, arg}}, nil
	}
	path, _, chosen := naming.Split(archivePath(arg))
	if chosen {
		return []oneOf{{arg, arg}}, nil
	}
	sys, err := o.systemContext()
	if err != nil {
		return nil, err
	}
	r, err := dockerarchive.NewReaderContext(ctx, sys, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	images, err := r.Images(ctx)
	if err != nil {
		return nil, err
	}
	var each []oneOf
	for _, img := range images {
		if img.ArtifactType == "" && img.Error == "" && len(img.Subjects) == 0 {
			each = append(each, oneOf{fmt.Sprintf("%s:@%d", path, img.Position), rowNames(img)[0]})
		}
	}
	if len(each) < 2 {
		return []oneOf{{arg, arg}}, nil
	}
	return each, nil
}

// newTagsCommand returns the hidden command that crane calls ls and regctl tag ls, with a tag in each
// line, or skopeo's list-tags, with its JSON.
func newTagsCommand(g *globalOptions, name string, asJSON bool) *cobra.Command {
	o := &insideFlags{globalOptions: g}
	cmd := &cobra.Command{
		Use:     name + " ARCHIVE|REPOSITORY",
		Short:   "Print the names in an archive, or the tags in a registry",
		Example: "  docker-archive " + name + " docker-archive:images.tar",
		Hidden:  true,
		Args:    exactArgs(1, "an archive or a repository"),
		RunE: func(cmd *cobra.Command, args []string) error {
			tags, err := o.tags(cmd.Context(), g, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), tags)
			}
			for _, tag := range tags.Tags {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), printable.String(tag)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.registerSource(cmd.Flags())
	return cmd
}

// tagList is the output of skopeo list-tags.
type tagList struct {
	Repository string `json:",omitempty"`
	Tags       []string
}

func (o *insideFlags) tags(ctx context.Context, g *globalOptions, arg string) (*tagList, error) {
	base, err := g.systemContext()
	if err != nil {
		return nil, err
	}
	if isArchive(arg) {
		r, err := dockerarchive.NewReaderContext(ctx, base, archivePath(arg))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		images, err := r.Images(ctx)
		list := &tagList{Tags: []string{}}
		for _, img := range images {
			list.Tags = append(list.Tags, img.Names...)
		}
		return list, err
	}
	sys, err := o.registry.apply(*base)
	if err != nil {
		return nil, err
	}
	ref, err := o.reference(ctx, sys, arg)
	if err != nil {
		return nil, err
	}
	if ref.Transport().Name() != docker.Transport.Name() {
		return nil, usagef("%s is neither an archive nor a repository in a registry", shortened(arg))
	}
	tags, err := docker.GetRepositoryTags(ctx, contextOf(sys, ref), ref)
	if err != nil {
		return nil, o.registry.failed(hostOf(ref), err)
	}
	return &tagList{ref.DockerReference().Name(), tags}, nil
}
