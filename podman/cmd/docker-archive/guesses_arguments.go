package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"

	"github.com/dockerarchive/dockerarchive/internal/naming"
)

// ofStdin are the commands that read standard input for -.
var ofStdin = []string{"list", "inspect", "verify", "files", "layers", "export", "extract"}

// countHint returns the line to use instead of one with too few or too many arguments. It is a guess
// from the arguments, or else the first example of the command.
func countHint(cmd *cobra.Command, args []string) string {
	name := cmd.Name()
	switch {
	case len(args) == 0 && slices.Contains(ofStdin, name) && hasInput(cmd.InOrStdin()):
		return fmt.Sprintf("docker-archive %s - reads standard input", name)
	case len(args) == 0:
	case len(args) == 1 && pathIn(args[0]) != "":
		return pathHint(name, args[0])
	case len(args) == 1 && isArchive(args[0]):
		return withArchive(name, shortened(args[0]))
	case len(args) == 2 && isArchive(args[0]) && !isArchive(args[1]) && slices.Contains([]string{"inspect", "layers", "digest"}, name):
		return fmt.Sprintf("docker-archive %s %s:%s", name, shortened(args[0]), shortened(args[1]))
	case len(args) == 2 && strings.HasPrefix(args[1], "/") && name == "layers":
		return fmt.Sprintf("docker-archive files %s %s", shortened(args[0]), shortened(args[1]))
	case len(args) > 1 && name == "verify":
		return `for FILE in *.tar; do docker-archive verify "$FILE"; done`
	case len(args) > 1 && name == "compact":
		return "docker-archive compact " + shortened(args[0]) + " changes it in place; docker-archive save -o NEW docker-archive:OLD writes another one"
	case len(args) > 3 && (name == "tag" || name == "rename"):
		return fmt.Sprintf("docker-archive %s %s %s %s, and again for each further name", name, shortened(args[0]), shortened(args[1]), shortened(args[2]))
	}
	return cmp.Or(exampleOf(cmd), cmd.UseLine())
}

// withArchive completes the line of a command that was given only an archive.
func withArchive(name, archive string) string {
	switch name {
	case "push":
		return "docker-archive push " + archive + " HOST"
	case "cat":
		return "docker-archive cat " + archive + " PATH"
	case "extract":
		return "docker-archive extract " + archive + " DIR"
	case "diff":
		return "docker-archive diff " + archive + " OTHER.tar; what each layer changes: docker-archive layers " + archive
	case "tag", "rename":
		return "docker-archive " + name + " " + archive + " OLD NEW"
	}
	return "docker-archive " + name + " " + archive
}

// pathIn returns PATH of FILE:/PATH, as docker cp has it, or "".
func pathIn(arg string) string {
	archive, path, ok := strings.Cut(arg, ":/")
	if !ok || strings.HasPrefix(path, "/") || !isPath(archive) {
		return ""
	}
	return "/" + path
}

// pathHint returns the line for FILE:/PATH.
func pathHint(name, arg string) string {
	archive, _, _ := strings.Cut(arg, ":/")
	line := fmt.Sprintf("docker-archive %s %s %s", name, shortened(archive), shortened(pathIn(arg)))
	switch name {
	case "extract":
		return line + " DIR"
	case "cat", "files":
		return line
	}
	return fmt.Sprintf("docker-archive files %s %s", shortened(archive), shortened(pathIn(arg)))
}

// noArchiveHint returns the hint for a missing file in the place of an archive: the word may be the
// name of an image, a registry, or a path in an archive. It counts as an image only if it can only be
// an argument, because other files, such as that of --authfile, may be missing as well.
func noArchiveHint(path string, argument bool) string {
	if in := pathIn(path); in != "" {
		return pathHint("files", path)
	}
	if directory, ok := strings.CutPrefix(path, "dir:"); ok {
		return "A dir: is no archive. Look at it with docker-archive inspect " + path + "; make it one with docker-archive save -o app.tar dir:" + directory
	}
	if archive, name, ok := naming.Split(path); ok && isPath(archive) {
		return fmt.Sprintf("There is a file %s. This command takes all of an archive; 'docker-archive inspect' shows %s of it.", archive, name)
	}
	return namedHint(path, argument)
}

// namedHint returns the hint for the name of an image in a registry in the place of an archive.
func namedHint(path string, argument bool) string {
	name := strings.TrimPrefix(path, docker.Transport.Name()+"://")
	if looksLikeArchive(name) || strings.HasPrefix(name, ".") || filepath.IsAbs(name) {
		return ""
	}
	if isHost(name) {
		return "This command takes archives. A registry is not searched for repositories; the tags of one: docker-archive tags " + name + "/app"
	}
	named, err := reference.ParseNamed(name)
	if err != nil && argument && !strings.Contains(name, "/") {
		named, err = reference.ParseNormalizedNamed(name)
	}
	switch {
	case err != nil:
		return ""
	case reference.IsNameOnly(named) && strings.Contains(name, "/"):
		return fmt.Sprintf("This command takes archives. For the tags of a repository: docker-archive tags %s", name)
	}
	return fmt.Sprintf("This command takes archives. Save the image first: docker-archive save -o app.tar %s; or look at it in the registry: docker-archive inspect %s", name, name)
}

// isHost reports whether a word is only the address of a registry, HOST:PORT.
func isHost(word string) bool {
	host, port, err := net.SplitHostPort(word)
	_, number := strconv.ParseUint(port, 10, 16)
	return err == nil && number == nil && !strings.Contains(host, "/") && (host == "localhost" || strings.Contains(host, "."))
}

// explain adds a guess about the argument to the error of an image to be saved: it may be the file to
// write, or a list of images.
func (o *saveOptions) explain(args []argument, text string, err error) error {
	var opened *fs.PathError
	name, isList := strings.CutPrefix(text, "@")
	switch {
	case isList && isPath(name):
		return withHint(err, "A list of images: --from-file "+name)
	case strings.HasSuffix(err.Error(), "not a valid tar archive: it is text"):
		return withHint(err, fmt.Sprintf("A list of images: --from-file %s; Kubernetes manifests or a compose file: --from-yaml %s", archivePath(text), archivePath(text)))
	case o.archive == "" && o.output == "-" && len(args) == 2 && errors.As(err, &opened) && errors.Is(err, fs.ErrNotExist) && looksLikeArchive(opened.Path):
		other := args[0].text
		if other == text {
			other = args[1].text
		}
		return withHint(err, fmt.Sprintf("The file to write is a flag: docker-archive save -o %s %s", opened.Path, other))
	}
	return err
}

// withHint adds a hint to an error. An error of the command line stays one.
func withHint(err error, hint string) error {
	var usage usageError
	if errors.As(err, &usage) {
		return guessError{err, hint}
	}
	return hintedError{err, hint}
}
