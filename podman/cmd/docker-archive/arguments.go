package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/transports"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/input"
	"github.com/dockerarchive/dockerarchive/internal/naming"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// withTransport returns an argument that is an image with the transport that it goes without: that of
// archives if there is a file of that name, or it ends as the names of archives do; else that of
// registries. No registry is asked for the name of a file.
func withTransport(arg string) string {
	if name, _, ok := strings.Cut(arg, ":"); ok && transports.Get(name) != nil {
		return arg
	}
	switch layout, kind := kindOfPath(arg); kind {
	case fileArgument:
		return dockerarchive.ImageTransport.Name() + ":" + layout
	case layoutArgument:
		return "oci:" + layout
	case otherArgument:
		return arg
	}
	return docker.Transport.Name() + "://" + arg
}

// pathKind is what an argument without a transport means on this machine.
type pathKind int

const (
	noArgument     pathKind = iota // nothing, so it is an image in a registry
	fileArgument                   // an archive
	layoutArgument                 // the directory of an OCI layout
	otherArgument                  // a path of something else, or neither
)

// kindOfPath returns the kind of an argument without a transport, and how its transport
// calls it.
func kindOfPath(arg string) (string, pathKind) {
	if arg == "-" {
		return "/dev/stdin", fileArgument
	}
	path, _, named := naming.Split(arg)
	if _, remote := naming.Scheme(path); remote {
		path, _, _ = strings.Cut(path, "#") // The fragment tells archives with the same name apart.
	}
	info, err := os.Stat(path)
	isPath := strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, ".")
	switch {
	case err == nil && info.IsDir():
		switch {
		case naming.IsFile(filepath.Join(path, "oci-layout")):
			return arg, layoutArgument
		case hasParts(path):
			return arg, fileArgument
		case isPath:
			return arg, otherArgument
		}
	case looksLikeArchive(path), isPath, err == nil && (!named || beginsAsArchive(path)):
		return arg, fileArgument
	case arg == "", strings.Contains(arg, "://"):
		return arg, otherArgument
	}
	return arg, noArgument
}

// beginsAsArchive reports whether a file may be an archive by its first bytes: app:1 is an image
// although there is a program called app.
func beginsAsArchive(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() // It is only read.
	start := make([]byte, input.LooksLen)
	n, _ := io.ReadFull(f, start) // An unreadable file is no archive.
	return n > 0 && (compression.Detect(start[:n]) != compression.None || tarfile.IsTar(start[:n]))
}

// hasInput reports whether standard input is one from which an archive can come: a file or a
// pipe, and no terminal.
func hasInput(stdin io.Reader) bool {
	f, ok := stdin.(*os.File)
	if !ok {
		return true
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}

// hasParts reports whether there is the first part of an archive in a directory.
func hasParts(directory string) bool {
	entries, err := os.ReadDir(directory)
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasSuffix(e.Name(), ".000") })
}
