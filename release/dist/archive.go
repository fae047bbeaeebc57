package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const sumsName = "SHA256SUMS"

// archive writes the archive for users: tar.gz, zip for Windows.
func (d *dist) archive(b build) error {
	binary, err := os.ReadFile(b.binary)
	if err != nil {
		return err
	}
	top := fmt.Sprintf("%s_%s_%s", command, d.version(), b.name())
	files := append(slices.Clone(d.extra), file{filepath.Base(b.binary), binary}, file{"NOTICES", b.notices})
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	if b.os == "windows" {
		return d.write(top+".zip", func(w io.Writer) error { return d.zip(w, top, files) })
	}
	return d.write(top+".tar.gz", func(w io.Writer) error { return d.tar(w, top, files) })
}

// write writes a file of the release.
func (d *dist) write(name string, content func(io.Writer) error) error {
	f, err := os.Create(filepath.Join(d.out, name))
	if err != nil {
		return err
	}
	defer f.Close() // Again, after an error.
	if err := content(f); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return f.Close()
}

// modeOf is that of a file in an archive: all but the command is to be read.
func modeOf(name string) fs.FileMode {
	if base, _, _ := strings.Cut(name, "."); base == command && !strings.Contains(name, "/") {
		return 0o755
	}
	return 0o644
}

func (d *dist) tar(w io.Writer, top string, files []file) error {
	packed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(packed)
	for _, f := range files {
		if err := d.tarFile(t, top+"/"+f.name, modeOf(f.name), f.content); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return packed.Close()
}

func (d *dist) tarFile(t *tar.Writer, name string, mode fs.FileMode, content []byte) error {
	if err := t.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: int64(mode), Size: int64(len(content)), ModTime: d.time, Uname: "root", Gname: "root",
	}); err != nil {
		return err
	}
	_, err := t.Write(content)
	return err
}

func (d *dist) zip(w io.Writer, top string, files []file) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: top + "/" + f.name, Method: zip.Deflate, Modified: d.time}
		header.SetMode(modeOf(f.name))
		to, err := z.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := to.Write(f.content); err != nil {
			return err
		}
	}
	return z.Close()
}

// checksums writes the digests of all files of the release, as sha256sum -c reads them.
func (d *dist) checksums() error {
	entries, err := os.ReadDir(d.out)
	if err != nil {
		return err
	}
	return d.write(sumsName, func(w io.Writer) error {
		for _, entry := range entries {
			if entry.Name() == sumsName {
				continue
			}
			sum, size, err := sumOf(filepath.Join(d.out, entry.Name()))
			if err != nil {
				return err
			}
			fmt.Printf("%s: %.1f MB\n", entry.Name(), float64(size)/1e6)
			fmt.Fprintf(w, "%s  %s\n", sum, entry.Name())
		}
		return nil
	})
}

// sumOf returns the SHA-256 of a file, and its size.
func sumOf(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	return hex.EncodeToString(hash.Sum(nil)), size, err
}
