package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/dockerarchive/dockerarchive/browsing"
	"github.com/dockerarchive/dockerarchive/serving"
)

func newBrowseCommand(g *globalOptions) *cobra.Command {
	var port uint16
	cmd := &cobra.Command{
		Use:   "browse ARCHIVE|DIRECTORY...",
		Short: "Show the images in archives to your browser",
		Long: `Show the images of archives, their layers, files and referrers in a browser on
this machine. A DIRECTORY is an OCI layout, or holds archives and OCI layouts.

The address that is printed holds a token: other users of this machine and
other sites cannot open the pages. Changed archives are noticed within seconds.
Ctrl-C ends it.`,
		Example: `  docker-archive browse images.tar
  docker-archive browse --port 8080 /srv/archives`,
		Args: atLeast(1, "archives or directories"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return browse(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), g.tmpdir, port, args)
		},
	}
	cmd.Flags().Uint16Var(&port, "port", 0, "listen on `PORT` of 127.0.0.1 (default any that is free)")
	return cmd
}

func browse(ctx context.Context, stdout, stderr io.Writer, tmpdir string, port uint16, args []string) error {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	paths := servedPaths(args)
	l, err := listen(ctx, "--port", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
	if err != nil {
		return err
	}
	s, err := serving.New(ctx, paths, serving.Options{Log: log, TempDir: tmpdir})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer s.Close()
	pages := browsing.New(s, browsing.Options{Log: log, Local: true, TempDir: tmpdir})
	defer pages.Close()
	s.Handle(pages)
	go s.Watch(ctx, watchInterval)
	guard := browsing.NewGuard(s)
	images, archives := s.Images()
	fmt.Fprintf(stderr, "docker-archive: %d images of %d archives; Ctrl-C ends it\n", images, archives)
	if _, err := fmt.Fprintln(stdout, guard.URL(l.Addr().String())); err != nil {
		return errors.Join(err, l.Close())
	}
	return serving.Serve(ctx, l, guard, "", "", 0)
}
