package inflate

import (
	"bytes"
	stdgzip "compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
)

type discard struct{ n int64 }

func (d *discard) Write(p []byte) (int, error) { d.n += int64(len(p)); return len(p), nil }

func BenchmarkFiles(b *testing.B) {
	names, _ := filepath.Glob(os.Getenv("INFLATE_FILES"))
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(filepath.Base(name), func(b *testing.B) {
			b.Run("ours", func(b *testing.B) {
				for b.Loop() {
					z, err := NewReader(bytes.NewReader(data))
					if err != nil {
						b.Fatal(err)
					}
					var w discard
					if _, err := z.WriteTo(&w); err != nil {
						b.Fatal(err)
					}
					z.Close()
					b.SetBytes(w.n)
				}
			})
			b.Run("klauspost", func(b *testing.B) {
				for b.Loop() {
					z, err := gzip.NewReader(bytes.NewReader(data))
					if err != nil {
						b.Fatal(err)
					}
					var w discard
					if _, err := z.WriteTo(&w); err != nil {
						b.Fatal(err)
					}
					b.SetBytes(w.n)
				}
			})
			b.Run("std", func(b *testing.B) {
				for b.Loop() {
					z, err := stdgzip.NewReader(bytes.NewReader(data))
					if err != nil {
						b.Fatal(err)
					}
					var w discard
					if _, err := io.Copy(&w, z); err != nil {
						b.Fatal(err)
					}
					b.SetBytes(w.n)
				}
			})
		})
	}
}
