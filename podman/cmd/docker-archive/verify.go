package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/progress"
)

// verifyOptions are the flags of the verify command.
type verifyOptions struct {
	global *globalOptions
	signed signedOptions
	base   baseOptions
	server registryOptions
	asJSON bool
	quiet  bool
}

func newVerifyCommand(g *globalOptions) *cobra.Command {
	o := &verifyOptions{global: g}
	cmd := &cobra.Command{
		Use:     "verify ARCHIVE",
		Aliases: []string{"check", "validate"},
		Short:   "Check everything an archive says of itself",
		Long: `Check every blob in an archive against its name, digest and diff ID, and every
size, link and reference. The exit status is 1 if anything is wrong, and 3 if
the only fault is layers left to another archive ('save --without' and
'--delta'). With --base, those are checked too.

With --key, every image must also be signed with that key, by a signature in
the archive ('save --referrers' takes it along): cosign's, or a sigstore
bundle. No service is asked.

ARCHIVE may be compressed, - for standard input, or the directory of an OCI
layout.`,
		Example: `  docker-archive verify images.tar
  docker-archive verify --key cosign.pub images.tar`,
		Args:              exactArgs(1, "one archive"),
		ValidArgsFunction: completeArchives,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.asJSON {
				return o.printJSON(cmd, args[0])
			}
			return o.print(cmd, args[0])
		},
	}
	o.signed.register(cmd.Flags())
	o.base.register(cmd.Flags())
	o.server.registerServer(cmd.Flags())
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print what is found as JSON")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print problems only")
	return cmd
}

// verify checks an archive, which stays open until release, that is never nil.
func (o *verifyOptions) verify(cmd *cobra.Command, arg string) (report *archive.Report, r *dockerarchive.Reader, release func(), err error) {
	release = func() {}
	base, err := o.global.systemContext()
	if err == nil {
		err = o.signed.read()
	}
	if err != nil {
		return nil, nil, release, err
	}
	sys, err := o.server.apply(*base)
	if err != nil {
		return nil, nil, release, err
	}
	opened, err := dockerarchive.NewReaderContext(cmd.Context(), sys, archivePath(arg))
	if err != nil {
		return nil, nil, release, err
	}
	release = func() {
		o.base.close()
		_ = opened.Close() // It has only been read from.
	}
	if err := o.base.open(cmd.Context(), o.global, sys, 0); err != nil {
		return nil, nil, release, err
	}
	if o.base.bases != nil {
		if err := opened.UseBases(cmd.Context(), o.base.bases); err != nil {
			return nil, nil, release, err
		}
	}
	read, done := progressBar(cmd.ErrOrStderr(), opened.Size())
	report, err = opened.Verify(cmd.Context(), read)
	done()
	if err != nil {
		return nil, nil, release, err
	}
	unsigned, err := o.signed.verify(cmd.Context(), opened)
	if err != nil {
		return nil, nil, release, err
	}
	report.Problems = append(report.Problems, unsigned...)
	return report, opened, release, nil
}

// printJSON verifies an archive for programs, which get JSON in any case.
func (o *verifyOptions) printJSON(cmd *cobra.Command, arg string) error {
	report, _, release, err := o.verify(cmd, arg)
	defer release()
	if err != nil {
		failed := verifiedJSON{Archive: arg, Problems: []string{}, Notes: []string{}, Error: unprefixed(err.Error())}
		return errors.Join(err, printJSON(cmd.OutOrStdout(), failed))
	}
	err = printJSON(cmd.OutOrStdout(), newVerifiedJSON(arg, report))
	switch {
	case err != nil:
		return err
	case len(report.Problems) > 0:
		return errReported
	case len(report.LeftOut) > 0:
		return errLeftOut
	}
	return nil
}

// print verifies an archive for people.
func (o *verifyOptions) print(cmd *cobra.Command, arg string) error {
	report, r, release, err := o.verify(cmd, arg)
	defer release()
	if err != nil {
		return err
	}
	for _, p := range report.Problems {
		fmt.Fprintln(cmd.OutOrStdout(), printable.String(p.Error()))
	}
	o.signed.hint(cmd.ErrOrStderr(), report.Problems)
	out := discardIf(o.quiet, cmd.OutOrStdout())
	for _, n := range report.Notes {
		fmt.Fprintln(out, "note:", printable.String(n))
	}
	switch n := len(report.Problems); {
	case n > 0:
		return fmt.Errorf("%s: %s found", arg, plural(n, "problem"))
	case len(report.LeftOut) > 0:
		fmt.Fprintf(out, "%s: OK, except for layers that are left out:\n", printable.String(arg))
		printLeftOut(out, report.LeftOut)
		return errLeftOut
	}
	return tellVerified(cmd.Context(), out, arg, r)
}

// tellVerified prints what has been verified.
func tellVerified(ctx context.Context, out io.Writer, archive string, r *dockerarchive.Reader) error {
	images, err := r.Images(ctx)
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
	_, err = fmt.Fprintf(out, "%s: OK (%s, %s)\n", printable.String(archive), said, units.HumanSize(float64(r.Size())))
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
