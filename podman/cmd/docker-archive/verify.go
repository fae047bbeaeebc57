package main

import (
	"fmt"
	"io"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/progress"
)

func newVerifyCommand(g *globalOptions) *cobra.Command {
	var quiet, asJSON bool
	var signed signedOptions
	var base baseOptions
	cmd := &cobra.Command{
		Use:     "verify ARCHIVE",
		Aliases: []string{"check", "validate"},
		Short:   "Check everything an archive says of itself",
		Long: `Check every blob in an archive against its name, digest and diff ID, every size,
every link and every reference. All that is wrong is listed; the exit status is 1
if anything is. It is 3 if nothing is, but layers are left out that are in other archives,
as the archive says ('docker-archive save --without' and '--delta'). With --base, layers come
from there, are made by their deltas, and tested as any other. ARCHIVE may be compressed, - for
the standard input, and the directory of an OCI layout.

With --key, every image that any client loads from the archive must also be signed with
that key, by a signature that is in the archive ('docker-archive save --referrers' takes it
along): one of cosign's, or a bundle of sigstore. Nobody else is asked.`,
		Example: `  docker-archive verify images.tar
  docker-archive verify --key cosign.pub images.tar`,
		Args:              exactArgs(1, "one archive"),
		ValidArgsFunction: completeArchives,
		RunE: func(cmd *cobra.Command, args []string) error {
			sys, err := g.systemContext()
			if err != nil {
				return err
			}
			if err := signed.read(); err != nil {
				return err
			}
			r, err := dockerarchive.NewReaderContext(cmd.Context(), sys, archivePath(args[0]))
			if err != nil {
				return err
			}
			defer r.Close()
			if err := base.open(cmd.Context(), g, sys, 0); err != nil {
				return err
			}
			defer base.close()
			if base.bases != nil {
				if err := r.UseBases(cmd.Context(), base.bases); err != nil {
					return err
				}
			}
			read, done := progressBar(cmd.ErrOrStderr(), r.Size())
			report, err := r.Verify(cmd.Context(), read)
			done()
			if err != nil {
				return err
			}
			unsigned, err := signed.verify(cmd.Context(), r)
			if err != nil {
				return err
			}
			report.Problems = append(report.Problems, unsigned...)
			if asJSON {
				err := printJSON(cmd.OutOrStdout(), newVerifiedJSON(args[0], report))
				if err == nil && len(report.Problems) > 0 {
					err = errReported
				} else if err == nil && len(report.LeftOut) > 0 {
					err = errLeftOut
				}
				return err
			}
			for _, p := range report.Problems {
				fmt.Fprintln(cmd.OutOrStdout(), printable.String(p.Error()))
			}
			if !quiet {
				for _, n := range report.Notes {
					fmt.Fprintln(cmd.OutOrStdout(), "note:", printable.String(n))
				}
			}
			if n := len(report.Problems); n > 0 {
				return fmt.Errorf("%s: %s found", args[0], plural(n, "problem"))
			}
			if len(report.LeftOut) > 0 {
				if !quiet {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: OK, except for layers that are left out:\n", printable.String(args[0]))
					printLeftOut(cmd.OutOrStdout(), report.LeftOut)
				}
				return errLeftOut
			}
			if !quiet {
				return tellVerified(cmd, args[0], r)
			}
			return nil
		},
	}
	signed.register(cmd.Flags())
	base.register(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what is found as JSON")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print problems only")
	return cmd
}

// tellVerified says what has been found to be right.
func tellVerified(cmd *cobra.Command, archive string, r *dockerarchive.Reader) error {
	images, err := r.Images(cmd.Context())
	if err != nil {
		return err
	}
	referrers := 0
	for _, img := range images {
		if img.IsReferrer() {
			referrers++
		}
	}
	said := plural(len(images)-referrers, "image")
	if referrers > 0 {
		said += ", " + plural(referrers, "referrer")
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: OK (%s, %s)\n", printable.String(archive), said, units.HumanSize(float64(r.Size())))
	return err
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// progressBar shows a bar on out if that is a terminal. done takes it away.
func progressBar(out io.Writer, total int64) (read func(bytes int), done func()) {
	if !hasCursor(out) {
		return nil, func() {}
	}
	show, done := newBars(out, words{all: func(progress.Event) string { return "verifying" }})
	show(progress.Event{Kind: progress.Planned, Size: total})
	return func(n int) { show(progress.Event{Kind: progress.Read, Bytes: n}) }, done
}
