package copying_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strconv"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/internal/imagetest"
)

// block is the unit of tar, in bytes.
const block = 512

// sparseFormats write a file with data in pieces and holes between them: in the format
// of old GNU tar, and in PAX as GNU tar has written it since.
var sparseFormats = map[string]func(t testing.TB, name string, size int, pieces []piece) []byte{
	"GNU": func(t testing.TB, name string, size int, pieces []piece) []byte {
		return entry(t, name, tar.TypeGNUSparse, stored(pieces), func(h []byte) {
			for n, p := range pieces {
				copy(h[386+24*n:], fmt.Sprintf("%011o\x00%011o\x00", p.offset, len(p.data)))
			}
			copy(h[483:], fmt.Sprintf("%011o\x00", size))
		})
	},
	"PAX 0.0": func(t testing.TB, name string, size int, pieces []piece) []byte {
		records := record("GNU.sparse.size", size) + record("GNU.sparse.numblocks", len(pieces))
		for _, p := range pieces {
			records += record("GNU.sparse.offset", p.offset) + record("GNU.sparse.numbytes", len(p.data))
		}
		return append(entry(t, "pax", tar.TypeXHeader, []byte(records), nil), entry(t, name, tar.TypeReg, stored(pieces), nil)...)
	},
	"PAX 0.1": func(t testing.TB, name string, size int, pieces []piece) []byte {
		list := ""
		for _, p := range pieces {
			list += fmt.Sprintf(",%d,%d", p.offset, len(p.data))
		}
		records := record("GNU.sparse.size", size) + record("GNU.sparse.numblocks", len(pieces)) +
			record("GNU.sparse.name", name) + record("GNU.sparse.map", list[1:])
		return append(entry(t, "pax", tar.TypeXHeader, []byte(records), nil), entry(t, "GNUSparseFile.0/x", tar.TypeReg, stored(pieces), nil)...)
	},
	"PAX 1.0": func(t testing.TB, name string, size int, pieces []piece) []byte {
		records := record("GNU.sparse.major", 1) + record("GNU.sparse.minor", 0) +
			record("GNU.sparse.name", name) + record("GNU.sparse.realsize", size)
		list := fmt.Sprintln(len(pieces))
		for _, p := range pieces {
			list += fmt.Sprintf("%d\n%d\n", p.offset, len(p.data))
		}
		content := append(padded([]byte(list)), stored(pieces)...)
		return append(entry(t, "pax", tar.TypeXHeader, []byte(records), nil), entry(t, "GNUSparseFile.0/x", tar.TypeReg, content, nil)...)
	},
}

// piece is a part of a sparse file that is not a hole.
type piece struct {
	offset int
	data   []byte
}

// pieces cuts the longest hole out of data.
func pieces(data []byte) []piece {
	from, to := 0, 0
	for start := 0; start+block <= len(data); start += block {
		end := start
		for end+block <= len(data) && bytes.Count(data[end:end+block], []byte{0}) == block {
			end += block
		}
		if end-start > to-from {
			from, to = start, end
		}
		start = max(start, end-block)
	}
	return []piece{{0, data[:from]}, {to, data[to:]}} // The last one may be empty: it tells the size.
}

func stored(pieces []piece) (all []byte) {
	for _, p := range pieces {
		all = append(all, p.data...)
	}
	return all
}

func padded(data []byte) []byte {
	return append(data[:len(data):len(data)], make([]byte, -len(data)&(block-1))...)
}

// record returns a PAX record, which starts with its own length.
func record(key string, value any) string {
	rest := fmt.Sprintf(" %s=%v\n", key, value)
	n := len(rest) + 1
	for len(strconv.Itoa(n))+len(rest) != n {
		n++
	}
	return strconv.Itoa(n) + rest
}

// entry returns an entry of a type that archive/tar does not write.
func entry(t testing.TB, name string, typeflag byte, content []byte, edit func(header []byte)) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatGNU}))
	header := b.Bytes()
	header[156] = typeflag
	if edit != nil {
		edit(header)
	}
	copy(header[148:156], "        ")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return append(header, padded(content)...)
}

// Layers with holes are read as without them, wherever the hole is and however it is
// written.
func TestSparseLayers(t *testing.T) {
	zeros := make([]byte, 64<<10)
	some := bytes.Repeat([]byte("data "), 5000)
	layers := map[string][]byte{
		"in the middle": append(append(bytes.Clone(some), zeros...), some...),
		"at the end":    append(bytes.Clone(some), zeros...),
		"everywhere":    zeros,
	}
	for format, write := range sparseFormats {
		for where, content := range layers {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			require.NoError(t, w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(content))}))
			_, err := w.Write(content)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			for _, form := range []string{"containers/image", "docker since 25"} {
				m := newMaking(form)
				m.choose = func() []imagetest.Layer {
					return []imagetest.Layer{imagetest.NewLayer(b.Bytes(), b.Bytes(), v1.MediaTypeImageLayer)}
				}
				m.imagineAll(t, 1)
				m.write(t)
				plain := m.pack(t)
				var sparse bytes.Buffer
				for _, name := range m.names {
					data := m.files[name]
					if len(data) > 10<<10 {
						sparse.Write(write(t, name, len(data), pieces(data)))
					} else {
						sparse.Write(entry(t, name, tar.TypeReg, data, nil))
					}
				}
				sparse.Write(make([]byte, 2*block))
				require.Less(t, sparse.Len(), len(plain)-len(zeros)/2)

				what := fmt.Sprintf("%s, a hole %s, of %s", format, where, form)
				c := newTrial(t, m, sparse.Bytes())
				assert.Empty(t, c.problems(), what)
				ref, err := dockerarchive.ParseReference(c.path + ":" + m.authors[0].name)
				require.NoError(t, err)
				data, err := c.copied(dockerarchive.ImageTransport, ref, c.options.SourceCtx)
				require.NoError(t, err, what)
				assert.Equal(t, m.authors[0].image(), c.require(data, what)[0].image(), what)
			}
		}
	}
}
