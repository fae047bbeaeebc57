package writing

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/dockerarchive/dockerarchive/internal/catalog"
	"github.com/dockerarchive/dockerarchive/internal/layout"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/output"
	"github.com/dockerarchive/dockerarchive/internal/raced"
	"github.com/dockerarchive/dockerarchive/internal/tarfile"
)

// disk is the history of an archive that was changed.
type disk struct {
	old, new []byte
	images   int // in old
	log      []local.Change
	start    int64 // of the old tail
}

// growing are the layouts, with files of legacy layers, that can be asked of an existing
// archive.
func growing() map[string]layout.Layout {
	m := metadata
	m.Legacy = func(config []byte, diffIDs []digest.Digest) (layout.LegacyLayers, error) {
		var ids []string
		id := digest.FromBytes(config).Encoded()
		for range diffIDs {
			id = digest.FromString(id).Encoded()
			ids = append(ids, id)
		}
		return layout.LegacyLayers{IDs: ids, Files: func(n int) ([]tarfile.Small, error) {
			header, err := m.File(ids[n]+"/json", 2)
			return []tarfile.Small{{Header: header, Data: []byte("{}")}}, err
		}}, nil
	}
	return map[string]layout.Layout{"docker": layout.Docker{Metadata: m}, "oci": layout.OCI{Metadata: m}}
}

// addTo writes an archive of two images and so many more, changes it, and records the
// writes.
func addTo(t *testing.T, l layout.Layout, more int, change func(ctx context.Context, out *output.Output, path string)) *disk {
	path := filepath.Join(t.TempDir(), "archive.tar")
	images := []*testImage{newImage(t, "one", zipped(1, 900)), newImage(t, "other", zipped(3, 300))}
	for n := range more {
		images = append(images, newImage(t, fmt.Sprintf("more%d", n), zipped(byte(10+n), 100)))
	}
	d := &disk{old: written(t, l, images...), images: len(images)}
	require.NoError(t, os.WriteFile(path, d.old, 0o600))
	out, err := output.Open(t.Context(), path, false)
	require.NoError(t, err)
	out.File().Observe(func(c local.Change) {
		c.Data = bytes.Clone(c.Data)
		d.log = append(d.log, c)
	})
	change(t.Context(), out, path)
	d.new = read(t, path)
	require.NotEqual(t, d.old, d.new)
	require.Equal(t, d.new, survive(d.old, d.log, func(int) bool { return true }), "the log has all that happened")
	for d.start = 0; bytes.Equal(d.old[d.start:d.start+512], d.new[d.start:d.start+512]); d.start += 512 {
	}
	return d
}

// leaveRests adds an image to a copy of the archive in out, and has it end like the
// copy, without the change and the last layer: as if its process had been killed.
func leaveRests(t *testing.T, l layout.Layout, layouts map[string]layout.Layout, out *output.Output, m *testImage) {
	t.Helper()
	old := make([]byte, out.Size())
	_, err := out.File().ReadAt(old, 0)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "copy.tar")
	require.NoError(t, os.WriteFile(path, old, 0o600))
	other, err := output.Open(t.Context(), path, false)
	require.NoError(t, err)
	e, err := ReadExisting(t.Context(), other, []layout.Layout{layouts["oci"], layouts["docker"]})
	require.NoError(t, err)
	a, err := New(t.Context(), other, path, Options{Layout: l, Existing: e})
	require.NoError(t, err)
	require.NoError(t, write(a, m))
	last := m.layers[len(m.layers)-1]
	content := last.blob
	if l.Unpacks() {
		content = last.diff
	}
	grown := read(t, path)
	end := bytes.Index(grown, content) - 512
	require.Greater(t, end, len(old))
	_, err = out.File().WriteAt(grown[len(old):end], int64(len(old)))
	require.NoError(t, err)
	out.Resize(int64(end))
}

// survive returns a file after a crash. Sectors are counted over all writes; only those
// survive that keep wants.
func survive(old []byte, log []local.Change, keep func(sector int) bool) []byte {
	file := bytes.Clone(old)
	sector := 0
	for _, c := range log {
		switch {
		case c.Size >= 0:
			if keep(sector) {
				file = resized(file, c.Size)
			}
			sector++
		case c.Data != nil:
			for from := 0; from < len(c.Data); sector++ {
				// Sectors of the disk, which are written whole.
				to := min(len(c.Data), from+512-int((c.Off+int64(from))%512))
				if off := c.Off + int64(from); keep(sector) {
					file = resized(file, max(int64(len(file)), off+int64(to-from)))
					copy(file[off:], c.Data[from:to])
				}
				from = to
			}
		}
	}
	return file
}

func resized(file []byte, size int64) []byte {
	if size <= int64(len(file)) {
		return file[:size]
	}
	return append(file, make([]byte, size-int64(len(file)))...)
}

// sectors returns how many decisions survive has to take for a log.
func sectors(log []local.Change) (n int) {
	survive(nil, log, func(int) bool { n++; return false })
	return n
}

// check fails unless a file is the old or the new archive.
func (d *disk) check(t *testing.T, file []byte, what string) {
	want, images := d.old, d.images
	if len(file) >= len(d.new) && bytes.Equal(file[d.start:d.start+512], d.new[d.start:d.start+512]) {
		want, images = d.new, -1
	}
	if len(file) < len(want) || !bytes.Equal(file[:len(want)], want) {
		require.Fail(t, "neither the old nor the new archive", what)
	}
	index, err := tarfile.NewIndex(t.Context(), bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err, what)
	require.True(t, index.Terminated(), what)
	c, err := catalog.Load(t.Context(), index)
	require.NoError(t, err, what)
	if images >= 0 {
		require.Len(t, c.Images(), images, what)
	}
}

// After a crash at any time, with any of the unsynced writes on the disk, in any order,
// there is the old archive, or the new one.
func TestPowerFailure(t *testing.T) {
	layouts := growing()
	layouts["listed"] = layouts["oci"]
	changes := map[string]func(t *testing.T, l layout.Layout) func(context.Context, *output.Output, string){
		"add": func(t *testing.T, l layout.Layout) func(context.Context, *output.Output, string) {
			return func(ctx context.Context, out *output.Output, path string) {
				e, err := ReadExisting(ctx, out, []layout.Layout{layouts["oci"], layouts["docker"]})
				require.NoError(t, err)
				a, err := New(ctx, out, path, Options{Layout: l, Existing: e})
				require.NoError(t, err)
				require.NoError(t, write(a, newImage(t, "two", zipped(1, 900), zipped(2, 5000))))
			}
		},
		"add to rests": func(t *testing.T, l layout.Layout) func(context.Context, *output.Output, string) {
			return func(ctx context.Context, out *output.Output, path string) {
				two := newImage(t, "two", zipped(1, 900), zipped(2, 5000), zipped(4, 3000))
				leaveRests(t, l, layouts, out, two)
				e, err := ReadExisting(ctx, out, []layout.Layout{layouts["oci"], layouts["docker"]})
				require.NoError(t, err)
				a, err := New(ctx, out, path, Options{Layout: l, Existing: e})
				require.NoError(t, err)
				for i, layer := range two.layers {
					stored := layer.digest()
					if l.Unpacks() {
						stored = digest.FromBytes(layer.diff)
					}
					blob, there := a.blobs.get(stored)
					require.Equal(t, i < 2, there, "layer %d", i)
					require.Equal(t, i == 1, there && blob.stored.entry != nil, "layer %d is among the rests", i)
				}
				require.NoError(t, write(a, two))
			}
		},
		"remove": func(t *testing.T, l layout.Layout) func(context.Context, *output.Output, string) {
			return func(ctx context.Context, out *output.Output, path string) {
				_, err := Remove(ctx, out, path, []string{"example.com/one:1"}, false, []layout.Layout{layouts["oci"], layouts["docker"]})
				require.NoError(t, err)
			}
		},
	}
	for kind, l := range layouts {
		for name, change := range changes {
			more := 0
			if kind == "listed" {
				if name == "add to rests" { // They are found by their headers.
					continue
				}
				more = 10 // Its entries are listed.
			}
			t.Run(kind+" "+name, func(t *testing.T) {
				d := addTo(t, l, more, change(t, l))
				require.Equal(t, more > 0, bytes.Contains(d.old, []byte(tarfile.ListingName)))
				commits := 0
				for end := range len(d.log) + 1 {
					synced := 0 // all before this is on the disk
					for i, c := range d.log[:end] {
						if c.Sync {
							synced = i + 1
						}
					}
					safe, open := sectors(d.log[:synced]), sectors(d.log[synced:end])
					if end > synced && d.log[end-1].Off == d.start && len(d.log[end-1].Data) == 512 {
						require.Equal(t, 1, open, "what is the change is written alone")
						commits++
					}
					d.checkSubsets(t, d.log[:end], safe, open)
				}
				require.Equal(t, 1, commits)
				require.True(t, d.log[len(d.log)-1].Sync)
			})
		}
	}
}

// checkSubsets lets some of the last open sectors survive: all selections if there are
// few, else some at random.
func (d *disk) checkSubsets(t *testing.T, log []local.Change, safe, open int) {
	if open <= 8 {
		for mask := range 1 << open {
			d.check(t, survive(d.old, log, func(s int) bool { return s < safe || mask>>(s-safe)&1 == 1 }), "some sectors")
		}
		return
	}
	for seed := range uint64(raced.Rounds(t, 20, 200)) {
		r := rand.New(rand.NewPCG(seed, 1))
		share := r.Float64()
		d.check(t, survive(d.old, log, func(s int) bool { return s < safe || r.Float64() < share }), "sectors at random")
	}
}
