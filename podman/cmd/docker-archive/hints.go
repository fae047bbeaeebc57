package main

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/docker/distribution/registry/api/errcode"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	orasauth "oras.land/oras-go/v2/registry/remote/auth"
	orascode "oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/local"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
	"github.com/dockerarchive/dockerarchive/podman/internal/registries"
)

// hintFor returns what the user can do about an error, or "".
func hintFor(err error) string {
	var hinted hintedError
	if errors.As(err, &hinted) {
		return hinted.hint
	}
	for _, hint := range []func(error) string{formatHint, addressHint, fileHint, hereHint, pushHint, registryHint, growHint, imageHint} {
		if text := hint(err); text != "" {
			return text
		}
	}
	return ""
}

// formatHint is about fields of other commands.
func formatHint(err error) string {
	var none *noFieldError
	if errors.As(err, &none) && (none.name == "Id" || none.name == "ID") {
		return "The ID is the digest of the config: docker-archive list --format '{{.ID}}' FILE."
	}
	if errors.As(err, &none) && slices.Contains([]string{"Config", "ContainerConfig", "RootFS", "History"}, none.name) && !slices.Contains(none.fields, none.name) {
		return "The config is printed by docker-archive inspect --config."
	}
	return ""
}

// addressHint is about names with the address of a host.
func addressHint(err error) string {
	if errors.Is(err, reference.ErrReferenceInvalidFormat) && ipv6Host.MatchString(err.Error()) {
		return "References of containers/image have no IPv6 addresses: give the host a name, as in /etc/hosts; choose an image in an archive by its position, as in FILE:@0."
	}
	return ""
}

var ipv6Host = regexp.MustCompile(`\[[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]`)

// pushHint is about a registry that refuses a push.
func pushHint(err error) string {
	var pushed *errdef.ImageError
	var missing *errdef.MissingError
	if errors.As(err, &pushed) && pushed.Op == "pushing" && errors.As(err, &missing) {
		return "If the registry wants all that an index lists, push what is there with --platform."
	}
	return ""
}

// growHint is about an archive that is there already.
func growHint(err error) string {
	switch {
	case errors.Is(err, errdef.ErrBusy):
		var waiting waitError
		if errors.As(err, &waiting) {
			return "Wait for it with --wait."
		}
		return "Another docker-archive is writing it. Try again when that has ended."
	case errors.Is(err, errdef.ErrNotEmpty):
		return "Replace it with --force, or add to an archive with 'docker-archive add'."
	}
	return ""
}

// imageHint is about the image itself: its platforms, layers and types.
func imageHint(err error) string {
	var noPlatform *errdef.NoPlatformError
	var missing *errdef.MissingError
	var leftOut *errdef.LeftOutError
	var saving *errdef.ImageError
	var several *errdef.AmbiguousError
	switch {
	case errors.As(err, &leftOut) && slices.ContainsFunc(leftOut.Layers, func(l errdef.LeftOut) bool { return l.Why != "" }):
		return "" // No other archive would help.
	case errors.As(err, &leftOut) && leftOut.Layers[0].Delta != "":
		return "Say where the layers are that it is made from: --base FULL.tar."
	case errors.As(err, &several):
		return "Say which by its name or its position, as in FILE:@0."
	case errors.As(err, &leftOut) && errors.As(err, &saving) && saving.Op == "pushing":
		return "Push it together with an archive that has the layers: docker-archive push FULL.tar DELTA.tar REGISTRY."
	case errors.As(err, &leftOut) && errors.As(err, &saving) && saving.Op == "loading":
		return "Load it together with an archive that has the layers: docker-archive load FULL.tar DELTA.tar."
	case errors.As(err, &leftOut):
		return "Say where the layers are: --base FULL.tar. Or add the images to it: docker-archive add FULL.tar image-archive:FILE."
	case errors.As(err, &missing):
		return "Save what is there with --skip-missing."
	case errors.As(err, &noPlatform) && errors.As(err, &saving) && saving.Op == "saving":
		return "Choose one of them with --platform; save --all-platforms saves them all."
	case errors.As(err, &noPlatform):
		return "Choose one of them with --platform."
	case errors.Is(err, errdef.ErrTerminal):
		return "For example: docker-archive save ... > out.tar, or docker-archive copy ... docker-archive:/dev/stdout > out.tar"
	case strings.Contains(err.Error(), "unsupported docker v2s2 media type"), strings.Contains(err.Error(), "invalid mixed OCI image"):
		return "containers/image copies manifests only whose types are all of one standard. docker-archive save, add and push take the image as it is."
	case strings.Contains(err.Error(), "does not support copying multiple images as a group"):
		return severalHint(err)
	}
	return ""
}

// severalHint names a transport for several images, which the destination of a copy cannot
// hold.
func severalHint(err error) string {
	var copied *copyError
	if errors.As(err, &copied) && copied.destination.Transport().Name() == dockerarchive.Transport.Name() {
		return fmt.Sprintf("An image-archive can, and docker load reads it too: %s:%s",
			dockerarchive.ImageTransport.Name(), copied.destination.StringWithinTransport())
	}
	return "image-archive:, oci:, dir: and docker:// can."
}

// hereHint is about this machine: its disks, files and daemon.
func hereHint(err error) string {
	var file *local.Error
	var path *fs.PathError
	text := err.Error()
	switch {
	case errors.Is(err, syscall.ENOSPC) && !strings.Contains(text, "the disk is too small"):
		return "The disk is full. Free some of it or choose another; --tmpdir says where large temporary files go."
	case errors.Is(err, syscall.EFBIG):
		return "The file system, or a limit (ulimit -f), allows no file of this size. save --split 4G writes an archive in parts that FAT can hold."
	case errors.As(err, &file) && strings.HasPrefix(file.Op, "creating a temporary file"):
		return fmt.Sprintf("Large temporary files cannot be made in %s. Choose another directory with --tmpdir or TMPDIR.", file.Path)
	case errors.As(err, &path) && isTemporary(path.Path):
		return fmt.Sprintf("Large temporary files cannot be made in %s. Choose another directory with --tmpdir or TMPDIR.", filepath.Dir(path.Path))
	case errors.Is(err, fs.ErrPermission) && strings.Contains(text, "auth.json"):
		return "The file with credentials cannot be used by you. Say which can with --authfile or REGISTRY_AUTH_FILE, or set XDG_RUNTIME_DIR to a directory of yours."
	case toDaemon(err) && errors.Is(err, io.ErrClosedPipe), strings.Contains(text, "Cannot connect to the Docker daemon"), strings.Contains(text, "failed to connect to the docker API"), strings.Contains(text, "docker daemon") && isDial(err):
		return "Start the daemon, or say where it is with --daemon-host (of load, --host) or DOCKER_HOST. An archive of its images is made without it by 'docker save'."
	}
	return ""
}

// toDaemon reports whether something was copied to a Docker daemon. If no daemon is there,
// containers/image says that a pipe is closed.
func toDaemon(err error) bool {
	var copied *copyError
	return errors.As(err, &copied) && copied.destination.Transport().Name() == dockerDaemon
}

// isDial reports whether a connection failed.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// isUnreachable reports whether a registry's name is unknown, or a connection failed.
func isUnreachable(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) || isDial(err)
}

// isTemporary reports whether containers/image wanted to make a file among large
// temporary ones.
func isTemporary(path string) bool {
	return filepath.Dir(path) == filepath.Clean(cmp.Or(os.Getenv("TMPDIR"), "/var/tmp"))
}

// fileHint is about a file that is taken for an image in a registry.
func fileHint(err error) string {
	var opened *fs.PathError
	if errors.As(err, &opened) && errors.Is(err, fs.ErrNotExist) {
		return noArchiveHint(opened.Path, unprefixed(err.Error()) == opened.Error())
	}
	image, ok := imageOf(err)
	if !ok {
		return ""
	}
	name := strings.TrimSuffix(reference.FamiliarString(image), ":latest")
	if strings.Contains(name, "/") || strings.Contains(name, ":") {
		return ""
	}
	if info, err := os.Stat(name); err == nil {
		transport := dockerarchive.Transport.Name()
		if info.IsDir() {
			transport = "oci"
		}
		return fmt.Sprintf("%s is in this directory: if that is meant, it is called %s:%s.", name, transport, name)
	}
	return ""
}

// looksLikeArchive reports whether a name is one that people give to archives.
func looksLikeArchive(name string) bool {
	for _, suffix := range []string{".tar", ".tgz", ".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// registryHint is about answers of a registry, or of a proxy before it.
func registryHint(err error) string {
	host := registryOf(err)
	var unknownCA x509.UnknownAuthorityError
	text := err.Error()
	switch status := statusOf(err); {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return loginHint(err, host)
	case registries.IsFull(err):
		return fmt.Sprintf("%s has no space left for it. What was sent is not sent again before there is some.", cmp.Or(host, "The registry"))
	case status == http.StatusRequestEntityTooLarge:
		return bodyLimitHint(err, host)
	case status == http.StatusNotFound && isSending(err):
		return fmt.Sprintf("%s has no such repository, or not for this user. Some registries, such as ECR, want it to be made first.", cmp.Or(host, "The registry"))
	case status == http.StatusNotFound:
		return "Check the name and the tag of the image."
	case host == "docker.io" && status == 0 && isUnreachable(err):
		image, _ := imageOf(err)
		return fmt.Sprintf("docker.io is not reached. An image of the docker daemon here is docker-daemon:%s, one of podman containers-storage:%s", reference.FamiliarString(image), reference.FamiliarString(image))
	case status == http.StatusTooManyRequests:
		return tooManyHint(host)
	case host == "":
	case strings.Contains(text, "server gave HTTP response to HTTPS client"), strings.Contains(text, "first record does not look like a TLS handshake"):
		return fmt.Sprintf("The registry %s speaks plain HTTP. If that is how it should be, pass --tls-verify=false.", host)
	case errors.As(err, &unknownCA):
		return fmt.Sprintf("No known CA has signed the certificate of %s. Pass --cert-dir with a directory that has the CA's as *.crt, or --tls-verify=false.", host)
	case strings.Contains(text, "invalid character '<'"):
		return fmt.Sprintf("%s answers with a web page, not as a registry does. A proxy or a login page may be between; look at HTTPS_PROXY and NO_PROXY.", host)
	}
	return ""
}

// bodyLimitHint says how to send a layer that is too large for one request.
func bodyLimitHint(err error, host string) string {
	host = cmp.Or(host, "the registry")
	if isPush(err) {
		return fmt.Sprintf("A proxy before %s limits how large a request may be. Send layers in chunks with --chunk-size 50M, or raise its limit (nginx: client_max_body_size 0).", host)
	}
	return fmt.Sprintf("A proxy before %s limits how large a request may be. Raise its limit (nginx: client_max_body_size 0), or save the image and use 'docker-archive push --chunk-size 50M'.", host)
}

// isSending reports whether sending to a registry failed.
func isSending(err error) bool {
	var copied *copyError
	return isPush(err) || errors.As(err, &copied) && copied.destination.Transport().Name() == docker.Transport.Name()
}

func isPush(err error) bool {
	var pushed *errdef.ImageError
	return errors.As(err, &pushed) && pushed.Op == "pushing"
}

// tooManyHint says what to do about a registry's rate limit.
func tooManyHint(host string) string {
	return fmt.Sprintf("%s has been asked too often, and says so after several attempts. Come back later, or log in, which may raise the limit.", cmp.Or(host, "The registry"))
}

// loginHint says how to log in to the registry of the image that could not be
// read.
func loginHint(err error, host string) string {
	var refused docker.ErrUnauthorizedForCredentials
	var given *credentialsError
	var copied *copyError
	flag := "--creds"
	if errors.As(err, &copied) {
		flag = "--src-creds or --dest-creds"
	}
	switch {
	case errors.As(err, &given):
		return fmt.Sprintf("The registry %s refuses the user name %s with that password, or this user may not have the image.", host, given.user)
	case host == "":
		return "Log in with 'docker login' or 'podman login', or pass --creds."
	case errors.As(err, &refused):
		return fmt.Sprintf("The registry %s refuses the credentials that are stored for it. Log in again with 'docker login %s' or 'podman login %s', or pass %s.", host, host, host, flag)
	}
	return fmt.Sprintf("The registry %s wants to know who asks, or has no such image. Log in with 'docker login %s' or 'podman login %s', or pass %s.", host, host, host, flag)
}

// imageOf returns the name of the image in a registry from an error.
func imageOf(err error) (reference.Named, bool) {
	var saved *errdef.ImageError
	var copied *copyError
	var listed *copying.RepositoryError
	var refs []types.ImageReference
	switch {
	case errors.As(err, &saved):
		name, isDocker := strings.CutPrefix(saved.Image, docker.Transport.Name()+"://")
		named, err := reference.ParseNormalizedNamed(name)
		return named, isDocker && err == nil
	case errors.As(err, &copied):
		refs = []types.ImageReference{copied.source, copied.destination}
	case errors.As(err, &listed):
		return listed.Repository, true
	}
	for _, ref := range refs {
		if ref.Transport().Name() == docker.Transport.Name() {
			return ref.DockerReference(), true
		}
	}
	return nil, false
}

// registryOf returns the registry of the image that an error is of, or "".
func registryOf(err error) string {
	var asked *registryError
	if errors.As(err, &asked) {
		return asked.host
	}
	if name, ok := imageOf(err); ok {
		return reference.Domain(name)
	}
	return ""
}

// statusOf returns the HTTP status that a registry answered with, or 0.
func statusOf(err error) int {
	var unauthorized docker.ErrUnauthorizedForCredentials
	if errors.As(err, &unauthorized) || errors.Is(err, orasauth.ErrBasicCredentialNotFound) { // It was asked for.
		return http.StatusUnauthorized
	}
	if errors.Is(err, docker.ErrTooManyRequests) {
		return http.StatusTooManyRequests
	}
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return status.StatusCode
	}
	var answer *orascode.ErrorResponse
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	var coded errcode.ErrorCoder
	if errors.As(err, &coded) {
		return coded.ErrorCode().Descriptor().HTTPStatusCode
	}
	return bodyStatus(err)
}

// bodyStatus returns the status of an answer whose body is not a registry's. The error that
// containers/image has for it is not exported.
func bodyStatus(err error) int {
	var code int
	switch wrapper := err.(type) {
	case nil:
		return 0
	case interface{ Unwrap() []error }:
		for _, err := range wrapper.Unwrap() {
			code = cmp.Or(code, bodyStatus(err))
		}
		return code
	}
	if n, _ := fmt.Sscanf(err.Error(), "error parsing HTTP %d response body:", &code); n == 1 {
		return code
	}
	return bodyStatus(errors.Unwrap(err))
}
