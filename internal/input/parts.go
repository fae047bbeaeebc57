package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/errdef"
	"github.com/dockerarchive/dockerarchive/internal/parts"
)

// joined is the files of an archive in parts as one.
type joined struct {
	files []*os.File // each the one that the list means
	list  *parts.List
}

// ReadAt implements io.ReaderAt.
func (j *joined) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	done := 0
	for done < len(p) {
		number, at := j.find(off + int64(done))
		if number < 0 {
			return done, io.EOF
		}
		f := j.files[number]
		n, err := f.ReadAt(p[done:][:min(j.list.Parts[number].Size-at, int64(len(p)-done))], at)
		done += n
		if err == io.EOF && n == 0 {
			return done, errdef.Errorf(errdef.ErrDamaged, "%s has been cut short: %w", f.Name(), io.ErrUnexpectedEOF)
		}
		if err != nil && err != io.EOF {
			return done, err
		}
	}
	return done, nil
}

// FileAt returns the file that holds an offset, the place in it, and how much there is
// from there on; nil behind the end. It is for callers that want the kernel to read.
func (j *joined) FileAt(off int64) (f *os.File, at, left int64) {
	number, at := j.find(off)
	if number < 0 {
		return nil, 0, 0
	}
	return j.files[number], at, j.list.Parts[number].Size - at
}

// find returns which part holds an offset, and where; -1 behind the end.
func (j *joined) find(off int64) (number int, at int64) {
	if off < j.list.Size {
		size := j.list.Parts[0].Size // As all but the last have.
		number = int(min(off/size, int64(len(j.files)-1)))
		return number, off - int64(number)*size
	}
	return -1, 0
}

// Close closes the files.
func (j *joined) Close() error {
	var errs []error
	for _, f := range j.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// CheckParts reads all parts of a file that is in parts, and returns an
// errdef.MismatchError for each that differs from the list in the last one. The error
// says why they could not be read. For any other file, it returns nothing.
func (f *File) CheckParts(ctx context.Context) (problems []error, err error) {
	if f.parts == nil {
		return nil, nil
	}
	found := make([]error, len(f.parts.files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range f.parts.list.Parts {
		g.Go(func() error {
			name := f.parts.files[i].Name()
			got, err := parts.Digest(ctx, f.parts.files[i], p.Size)
			if err != nil {
				return fmt.Errorf("reading %s: %w", name, err)
			}
			if got != p.Digest {
				found[i] = &errdef.MismatchError{Name: name, Want: p.Digest, Got: got}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, p := range found {
		if p != nil {
			problems = append(problems, p)
		}
	}
	return problems, nil
}

// openParts opens an archive in parts, or returns nil if there is none at path.
func openParts(path string) (*File, error) {
	archive, inDir, err := archiveOf(path)
	if archive == "" || err != nil {
		return nil, err
	}
	numbers, err := parts.Find(archive)
	if err != nil {
		return nil, nil //nolint:nilerr // A directory may refuse to be listed, and let the file be read.
	}
	set, err := openSet(archive, numbers)
	if err != nil {
		return nil, err
	}
	list, problems := set.best()
	if !inDir && !set.hasList() && (len(numbers) == 0 || looksWhole(path)) {
		return nil, set.close(nil) // An ordinary file, whatever it is called, or none.
	}
	if len(problems) > 0 {
		err := errdef.Errorf(errdef.ErrDamaged, "opening the parts of %s: %s", archive, strings.Join(problems, "; "))
		return nil, errors.Join(err, set.close(nil))
	}
	j := &joined{list: list}
	for i := range list.Parts {
		j.files = append(j.files, set.files[i].File)
	}
	return &File{SectionReader: io.NewSectionReader(j, 0, list.Size), close: j.Close, parts: j}, nil
}

// archiveOf returns the path of the archive that path may be a part of, or a directory
// with the parts of; "" if it is neither.
func archiveOf(path string) (archive string, inDir bool, err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if archive, err = parts.InDir(path); err != nil {
			err = fmt.Errorf("reading %s: %w", path, err)
		}
		return archive, true, err
	}
	archive, _, _ = parts.Split(path)
	return archive, false, nil
}

// looksWhole reports whether a file does not look like a part whose last part is
// missing: it ends with zeros, as a tar does, and hardly any compressed data, or it is
// compressed itself.
func looksWhole(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() // It is only read.
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return true // It is not a part.
	}
	return isWhole(io.NewSectionReader(f, 0, info.Size()))
}

func isWhole(file *io.SectionReader) bool {
	compressed, err := isCompressed(file)
	if err != nil || compressed {
		return true
	}
	end := make([]byte, min(file.Size(), 1024))
	_, err = file.ReadAt(end, file.Size()-int64(len(end)))
	return err == nil && strings.Trim(string(end), "\x00") == ""
}

// refusePart returns an error for a part of an archive that is elsewhere.
func refusePart(address string, file *io.SectionReader) error {
	archive, _, ok := parts.Split(address)
	if !ok {
		return nil
	}
	list, err := parts.Read(file, file.Size())
	if list == nil && err == nil && isWhole(file) {
		return nil // It only has the name of a part.
	}
	return fmt.Errorf("it is a part of an archive, and parts are read as local files only: join them (cat %s.[0-9]*)", path.Base(archive))
}
