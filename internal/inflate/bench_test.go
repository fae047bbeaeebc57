package inflate

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// program is bytes that compress as machine code and tables do: short
// matches, of which many are a few bytes apart, and literals of all values.
func program(n int) []byte {
	rng := rand.New(rand.NewPCG(11, 12))
	ops := make([][]byte, 600)
	for i := range ops {
		ops[i] = make([]byte, 2+rng.IntN(5))
		for j := range ops[i] {
			ops[i][j] = byte(min(rng.IntN(256), rng.IntN(256)))
		}
	}
	b := make([]byte, 0, n+64)
	for len(b) < n {
		switch rng.IntN(12) {
		case 0:
			b = binary.LittleEndian.AppendUint32(b, rng.Uint32()>>rng.IntN(32))
		case 1:
			for i := range uint64(rng.IntN(6)) {
				b = binary.LittleEndian.AppendUint64(b, 0x400000+i*uint64(rng.IntN(100)))
			}
		default:
			b = append(b, ops[min(rng.IntN(600), rng.IntN(600))]...)
		}
	}
	return b[:n]
}

// BenchmarkReader measures this package against compress/gzip and klauspost's
// on generated data, and on the gzip files among those that the environment
// variable INFLATE_FILES matches, such as the blobs of an image. Compare the figures
// of one run only.
func BenchmarkReader(b *testing.B) {
	noise := make([]byte, 4<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	text := words(4 << 20)
	benchmark(b, "text", compressed(6, text))
	benchmark(b, "program", compressed(6, program(4<<20)))
	benchmark(b, "literals", compressed(gzip.HuffmanOnly, text))
	benchmark(b, "incompressible", compressed(6, noise))
	benchmark(b, "zeros", compressed(6, make([]byte, 4<<20)))
	benchmark(b, "tiny", compressed(6, text[:100]))
	benchmark(b, "small", compressed(6, text[:4000]))

	names, err := filepath.Glob(os.Getenv("INFLATE_FILES"))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		if len(data) > 2 && data[0] == 0x1f && data[1] == 0x8b {
			benchmark(b, filepath.Base(name)[:12], data)
		}
	}
}

func benchmark(b *testing.B, name string, data []byte) {
	// Each is given its best: its buffers are used again, and it writes by
	// itself where it can.
	var std stdgzip.Reader
	var klauspost gzip.Reader
	for _, bench := range []struct {
		name string
		run  func(r io.Reader) (int64, error)
	}{
		{"inflate", func(r io.Reader) (int64, error) {
			z, err := NewReader(r)
			if err != nil {
				return 0, err
			}
			defer z.Close()
			return z.WriteTo(io.Discard)
		}},
		{"klauspost", func(r io.Reader) (int64, error) {
			if err := klauspost.Reset(r); err != nil {
				return 0, err
			}
			return klauspost.WriteTo(io.Discard)
		}},
		{"std", func(r io.Reader) (int64, error) {
			if err := std.Reset(r); err != nil {
				return 0, err
			}
			return io.Copy(io.Discard, &std)
		}},
	} {
		b.Run(name+"/"+bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n, err := bench.run(bytes.NewReader(data))
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
		})
	}
}
