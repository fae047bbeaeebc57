package writing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// An archive that was not completed is a file that can be continued. The plan says where
// blobs of known size are, and each is written from its start to its end. The plan by
// which the file was written stands behind the archive's end, so that blobs are found by
// another plan too. None of it is believed: every reader of a blob verifies it.

// Place is where the content of a blob is in a file, in bytes.
type Place struct{ Offset, Size int64 }

// Places are where blobs are in a file.
type Places map[digest.Digest]Place

// PlanPlaces returns where the planned blobs of a new archive will be in a file, as far as
// that is known before they come. It is not for layouts that store layers decompressed:
// complete ones of those are looked for instead (Options.Rests).
func PlanPlaces(ctx context.Context, o Options) (Places, error) {
	places := Places{}
	// The writer that will do it knows best.
	a, err := newArchive(ctx, &output.Output{}, tarfile.NewFileWriter(nowhere{}, 0, ""), "a plan", o)
	if err != nil {
		return nil, err
	}
	defer a.tar.Abort()
	for d, slot := range a.slots {
		if off := slot.Offset(); off >= 0 {
			places[d] = Place{off, slot.Size()}
		}
	}
	return places, nil
}

// nowhere is a file that keeps nothing.
type nowhere struct{}

// ReadAt finds nothing.
func (nowhere) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// WriteAt keeps nothing.
func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// Truncate does nothing.
func (nowhere) Truncate(int64) error { return nil }

// Resume prepares a file to be written by a plan. places are the places of its blobs, from
// PlanPlaces: bytes that the file has of them, where another plan had put them, are moved
// there. Kept finds them then, until something else is written.
func Resume(ctx context.Context, out *output.Output, places Places) error {
	old := readPlaces(out.File())
	moved := Places{}
	for d, place := range old {
		if now, ok := places[d]; ok && now.Size == place.Size {
			moved[d] = place
			if now == place {
				delete(moved, d)
			}
		}
	}
	if len(moved) > 0 {
		err := out.Renew(func(from, to *output.File) error {
			for d, now := range places {
				was, ok := old[d]
				if !ok || was.Size != now.Size {
					continue
				}
				// Somebody else may want less of it.
				if err := move(ctx, to, now.Offset, from, was.Offset, keptLength(from, was, d)); err != nil {
					return err
				}
			}
			return writePlaces(to, places)
		})
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err == nil {
			return nil
		}
		// The space may be missing: then it is fetched again, over the existing bytes.
	}
	return writePlaces(out.File(), places)
}

func move(ctx context.Context, to io.WriterAt, at int64, from io.ReaderAt, off, n int64) error {
	r := io.NewSectionReader(from, off, n)
	_, err := io.Copy(io.NewOffsetWriter(to, at), reading(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	}))
	return err
}

type reading func(p []byte) (int, error)

// Read implements io.Reader.
func (f reading) Read(p []byte) (int, error) { return f(p) }

// Kept returns the bytes that a file has of a blob, from its start on, or nil if there are
// none. The caller must verify that they are of this blob.
func Kept(file *output.File, place Place, d digest.Digest) io.Reader {
	n := keptLength(file, place, d)
	if n == 0 {
		return nil
	}
	return io.NewSectionReader(file, place.Offset, n)
}

// keptLength returns how many bytes of a blob have been written: up to the first hole of
// the file, if the system reports it, or to the zeros of the part that was never written.
func keptLength(file *output.File, place Place, d digest.Digest) int64 {
	written := file.Written(place.Offset, place.Size)
	n := withoutZeros(io.NewSectionReader(file, place.Offset, written))
	if n == written || written < place.Size || d.Validate() != nil {
		return n
	}
	verifier := d.Verifier() // The zeros may be the blob's own, as at the end of a tar archive.
	if _, err := io.Copy(verifier, io.NewSectionReader(file, place.Offset, place.Size)); err == nil && verifier.Verified() {
		return place.Size
	}
	return n
}

// withoutZeros returns where the zeros begin that something ends with.
func withoutZeros(r *io.SectionReader) int64 {
	buffer := make([]byte, 1<<16)
	for end := r.Size(); end > 0; {
		start := max(end-int64(len(buffer)), 0)
		block := buffer[:end-start]
		clear(block)
		if _, err := r.ReadAt(block, start); err != nil && err != io.EOF {
			return 0
		}
		for i := len(block) - 1; i >= 0; i-- {
			if block[i] != 0 {
				return start + int64(i) + 1
			}
		}
		end = start
	}
	return 0
}

const (
	// placesGap is the space for tables of contents between the last blob and the plan. It
	// takes none on the disk.
	placesGap = 64 << 20
	// maxPlaces is how many bytes of a plan are read.
	maxPlaces = 64 << 20

	footerSize   = 64
	footerFormat = "docker-archive partial %d\n"
)

// writePlaces ends a file with a plan. Close of the archive cuts it off.
func writePlaces(file *output.File, places Places) error {
	end := int64(0)
	for _, p := range places {
		end = max(end, p.Offset+p.Size)
	}
	data, err := json.Marshal(places)
	if err != nil {
		return err
	}
	footer := make([]byte, footerSize)
	copy(footer, fmt.Sprintf(footerFormat, len(data)))
	end += placesGap
	if err := file.Truncate(end); err != nil {
		return err
	}
	_, err = file.WriteAt(append(data, footer...), end)
	return err
}

// readPlaces returns the plan that a file ends with, nothing if that cannot be read.
func readPlaces(file *output.File) Places {
	places, err := placesOf(file)
	if err != nil {
		return nil // Blobs placed by another plan are fetched again.
	}
	return places
}

var errNoPlaces = errors.New("there is no plan")

func placesOf(file *local.File) (Places, error) {
	size, err := file.Size()
	if err != nil || size < footerSize {
		return nil, errors.Join(err, errNoPlaces)
	}
	footer := make([]byte, footerSize)
	if _, err := file.ReadAt(footer, size-footerSize); err != nil {
		return nil, err
	}
	var length int64
	if _, err := fmt.Sscanf(string(footer), footerFormat, &length); err != nil {
		return nil, err
	}
	if length < 0 || length > min(maxPlaces, size-footerSize) {
		return nil, errNoPlaces
	}
	data := make([]byte, length)
	if _, err := file.ReadAt(data, size-footerSize-length); err != nil {
		return nil, err
	}
	var places Places
	if err := json.Unmarshal(data, &places); err != nil {
		return nil, err
	}
	for d, p := range places {
		if d.Validate() != nil || p.Offset < 0 || p.Size < 0 || p.Size > size || p.Offset > size-p.Size {
			delete(places, d)
		}
	}
	return places, nil
}
