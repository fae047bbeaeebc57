package selecting

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockerarchive/dockerarchive/archive"
	"github.com/dockerarchive/dockerarchive/internal/image"
	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
)

// Without holds the layers that the recipient has already, in archives or on lists, for
// SaveOptions.Without. The zero value is nothing. It is filled first; after that it may
// be used concurrently.
type Without struct {
	blobs   map[held]string          // the archive
	diffIDs map[digest.Digest]string // the archive, by diff ID
}

// held is a layer that the recipient has.
type held struct {
	digest digest.Digest
	size   int64 // in bytes; unknownSize matches any
}

// unknownSize is the size of a layer that is known by its digest only.
const unknownSize = -1

// Open adds the layers in r: an archive, of any kind and compressed or not, or a list as
// AddList takes it. An archive from a stream is copied to a temporary file. The saved
// archive will call it name.
func (w *Without) Open(ctx context.Context, name string, r io.Reader) error {
	file, _ := r.(*os.File)
	buffered := bufio.NewReaderSize(r, sniffLen)
	prefix, err := buffered.Peek(sniffLen)
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if isList(prefix) {
		return w.AddList(name, buffered)
	}
	a, err := openHeld(ctx, file, buffered)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	defer a.Close() // It was only read.
	return w.AddArchive(ctx, name, a)
}

// openHeld opens an archive where it is, if that is a file.
func openHeld(ctx context.Context, file *os.File, r io.Reader) (*archive.Archive, error) {
	if file != nil {
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			return archive.New(ctx, file, info.Size())
		}
	}
	return archive.Read(ctx, r)
}

// sniffLen is how much of a file is looked at to tell a list from an archive.
const sniffLen = 512

// isList reports whether a file begins as a list, and not as a tar archive or a
// compressed one.
func isList(prefix []byte) bool {
	if bytes.IndexByte(prefix, 0) >= 0 {
		return false
	}
	text := strings.TrimSpace(string(prefix))
	if text == "" || strings.HasPrefix(text, "[") || strings.HasPrefix(text, "#") {
		return true
	}
	algorithm, _, ok := strings.Cut(text, ":")
	return ok && digest.Algorithm(algorithm).Available()
}

// AddArchive adds the layers of images that an archive has in full, judged by names and
// sizes; archive.Archive.Verify checks their content. Layers of an archive that holds
// them uncompressed are known by their diff IDs.
func (w *Without) AddArchive(ctx context.Context, name string, a *archive.Archive) error {
	h, err := a.Held(ctx)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	for d, size := range h.Blobs {
		w.addBlob(d, size, name)
	}
	for d := range h.DiffIDs {
		w.addDiffID(d, name)
	}
	return nil
}

// maxList is how long a list may be, in bytes: some 400,000 layers.
const maxList = 64 << 20

// AddList adds a list: the output of docker-archive list --json, or digests of layers as
// manifests have them, one per line, with empty lines and those that begin with #.
func (w *Without) AddList(name string, r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, maxList+1))
	if err == nil && len(data) > maxList {
		err = fmt.Errorf("it has more than %d bytes", maxList)
	}
	if err == nil {
		if text := bytes.TrimSpace(data); bytes.HasPrefix(text, []byte("[")) {
			err = w.addJSON(name, text)
		} else {
			err = w.addDigests(name, text)
		}
	}
	if err != nil {
		return fmt.Errorf("reading the list %s: %w", name, err)
	}
	return nil
}

func (w *Without) addDigests(name string, text []byte) error {
	found := false
	for n, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		d, err := digest.Parse(line)
		if err != nil {
			return fmt.Errorf("line %d: %q is not a digest: %w", n+1, line, err)
		}
		w.addBlob(d, unknownSize, name)
		found = true
	}
	if !found {
		return errors.New("it names no layers")
	}
	return nil
}

func (w *Without) addJSON(name string, data []byte) error {
	var images []dockerarchive.ImageInfo
	if err := json.Unmarshal(data, &images); err != nil {
		return err
	}
	layers, found := 0, false
	for _, img := range images {
		layers += img.Layers
		added, err := w.addManifest(name, img.ManifestInfo, 0)
		if err != nil {
			return err
		}
		found = found || added
	}
	if layers > 0 && !found {
		return errors.New("it does not say which layers there are: let a newer docker-archive print it")
	}
	return nil
}

func (w *Without) addManifest(name string, m dockerarchive.ManifestInfo, depth int) (found bool, err error) {
	if depth > image.MaxIndexDepth {
		return false, errors.New("indexes are nested too deeply")
	}
	for _, l := range m.LayerBlobs {
		if err := l.Digest.Validate(); err != nil {
			return false, fmt.Errorf("digest %q: %w", l.Digest, err)
		}
		if m.Digest == "" { // No manifest has their digests.
			w.addDiffID(l.Digest, name)
		} else {
			w.addBlob(l.Digest, l.Size, name)
		}
		found = true
	}
	for _, child := range m.Manifests {
		added, err := w.addManifest(name, child, depth+1)
		if err != nil {
			return false, err
		}
		found = found || added
	}
	return found, nil
}

// addBlob adds a layer. If several archives have it, the first is named.
func (w *Without) addBlob(d digest.Digest, size int64, archive string) {
	if w.blobs == nil {
		w.blobs = map[held]string{}
	}
	if _, ok := w.blobs[held{d, size}]; !ok {
		w.blobs[held{d, size}] = archive
	}
}

func (w *Without) addDiffID(d digest.Digest, archive string) {
	if w.diffIDs == nil {
		w.diffIDs = map[digest.Digest]string{}
	}
	if _, ok := w.diffIDs[d]; !ok {
		w.diffIDs[d] = archive
	}
}

// has returns which archive has a layer, if one has all of it.
func (w *Without) has(l imgspecv1.Descriptor) (archive string, ok bool) {
	if archive, ok = w.blobs[held{l.Digest, l.Size}]; !ok {
		archive, ok = w.blobs[held{l.Digest, unknownSize}]
	}
	return archive, ok
}
