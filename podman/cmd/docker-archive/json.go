package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// --json prints the types below. docs/json.md describes them, and says which parts are
// stable.

// savedJSON is the result of save.
type savedJSON struct {
	Archive string           `json:"archive"`
	OK      bool             `json:"ok"`
	SHA256  string           `json:"sha256,omitempty"`
	Images  []savedImageJSON `json:"images"`
	Size    *int64           `json:"size,omitempty"`  // of an archive that is planned
	Fetch   *int64           `json:"fetch,omitempty"` // for it
	Error   string           `json:"error,omitempty"`
}

// savedImageJSON is an image that has been saved, or not.
type savedImageJSON struct {
	Name      string           `json:"name,omitempty"`
	Names     []string         `json:"names"`
	Digest    digest.Digest    `json:"digest,omitempty"`
	Size      int64            `json:"size"`
	Platforms []string         `json:"platforms"`
	Source    string           `json:"source"`
	Subject   digest.Digest    `json:"subject,omitempty"`
	LeftOut   []errdef.LeftOut `json:"leftOut,omitempty"`
	Warnings  []string         `json:"warnings,omitempty"`
	Error     string           `json:"error,omitempty"`
}

func newSavedJSON(path string, results []copying.SaveResult, options *copying.SaveOptions) savedJSON {
	saved := savedJSON{Archive: path, OK: true, Images: []savedImageJSON{}}
	if options.ArchiveDigest != nil && *options.ArchiveDigest != "" {
		saved.SHA256 = options.ArchiveDigest.Encoded()
	}
	for _, r := range results {
		img := savedImageJSON{
			Names: append([]string{}, r.AllNames()...), Digest: r.Digest, Size: r.Size, Platforms: append([]string{}, r.Platforms...),
			Source: transports.ImageName(r.Source), Subject: r.Subject, LeftOut: r.LeftOut, Warnings: r.Warnings,
		}
		if len(img.Names) > 0 {
			img.Name = img.Names[0]
		}
		if r.Err != nil {
			saved.OK, img.Error = false, unprefixed(r.Err.Error())
		}
		saved.Images = append(saved.Images, img)
	}
	return saved
}

// notSaved adds an image that is left out before anything is known of it.
func (s *savedJSON) notSaved(source string, err error) {
	s.OK = false
	s.Images = append(s.Images, savedImageJSON{Names: []string{}, Size: -1, Platforms: []string{}, Source: source, Error: unprefixed(err.Error())})
}

// failed prints, with --json, a report on an archive that could not be saved.
func (o *saveOptions) failed(cmd *cobra.Command, err error) error {
	if err == nil || !o.json || o.told {
		return err
	}
	saved := savedJSON{Archive: cmp.Or(o.archive, o.output), Images: append([]savedImageJSON{}, o.unlisted.Images...)}
	out := cmd.OutOrStdout()
	if saved.Archive == "-" || saved.Archive == standardOutput {
		saved.Archive, out = standardOutput, cmd.ErrOrStderr()
	}
	if !errors.Is(err, errReported) {
		saved.Error = unprefixed(err.Error())
	}
	return errors.Join(err, printJSON(out, saved))
}

// tell reports what has been saved, in all requested forms.
func (o *saveOptions) tell(out io.Writer, path string, results []copying.SaveResult, options *copying.SaveOptions) error {
	if o.digestfile != "" {
		var lines bytes.Buffer
		err := printSaved(&lines, results)
		if err == nil {
			err = os.WriteFile(o.digestfile, lines.Bytes(), 0o644)
		}
		if err != nil {
			return fmt.Errorf("writing the digests to %s: %w", o.digestfile, err)
		}
	}
	var err error
	switch {
	case o.json:
		o.told = true
		err = printJSON(out, o.saved(path, results, options))
	case !o.quiet:
		if err = printSaved(out, results); err == nil {
			err = o.tellLeftOut(out, results)
		}
	}
	if err == nil && o.sha256 && !o.json {
		_, err = fmt.Fprintf(out, "%s  %s\n", options.ArchiveDigest.Encoded(), printable.String(path))
	}
	if err != nil {
		return fmt.Errorf("printing what %s holds: %w", path, err)
	}
	return nil
}

// pushedJSON is the result of push.
type pushedJSON struct {
	Registry string            `json:"registry"`
	OK       bool              `json:"ok"`
	Images   []pushedImageJSON `json:"images"`
	Error    string            `json:"error,omitempty"`
}

// pushedImageJSON is an image that has been pushed, or not.
type pushedImageJSON struct {
	Source   string        `json:"source"`
	Targets  []string      `json:"targets"`
	Digest   digest.Digest `json:"digest,omitempty"`
	UpToDate bool          `json:"upToDate"`
	Sent     int64         `json:"sent"`
	There    int64         `json:"there"`
	Warnings []string      `json:"warnings,omitempty"`
	Error    string        `json:"error,omitempty"`
}

func newPushedJSON(registry string, results []copying.PushResult) pushedJSON {
	pushed := pushedJSON{Registry: registry, OK: true, Images: []pushedImageJSON{}}
	for _, r := range results {
		img := pushedImageJSON{Source: transports.ImageName(r.Source), Targets: []string{}, Digest: r.Digest, UpToDate: r.UpToDate, Sent: r.Sent, There: r.There, Warnings: r.Warnings}
		for _, t := range r.Targets {
			img.Targets = append(img.Targets, t.String())
		}
		if r.Err != nil {
			pushed.OK, img.Error = false, unprefixed(r.Err.Error())
		}
		pushed.Images = append(pushed.Images, img)
	}
	return pushed
}

// saved is the output of --json for an archive, with the images that are left out
// before it is saved.
func (o *saveOptions) saved(path string, results []copying.SaveResult, options *copying.SaveOptions) savedJSON {
	saved := newSavedJSON(path, results, options)
	saved.OK = saved.OK && len(o.unlisted.Images) == 0
	saved.Images = append(saved.Images, o.unlisted.Images...)
	return saved
}

// verifiedJSON is the result of verify.
type verifiedJSON struct {
	Archive  string           `json:"archive"`
	OK       bool             `json:"ok"`
	Problems []string         `json:"problems"`
	Notes    []string         `json:"notes"`
	LeftOut  []errdef.LeftOut `json:"leftOut,omitempty"`
	Error    string           `json:"error,omitempty"`
}

func newVerifiedJSON(path string, report *archive.Report) verifiedJSON {
	verified := verifiedJSON{Archive: path, OK: len(report.Problems) == 0, Problems: []string{}, Notes: append([]string{}, report.Notes...), LeftOut: report.LeftOut}
	for _, p := range report.Problems {
		verified.Problems = append(verified.Problems, p.Error())
	}
	return verified
}

// listRow is the input of list --format: fields with the names that docker image ls
// has, and all that --json prints besides.
type listRow struct {
	dockerarchive.ImageInfo
	Name       string // as in the archive, or @N
	Repository string
	Tag        string
	ID         string // of the config, as docker shortens it
	Platforms  string
	HumanSize  string
	CreatedAt  string // as docker has it, the day here
}

func listRows(images []dockerarchive.ImageInfo) []listRow {
	var rows []listRow
	for _, img := range images {
		for _, name := range rowNames(img) {
			row := listRow{
				ImageInfo: img, Name: name, Repository: "<none>", Tag: "<none>",
				Platforms: platforms(img.ManifestInfo), HumanSize: units.HumanSize(float64(img.Size)), CreatedAt: day(img.Created),
			}
			_, row.ID, _ = strings.Cut(short(cmp.Or(img.Config, img.Digest)), ":")
			if named, err := reference.ParseNormalizedNamed(name); err == nil {
				row.Repository = reference.FamiliarName(named)
				if tagged, ok := named.(reference.Tagged); ok {
					row.Tag = tagged.Tag()
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// templateField is a field in a template.
var templateField = regexp.MustCompile(`\{\{[^.}]*\.(\w+)[^}]*\}\}`)

// printFormatted prints a line for each name of each image. If the format begins with "table ", as for
// docker and podman, a heading comes first.
func printFormatted(out io.Writer, format string, images []dockerarchive.ImageInfo) error {
	if columns, ok := strings.CutPrefix(format, "table "); ok {
		w := tabwriter.NewWriter(shown(out), 0, 0, 3, ' ', 0)
		heading := templateField.ReplaceAllStringFunc(tabs.Replace(columns), func(field string) string {
			return strings.ToUpper(templateField.FindStringSubmatch(field)[1])
		})
		fmt.Fprintln(w, heading)
		if err := printFormatted(w, columns, images); err != nil {
			return err
		}
		return w.Flush()
	}
	for _, row := range listRows(images) {
		if err := printFormat(shown(out), format, row); err != nil {
			return err
		}
	}
	return nil
}
