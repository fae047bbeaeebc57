//go:build linux

package main

import (
	"bufio"
	stdgzip "compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/dockerarchive/dockerarchive/internal/inflate"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// helpers are the functions of this program for lines of shell, by its first argument.
var helpers = map[string]func(ctx context.Context, args []string) error{
	"copy": copyImage, "open": openImages, "inflate": inflateFiles, "hash": hashFiles, "read": readServer, "layers": writeLayers, "parts": writeParts, "store": serveStore, "upload": upload, "certificate": makeCertificate,
}

// copyImage copies an image from one reference to another with containers/image alone.
func copyImage(ctx context.Context, args []string) error {
	src, err := alltransports.ParseImageName(args[0])
	if err != nil {
		return err
	}
	dest, err := alltransports.ParseImageName(args[1])
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		return err
	}
	// Temporary files are where the archive is, so that both sides write to the same disk.
	sys := &types.SystemContext{BigFilesTemporaryDir: os.Getenv("TMPDIR"), BlobInfoCacheDir: os.Getenv("TMPDIR"), DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}
	_, err = copy.Image(ctx, policy, dest, src, &copy.Options{ReportWriter: io.Discard, SourceCtx: sys, DestinationCtx: sys})
	return errors.Join(err, policy.Destroy())
}

// openImages opens every image of an archive with our reader or theirs, and prints it for
// comparison.
func openImages(ctx context.Context, args []string) (err error) {
	var r interface {
		List() ([][]types.ImageReference, error)
		Close() error
	}
	if args[0] == "ours" {
		r, err = dockerarchive.NewReader(nil, args[1])
	} else {
		r, err = archive.NewReader(nil, args[1])
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	images, err := r.List()
	for _, refs := range images {
		img, err := refs[0].NewImage(ctx, nil)
		if err != nil {
			return err
		}
		info, err := img.Inspect(ctx)
		if err := errors.Join(err, img.Close()); err != nil {
			return err
		}
		fmt.Println(refs[0].StringWithinTransport(), info.Layers)
	}
	return err
}

// inflateFiles decompresses files with a decoder that args name first. All decoders verify
// checksums.
func inflateFiles(_ context.Context, args []string) error {
	for _, path := range args[1:] {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		var z io.ReadCloser
		switch args[0] {
		case "ours":
			z, err = inflate.NewReader(f)
		case "klauspost":
			z, err = gzip.NewReader(f)
		default:
			z, err = stdgzip.NewReader(f)
		}
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, z); err != nil {
			return err
		}
		if err := errors.Join(z.Close(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// hashFiles hashes files. Debian's sha256sum does not use all that processors have for it.
func hashFiles(_ context.Context, paths []string) error {
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{sha256.New()}, f, make([]byte, 128<<10)); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// readServer reads from the server at an address, below a path, over so many connections,
// all layers of the image each, or its manifest 10,000 times in all.
func readServer(ctx context.Context, args []string) error {
	address, path := args[0], args[1]
	connections, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	wanted, err := wantedOf(os.Getenv("DATA"), args[3] == "layers", connections)
	if err != nil {
		return err
	}
	byDigest := func(d digest.Digest) string { return path + d.String() }
	if path == "/blobs/sha256/" { // Files of the layout.
		byDigest = func(d digest.Digest) string { return path + d.Encoded() }
	}
	g, ctx := errgroup.WithContext(ctx)
	for n := range connections {
		g.Go(func() error {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			defer conn.Close()
			c := &connection{conn, bufio.NewReader(conn)}
			for i := range wanted {
				if err := c.read(byDigest(wanted[(i+n)%len(wanted)])); err != nil { // Each from another on.
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// wantedOf returns the reads of each connection.
func wantedOf(data string, layers bool, connections int) (wanted []digest.Digest, err error) {
	if !layers {
		d, err := manifestDigest(data, "v0")
		for range 10_000 / connections {
			wanted = append(wanted, d)
		}
		return wanted, err
	}
	blobs, err := blobsOf(data, "v0")
	for _, b := range blobs {
		wanted = append(wanted, b.Digest)
	}
	return wanted, err
}

// connection is an HTTP client that does little, so that it is the server that is measured:
// it does not even look at the received bytes.
type connection struct {
	net.Conn
	reader *bufio.Reader
}

// read reads a path.
func (c *connection) read(path string) error {
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: bench\r\nAccept: application/vnd.oci.image.manifest.v1+json, */*\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	// The body is not closed, which would read it.
	if response.StatusCode != http.StatusOK || response.ContentLength < 0 {
		return fmt.Errorf("%s: %s, %d bytes", path, response.Status, response.ContentLength)
	}
	buffered, err := c.reader.Discard(int(min(response.ContentLength, int64(c.reader.Buffered()))))
	if err != nil {
		return err
	}
	return discard(c.Conn, response.ContentLength-int64(buffered))
}

// discard has the kernel throw away the next n bytes that come over a TCP connection.
func discard(c net.Conn, n int64) error {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	unused := make([]byte, min(n, 1<<20)) // With MSG_TRUNC, nothing is written to it.
	for n > 0 {
		var got int
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			got, _, readErr = unix.Recvfrom(int(fd), unused[:min(n, int64(len(unused)))], unix.MSG_TRUNC)
			return !errors.Is(readErr, syscall.EAGAIN)
		})
		switch {
		case err != nil:
			return err
		case readErr != nil && !errors.Is(readErr, syscall.EINTR):
			return readErr
		case readErr == nil && got == 0:
			return io.ErrUnexpectedEOF
		}
		n -= int64(max(got, 0))
	}
	return nil
}
