// Command docker-archive copies container images to, from and between image
// archives: the tar files of docker save, podman save and skopeo.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"go.podman.io/storage/pkg/reexec"

	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/printable"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	_ "github.com/dockerarchive/dockerarchive/podman/cmd/docker-archive/internal/garbage"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	_ "github.com/dockerarchive/dockerarchive/podman/register"
	_ "github.com/dockerarchive/dockerarchive/store/https"
	_ "github.com/dockerarchive/dockerarchive/store/s3"
)

// Exit statuses, as docs/json.md lists them.
const (
	exitFailure = 1
	exitUsage   = 2
	exitLeftOut = 3

	exitInterrupted = 130 // as a shell says it of a process that SIGINT has ended
	exitTerminated  = 143 // and SIGTERM
)

func main() {
	if reexec.Init() { // containers-storage: runs helpers as this program under another name.
		return
	}
	ctx, stop := notifyContext(context.Background())
	defer stop()
	root := newRootCommand()
	out := &results{file: os.Stdout}
	root.SetOut(out)
	args, err := withoutQueries(os.Args[1:]), error(nil)
	if os.Getenv(calledByDocker) != "" {
		args, err = asPlugin(root, args)
		endWithDocker(stop)
	}
	args = translate(root, args)
	if root.SetArgs(args); err == nil {
		err = explain(root, args, root.ExecuteContext(copying.Remembering(ctx)))
	}
	if lost := out.close(); err == nil {
		err = lost
	}
	if err != nil {
		os.Exit(report(ctx, os.Stderr, err))
	}
}

// withoutQueries takes the query strings off the addresses of archives. They may grant access, and
// arguments are printed.
func withoutQueries(args []string) []string {
	shown := make([]string, len(args))
	for n, arg := range args {
		shown[n] = naming.HideQuery(arg)
	}
	return shown
}

// errTerminated is why a context has ended that SIGTERM has ended.
var errTerminated = errors.New("terminated")

// notifyContext returns a context that the first SIGINT or SIGTERM ends. A second one ends the
// process at once.
func notifyContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			if s == syscall.SIGTERM {
				cancel(errTerminated)
			}
			cancel(nil)
		case <-ctx.Done():
			signal.Stop(signals)
		}
	}()
	return ctx, func() { cancel(nil) }
}

// report prints an error to w and returns the exit status.
func report(ctx context.Context, w io.Writer, err error) int {
	var usage usageError
	var diff diffError
	switch {
	case errors.As(err, &usage):
		printError(w, err)
		fmt.Fprintln(w, usageHint(err))
		return exitUsage
	case errors.As(err, &diff):
		printError(w, diff.error)
		return exitUsage
	case errors.Is(err, errReported):
	case errors.Is(err, errLeftOut):
		return exitLeftOut
	case errors.Is(context.Cause(ctx), errTerminated):
		fmt.Fprintln(w, "docker-archive: terminated")
		return exitTerminated
	case ctx.Err() != nil:
		fmt.Fprintln(w, "docker-archive: interrupted")
		return exitInterrupted
	default:
		printError(w, err)
	}
	return exitFailure
}

// unprefixed is the text of an error without the name of the transport that some begin with,
// which is that of the command.
func unprefixed(text string) string {
	text = strings.TrimPrefix(text, dockerarchive.Transport.Name()+": ")
	return strings.TrimPrefix(text, dockerarchive.ImageTransport.Name()+": ")
}

// printError prints an error and its hint.
func printError(w io.Writer, err error) {
	var several faults
	if !errors.As(err, &several) {
		several = faults{err}
	}
	shown := several.shown()
	for i, err := range shown {
		fmt.Fprintf(w, "docker-archive: %s\n", unprefixed(printable.Error(err)))
		hint := hintFor(err)
		if hint != "" && (i == len(shown)-1 || hintFor(shown[i+1]) != hint) { // Once for all.
			fmt.Fprintf(w, "hint: %s\n", printable.String(hint))
		}
	}
	if more := several.more(); more > 0 {
		fmt.Fprintf(w, "docker-archive: and %d more images\n", more)
	}
}

// errReported is returned by commands that have printed the error.
var errReported = errors.New("already reported")

// errLeftOut is returned by commands that have printed that an archive is complete except for its
// left-out layers.
var errLeftOut = errors.New("not all is in the archive, as it says")

func newRootCommand() *cobra.Command {
	g := &globalOptions{}
	root := &cobra.Command{
		Use:   "docker-archive",
		Short: "Carry container images as files",
		Long: `docker-archive writes and reads image archives, the tar files of "docker save",
"podman save" and "skopeo copy ... docker-archive:".

Images are named as TRANSPORT:DETAILS, as skopeo does: docker://HOST/NAME:TAG,
docker-archive:FILE[:NAME:TAG], oci:DIRECTORY[:TAG], dir:DIRECTORY,
docker-daemon:NAME:TAG, containers-storage:NAME:TAG and others.

image-archive:FILE[:NAME:TAG] is an archive that keeps digests, compressed
layers and all platforms, which docker-archive: does not; docker load and
others read both.`,
		Example: `  docker-archive save -o images.tar alpine:3.20 quay.io/podman/hello
  docker-archive list images.tar
  docker-archive verify images.tar`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if err := knownTopic(cmd, args); err != nil {
				return err
			}
			logrus.SetOutput(cmd.ErrOrStderr())
			logrus.SetFormatter(newLogFormatter(cmd.ErrOrStderr()))
			level := logrus.InfoLevel
			switch quiet := cmd.Flag("quiet"); {
			case g.debug:
				level = logrus.DebugLevel
			case quiet != nil && quiet.Value.String() == "true":
				level = logrus.ErrorLevel // Libraries warn of much that is no error.
			}
			logrus.SetLevel(level)
			return g.limitTime(cmd)
		},
	}
	g.register(root.PersistentFlags())
	root.AddCommand(
		newCopyCommand(g), newSaveCommand(g), newAddCommand(g), newRemoveCommand(g), newTagCommand(g), newRenameCommand(g), newCompactCommand(g),
		newListCommand(g), newInspectCommand(g), newVerifyCommand(g),
		newFilesCommand(g), newCatCommand(g), newExportCommand(g), newExtractCommand(g), newLayersCommand(g), newDiffCommand(g),
		newMakeCommand(g), newServeCommand(g), newBrowseCommand(g), newPushCommand(g), newLoadCommand(g), newDigestCommand(g), newTagsCommand(g, "tags", false), newTagsCommand(g, "list-tags", true), newVersionCommand(), newMetadataCommand(),
	)
	root.AddCommand(manCommands()...)
	tellUsage(root)
	beHelpful(root)
	return root
}
