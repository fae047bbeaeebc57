package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// input is a gzip stream.
type input struct {
	name string
	path string // of a file given on the command line, else ""
	data []byte
}

// allInputs are the gzip files among those given, then other kinds of data.
func allInputs(paths []string) ([]input, error) {
	var inputs []input
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(data, []byte{0x1f, 0x8b, 8}) {
			inputs = append(inputs, input{fmt.Sprintf("layer %.8s", filepath.Base(path)), path, data})
		}
	}
	kinds, err := otherInputs()
	return append(inputs, kinds...), err
}

// otherInputs are the usual files of compression benchmarks, as the module
// klauspost/compress has them, a program, and extremes.
func otherInputs() ([]input, error) {
	corpus, err := corpusDir()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var inputs []input
	var failed error
	add := func(name string, level int, data []byte) {
		packed, err := compress(level, data)
		inputs = append(inputs, input{name: name, data: packed})
		failed = errors.Join(failed, err)
	}
	for _, path := range []string{
		filepath.Join(corpus, "Mark.Twain-Tom.Sawyer.txt"), filepath.Join(corpus, "html.txt"),
		filepath.Join(corpus, "e.txt"), filepath.Join(corpus, "pngdata.bin"), filepath.Join(corpus, "sharnd.out"), self,
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if path == self {
			add("Go program", gzip.DefaultCompression, data)
			continue
		}
		add(filepath.Base(path), gzip.DefaultCompression, data)
		if strings.HasPrefix(filepath.Base(path), "Mark") {
			add("… fastest level", gzip.BestSpeed, data)
			add("… Huffman codes only", gzip.HuffmanOnly, data)
			add("… stored", gzip.NoCompression, data)
			add("… 4,000 bytes of it", gzip.DefaultCompression, data[:4000])
			add("… 100 bytes of it", gzip.DefaultCompression, data[:100])
		}
	}
	noise := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise) // Never fails.
	add("random", gzip.DefaultCompression, noise)
	add("zeros", gzip.DefaultCompression, make([]byte, 4<<20))
	return inputs, failed
}

func corpusDir() (string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/klauspost/compress").Output()
	if err != nil {
		return "", fmt.Errorf("finding the corpus: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(dir)), "testdata"), nil
}

func compress(level int, data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
