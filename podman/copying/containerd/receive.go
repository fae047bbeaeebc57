package containerd

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// chunk is the size in bytes of the messages in which a blob is sent. It is much smaller
// than the largest that containerd takes, and much larger than the overhead of a
// message.
const chunk = 1 << 20

// Receive takes the blobs of an OCI image layout in a tar archive, and nothing else of it.
// containerd verifies their digests; one that it has is not sent.
func (s *Store) Receive(ctx context.Context, archive io.Reader) error {
	for tr := tar.NewReader(archive); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, archive) // Read beyond the end, so that the writer ends too.
			return err
		}
		if err != nil {
			return fmt.Errorf("reading what is sent to containerd: %w", err)
		}
		name, ok := strings.CutPrefix(header.Name, imgspecv1.ImageBlobsDir+"/")
		if !ok || header.Typeflag != tar.TypeReg {
			continue
		}
		d, err := digest.Parse(strings.Replace(name, "/", ":", 1))
		if err != nil {
			return fmt.Errorf("reading what is sent to containerd: %q: %w", header.Name, err)
		}
		if err := s.write(ctx, d, header.Size, tr); err != nil {
			return fmt.Errorf("sending blob %s to containerd: %w", d, err)
		}
	}
}

// write sends a blob. It may leave the rest of r unread.
func (s *Store) write(ctx context.Context, d digest.Digest, size int64, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // This ends the stream.
	stream, err := s.content.Write(s.with(ctx))
	if err != nil {
		return native(err)
	}
	b := &blobWriter{stream: stream, ref: s.lease + "-" + d.Encoded(), digest: d, size: size}
	if err := b.copy(r); err != nil && !errdefs.IsAlreadyExists(err) {
		s.abort(b.ref)
		return err
	}
	return nil
}

// abort gives up the part of a blob that containerd has got. If that fails, it goes with
// the lease.
func (s *Store) abort(ref string) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	_, _ = s.content.Abort(s.with(ctx), &contentapi.AbortRequest{Ref: ref})
}

// blobWriter is a blob that is being sent.
type blobWriter struct {
	stream contentapi.Content_WriteClient
	ref    string // containerd keeps the partial blob under it
	digest digest.Digest
	size   int64
}

// copy sends the blob. If containerd has it already, the error says so.
func (b *blobWriter) copy(r io.Reader) error {
	if _, err := b.ask(contentapi.WriteAction_STAT, 0, nil); err != nil {
		return err
	}
	buffer := make([]byte, min(chunk, b.size))
	for offset := int64(0); offset < b.size; {
		data := buffer[:min(int64(len(buffer)), b.size-offset)]
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		answer, err := b.ask(contentapi.WriteAction_WRITE, offset, data)
		if err != nil {
			return err
		}
		if offset += int64(len(data)); answer.GetOffset() != offset {
			return fmt.Errorf("containerd has got %d bytes of %d that were sent", answer.GetOffset(), offset)
		}
	}
	_, err := b.ask(contentapi.WriteAction_COMMIT, b.size, nil)
	return err
}

func (b *blobWriter) ask(action contentapi.WriteAction, offset int64, data []byte) (*contentapi.WriteContentResponse, error) {
	request := &contentapi.WriteContentRequest{
		Action: action, Ref: b.ref, Total: b.size, Expected: b.digest.String(), Offset: offset, Data: data,
	}
	if err := b.stream.Send(request); err != nil && !errors.Is(err, io.EOF) { // Then the answer says why.
		return nil, native(err)
	}
	answer, err := b.stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	return answer, native(err)
}
