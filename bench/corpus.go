package main

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// corpusFile is a file to put into a layer.
type corpusFile struct {
	path string // "" if data is set
	data []byte
	name string
	size int64
	mode fs.FileMode
}

// corpus hands out the files that images are made of, each once: sources,
// programs and libraries, as any machine with a Go toolchain has them.
//
// Files that do not compress, such as pictures and packages, are left to
// chance on each machine, so they are replaced by random bytes, a fixed share of
// the whole; that makes the images compressible to about the same degree
// everywhere. Text is made up when the machine runs out of files.
type corpus struct {
	files  []corpusFile
	random *rand.ChaCha8
	total  int64 // bytes handed out
	noise  int64 // of which random
	made   int   // files made up
	words  [][]byte
}

const (
	// noiseShare is about what the archives, pictures and compiled caches in
	// popular images come to.
	noiseShare = 0.19
	// maxCorpusFile keeps a single file from being most of a layer.
	maxCorpusFile = 48 << 20
	madeUpSize    = 256 << 10
)

// newCorpus lists the files of the machine. Directories are taken in an order
// that mixes them and depends on nothing but their paths.
func newCorpus() (*corpus, error) {
	c := &corpus{random: rand.NewChaCha8([32]byte{1})}
	roots := []string{"/usr/bin", "/usr/lib", "/usr/share"}
	for _, name := range []string{"GOROOT", "GOMODCACHE"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			return nil, fmt.Errorf("asking go for its %s: %w", name, err)
		}
		roots = append(roots, strings.TrimSpace(string(out)))
	}
	dirs := map[string][]corpusFile{}
	for _, root := range roots {
		if err := listFiles(root, dirs); err != nil {
			return nil, err
		}
	}
	type dir struct {
		files []corpusFile
		order [sha256.Size]byte
	}
	var ordered []dir
	for path, files := range dirs {
		ordered = append(ordered, dir{files: files, order: sha256.Sum256([]byte(path))})
	}
	slices.SortFunc(ordered, func(a, b dir) int { return bytes.Compare(a.order[:], b.order[:]) })
	for _, d := range ordered {
		c.files = append(c.files, d.files...)
	}
	return c, nil
}

// listFiles adds the regular files below root to dirs, by directory.
func listFiles(root string, dirs map[string][]corpusFile) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // Missing or unreadable: there are others.
		}
		if entry.IsDir() && entry.Name() == "cache" {
			return filepath.SkipDir // Of the module cache: compressed copies of the rest.
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		info, err := entry.Info()
		if err != nil || info.Size() == 0 || info.Size() > maxCorpusFile {
			return nil
		}
		dir := filepath.Dir(path)
		dirs[dir] = append(dirs[dir], corpusFile{path: path, name: strings.TrimPrefix(filepath.ToSlash(path), "/"), size: info.Size(), mode: info.Mode().Perm()})
		return nil
	})
}

// next returns the file that comes next.
func (c *corpus) next() corpusFile {
	f := c.choose()
	c.total += f.size
	return f
}

func (c *corpus) choose() corpusFile {
	if float64(c.noise) < noiseShare*float64(c.total) {
		data := make([]byte, madeUpSize)
		_, _ = c.random.Read(data) // Never fails.
		c.noise += madeUpSize
		return c.makeUp(data, "bin")
	}
	for len(c.files) > 0 {
		f := c.files[0]
		c.files = c.files[1:]
		if compressible(f.path) {
			return f
		}
	}
	return c.makeUp(c.text(), "txt")
}

func (c *corpus) makeUp(data []byte, extension string) corpusFile {
	c.made++
	return corpusFile{data: data, name: fmt.Sprintf("srv/made/%d.%s", c.made, extension), size: int64(len(data)), mode: 0o644}
}

// text returns words of which some are much more frequent than others.
func (c *corpus) text() []byte {
	random := rand.New(c.random)
	for len(c.words) < 20000 {
		word := make([]byte, 2+random.IntN(9))
		for i := range word {
			word[i] = byte('a' + random.IntN(26))
		}
		c.words = append(c.words, append(word, ' '))
	}
	zipf := rand.NewZipf(random, 1.1, 4, uint64(len(c.words)-1))
	text := make([]byte, 0, madeUpSize+16)
	for len(text) < madeUpSize {
		text = append(text, c.words[zipf.Uint64()]...)
	}
	return text[:madeUpSize]
}

// compressible reports whether a file can be read and gets smaller, judging by
// its beginning.
func compressible(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return false
	}
	n, err := io.Copy(w, io.LimitReader(f, 64<<10))
	if err != nil || w.Close() != nil {
		return false
	}
	return n < 1024 || int64(out.Len()) < n*9/10
}
