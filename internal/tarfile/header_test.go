package tarfile

import (
	"archive/tar"
	"bytes"
	"context"
	"math"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// longName is one that takes PAX records: that of a blob with a sha512 digest.
var longName = "blobs/sha512/" + strings.Repeat("0123456789abcdef", 8)

func TestSpan(t *testing.T) {
	for name, head := range map[string]int64{
		"a":                                 512,
		"blobs/sha256/":                     512,
		strings.Repeat("n", 100):            512,
		"blobs/" + strings.Repeat("n", 100): 512, // Split between two fields.
		longName:                            3 * 512,
		"größe":                             3 * 512,
		strings.Repeat("long/", 400):        6 * 512,
		strings.Repeat("n", 500):            3 * 512,
	} {
		got, err := HeaderSpan(name)
		require.NoError(t, err, name)
		assert.Equal(t, head, got, name)
		for _, size := range []int64{0, 1, 512, 513, maxOctalSize, maxOctalSize + 1, 1 << 45, maxSize} {
			if strings.HasSuffix(name, "/") && size > 0 {
				continue
			}
			span, err := Span(name, size)
			if size > maxOctalSize && (len(name) == 106 || len(name) == 500) { // Nowhere to put the size.
				require.ErrorIs(t, err, ErrTooLarge)
				continue
			}
			require.NoError(t, err, "%s: %d", name, size)
			assert.Equal(t, head+size+padding(size), span, name)
			blocks, err := encodeHeader(headerFor(name), size)
			require.NoError(t, err)
			require.Len(t, blocks, int(head))
			h, err := tar.NewReader(bytes.NewReader(blocks)).Next()
			require.NoError(t, err)
			assert.Equal(t, name, h.Name)
			assert.Equal(t, size, h.Size, name)
		}
	}
	for _, size := range []int64{maxSize + 1, 1 << 62, math.MaxInt64 - 511, math.MaxInt64} {
		_, err := Span("a", size)
		require.ErrorIs(t, err, ErrTooLarge)
	}
	_, err := Span("a", -1)
	require.ErrorIs(t, err, ErrSize)
	_, err = HeaderSpan("a\x00b")
	require.ErrorContains(t, err, "describing a\x00b: ")
}

// Headers of several blocks, of blobs of known and unknown size, planned or not,
// and of metadata.
func TestLongNames(t *testing.T) {
	files := []file{{longName, content("a", 3000)}, {"short", content("b", 700)}, {longName + "2", content("c", 512)}, {"x/" + longName, []byte("x")}}
	want := reference(t, files...)
	for _, known := range []bool{false, true} {
		for _, planned := range []bool{false, true} {
			for _, late := range []bool{false, true} {
				for kind, open := range kinds {
					f := tempFile(t)
					w := open(f, t.TempDir())
					slots := make([]*Slot, 3)
					for i := range slots {
						if planned || late {
							slots[i] = w.Reserve(files[i].name, -1)
						}
					}
					entries := make([]*Entry, 3)
					for _, i := range []int{2, 0, 1} {
						size, h := int64(-1), header(files[i].name)
						if known {
							size = int64(len(files[i].data))
						}
						if late {
							h = nil
						}
						b, err := w.Create(slots[i], h, size)
						require.NoError(t, err)
						entries[i] = finish(t, b, files[i].name, files[i].data)
					}
					require.NoError(t, w.Seal(context.Background(), nil, entries, List(small(files[3].name, "x"))))
					require.NoError(t, w.Close(context.Background()))
					if kind == "file" || planned || late { // Else a stream has the order of arrival.
						require.Equal(t, want, readAll(t, f), "%s, known %v, planned %v, name known late %v", kind, known, planned, late)
					}
				}
			}
		}
	}
	if path, err := exec.LookPath("tar"); err == nil {
		list := exec.Command(path, "-t")
		list.Stdin = bytes.NewReader(want)
		out, err := list.Output()
		require.NoError(t, err)
		assert.Equal(t, []string{longName, "short", longName + "2", "x/" + longName}, strings.Fields(string(out)))
	}
}

// Before the header is known, it has as many blocks as the reserved name needs.
func TestPlaceholder(t *testing.T) {
	f := tempFile(t)
	w := NewFileWriter(f, 0, t.TempDir())
	slot := w.Reserve(longName, -1)
	b, err := w.Create(slot, nil, -1)
	require.NoError(t, err)
	require.NoError(t, b.Write(context.Background(), []byte("content")))
	assert.Equal(t, append(make([]byte, 3*512), "content"...), readAll(t, f))
	_, err = b.Finish(context.Background(), header("short"))
	require.ErrorContains(t, err, "512 bytes instead of the 1536")

	b, err = w.Create(nil, nil, -1)
	require.NoError(t, err)
	_, err = b.Finish(context.Background(), header(longName))
	require.ErrorContains(t, err, "1536 bytes instead of the 512")

	e := put(t, w, slot, longName, []byte("other"), -1)
	require.NoError(t, w.Seal(context.Background(), nil, []*Entry{e}, nil))
	require.NoError(t, w.Close(context.Background()))
	assert.Equal(t, reference(t, file{longName, []byte("other")}), readAll(t, f))
}

// A slot for one length of header is of no use for a blob with another, unless
// nothing depends on it yet.
func TestHeaderOfOtherSpan(t *testing.T) {
	for _, size := range []int64{-1, 700} {
		f := tempFile(t)
		w := NewFileWriter(f, 0, t.TempDir())
		first, second := w.Reserve("a", size), w.Reserve("b", 700)
		b := put(t, w, second, longName, content("b", 700), 700)
		a := put(t, w, first, longName, content("a", 700), 700)
		require.NoError(t, w.Seal(context.Background(), nil, []*Entry{a, b}, nil))
		require.NoError(t, w.Close(context.Background()))
		assert.Equal(t, reference(t, file{longName, content("a", 700)}, file{longName, content("b", 700)}), readAll(t, f), size)
	}
}
