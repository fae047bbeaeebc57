package inflate

import (
	"bytes"
	"compress/gzip"
	"testing"
)

// FuzzStream compares the verdict on any bytes with that of compress/gzip.
func FuzzStream(f *testing.F) {
	for _, s := range streams() {
		f.Add(s.data, uint64(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		if v := standard(data); len(v.data) > 4<<20 {
			t.Skip("too large")
		}
		requireSame(t, data, seed)
	})
}

// FuzzDeflate does so for bytes behind a valid header, so that the fuzzer
// need not find one.
func FuzzDeflate(f *testing.F) {
	for _, s := range streams() {
		if len(s.data) > 18 && s.data[3] == 0 {
			f.Add(s.data[10:], uint64(1))
		}
	}
	header := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		data = append(bytes.Clone(header), data...)
		if v := standard(data); len(v.data) > 4<<20 {
			t.Skip("too large")
		}
		requireSame(t, data, seed)
	})
}

// FuzzRoundTrip compresses any bytes at any level, repeated so that they fill
// the buffers.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("a layer, a layer and another layer"), 6, uint16(3), uint64(1))
	f.Fuzz(func(t *testing.T, text []byte, level int, repeat uint16, seed uint64) {
		if len(text)*int(repeat) > 1<<20 {
			t.Skip("too large")
		}
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, level)
		if err != nil {
			t.Skip("no such level")
		}
		text = bytes.Repeat(text, int(repeat))
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		v := requireSame(t, b.Bytes(), seed)
		if v.err != nil || !bytes.Equal(v.data, text) {
			t.Fatal("not what was compressed", v.err)
		}
	})
}
