package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/dockerarchive/dockerarchive/internal/compression"
	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/parts"
)

// partAlign is the unit to which the size of a part is rounded down: file systems share
// blocks, and disks write them, at such offsets.
const partAlign = 4096

// CreateSplit is Create of an archive in parts of size bytes, rounded down to a multiple
// of 4096, at PATH.000, PATH.001 and so on; a size of 0 is Create. Nothing may be there,
// not even an empty file. All parts are complete before the first gets its name, and
// PATH.000 gets its own last: without it the others are no archive. If Commit fails,
// none is left; if the process is killed while they get their names, some may be.
func CreateSplit(ctx context.Context, path string, size int64) (*Output, error) {
	if size == 0 {
		return Create(ctx, path)
	}
	if IsRemote(path) {
		return nil, &Error{Op: "creating", Path: path, Err: errors.New("splitting is not supported there: an object may have 5 TB")}
	}
	s := &split{path: path, size: size - size%partAlign}
	if err := s.create(ctx, size); err != nil {
		return nil, &Error{Op: "creating", Path: path, Err: err}
	}
	return &Output{path: path, dir: dirOf(path), split: s, finish: s.finish, undo: s.undo}, nil
}

// errSplitStream means that there are no files that could be parts.
var errSplitStream = errors.New("it is a stream, and only files can be split")

// checkSplit fails if an output cannot be in parts that should be.
func (o *Output) checkSplit(options Options) error {
	switch {
	case options.Split == 0:
		return nil
	case o.change != nil:
		return errors.New("an archive that is changed stays in one file; save another one to split it")
	case o.split == nil:
		return errSplitStream
	case options.Compress != compression.None:
		return errors.New("what is compressed as a whole cannot be split; leave the archive uncompressed, its layers are compressed as they are")
	case options.Hash != nil:
		return errors.New("there is no digest of an archive in parts; each part has its own")
	}
	return nil
}

func (s *split) create(ctx context.Context, size int64) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if s.path == "" {
		return errors.New("the path is empty")
	}
	if size < parts.MinSize {
		return fmt.Errorf("parts of %d bytes are too small: they must have %d at least", size, parts.MinSize)
	}
	open, err := inherited(s.path)
	if open != nil {
		return errors.Join(errSplitStream, open.Close())
	}
	if err != nil {
		return err
	}
	if info, err := os.Stat(s.path); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return errors.New("is a directory")
		}
		return errSplitStream
	}
	there, err := parts.Find(s.path)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("%s is there; remove the parts of the other archive or choose another name: %w", parts.Name(s.path, there[0]), fs.ErrExist)
	}
	_, err = s.part(0)
	return err
}

// split is a file in parts. It may be used concurrently. Each part is made when
// something is written to it first.
type split struct {
	path   string
	size   int64 // of all parts but the last, in bytes
	noSync bool

	mu     sync.Mutex
	parts  []*part // nil for those that do not exist yet
	end    int64   // of the archive, set by Truncate
	closed bool
}

// part is a file that has no name, or a temporary one.
type part struct {
	*local.File
	path string
	out  *Output
}

// Name returns the name of the whole in errors.
func (s *split) Name() string { return s.path }

// ReadAt implements io.ReaderAt. It reads only bytes that have been written.
func (s *split) ReadAt(p []byte, off int64) (int, error) {
	return s.each(p, off, func(part *local.File, p []byte, at int64) (int, error) { return part.ReadAt(p, at) })
}

// WriteAt implements io.WriterAt.
func (s *split) WriteAt(p []byte, off int64) (int, error) {
	return s.each(p, off, func(part *local.File, p []byte, at int64) (int, error) { return part.WriteAt(p, at) })
}

func (s *split) each(p []byte, off int64, do func(part *local.File, p []byte, at int64) (int, error)) (int, error) {
	done := 0
	for done < len(p) {
		part, at, n, err := s.Piece(off + int64(done))
		if err != nil {
			return done, err
		}
		m, err := do(part, p[done:][:min(n, int64(len(p)-done))], at)
		done += m
		if err != nil && (err != io.EOF || done < len(p)) {
			return done, err
		}
	}
	return done, nil
}

// Piece returns the file that holds an offset, the offset in it, and how many bytes
// there are from there to its end.
func (s *split) Piece(off int64) (file *local.File, at, n int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.part(off / s.size)
	if err != nil {
		return nil, 0, 0, err
	}
	at = off % s.size
	return p.File, at, s.size - at, nil
}

// part returns a part, which is made if it does not exist.
func (s *split) part(number int64) (*part, error) {
	if s.closed {
		return nil, &Error{Op: "write", Path: s.path, Err: fs.ErrClosed}
	}
	if number >= parts.Max {
		return nil, &Error{Op: "write", Path: s.path, Err: fmt.Errorf("the archive would have more than %d parts of %d bytes: make them larger", parts.Max, s.size)}
	}
	for int64(len(s.parts)) <= number {
		s.parts = append(s.parts, nil)
	}
	if s.parts[number] == nil {
		path := parts.Name(s.path, int(number))
		out, err := createPart(path)
		if err != nil {
			return nil, &Error{Op: "creating", Path: path, Err: err}
		}
		s.parts[number] = &part{File: s.file(out, path), path: path, out: out}
	}
	return s.parts[number], nil
}

// createPart makes the file of a part. It is a variable for tests.
var createPart = func(path string) (*Output, error) { return createBeside(path, nil) }

func (s *split) file(out *Output, path string) *local.File {
	f := local.NewFile(out.raw, path)
	if !s.noSync {
		f.WriteBackEarly()
	}
	return f
}

func (s *split) doNotSync() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noSync = true
	for _, p := range s.parts {
		p.File = s.file(p.out, p.path)
	}
}

// Truncate sets the size of the whole.
func (s *split) Truncate(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.part(max(size-1, 0) / s.size); err != nil {
		return err
	}
	var errs []error
	for i := range s.parts {
		left := size - int64(i)*s.size
		if left <= 0 && i > 0 {
			if s.parts[i] != nil {
				errs = append(errs, s.parts[i].out.Abort())
				s.parts[i] = nil
			}
			continue
		}
		p, err := s.part(int64(i))
		if err == nil {
			err = p.Truncate(min(left, s.size))
		}
		errs = append(errs, err)
	}
	last := max(size-1, 0) / s.size
	s.parts, s.end = s.parts[:last+1], size
	return errors.Join(errs...)
}

// complete writes the list of the parts behind the archive, and all to the disk.
func (s *split) complete(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == 0 {
		return errors.New("internal error: nobody has said how long the archive is")
	}
	l, err := s.list(ctx)
	if err != nil {
		return err
	}
	encoded, err := l.Encode()
	if err != nil {
		return err
	}
	at := l.Parts[len(l.Parts)-1].Size
	if at+int64(len(encoded)) > s.size { // It must not be torn.
		if encoded, err = s.alone(ctx, l); err != nil {
			return err
		}
		at = 0
	}
	if _, err := s.parts[len(s.parts)-1].WriteAt(encoded, at); err != nil || s.noSync {
		return err
	}
	for _, p := range s.parts {
		if err := syncFile(p.File); err != nil {
			return err
		}
	}
	return nil
}

// alone gives the list a part of its own, after filling up the last one with zeros, and
// returns it encoded.
func (s *split) alone(ctx context.Context, l *parts.List) ([]byte, error) {
	last := len(s.parts) - 1
	if err := s.parts[last].Truncate(s.size); err != nil {
		return nil, err
	}
	if _, err := s.part(int64(len(s.parts))); err != nil {
		return nil, err
	}
	l.Parts = l.Parts[:last]
	for _, p := range s.parts[last:] {
		described, err := p.describe(ctx)
		if err != nil {
			return nil, err
		}
		l.Parts = append(l.Parts, described)
	}
	return l.Encode()
}

// list reads all parts.
func (s *split) list(ctx context.Context) (*parts.List, error) {
	l := &parts.List{Size: s.end, Parts: make([]parts.Part, len(s.parts))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range s.parts {
		g.Go(func() error {
			var err error
			l.Parts[i], err = p.describe(ctx)
			return err
		})
	}
	return l, g.Wait()
}

func (p *part) describe(ctx context.Context) (parts.Part, error) {
	info, err := p.out.raw.Stat()
	if err != nil {
		return parts.Part{}, err
	}
	described := parts.Part{Size: info.Size()}
	if described.Digest, err = parts.Digest(ctx, p.File, info.Size()); err == nil {
		described.Ends, err = parts.Ends(p.File, info.Size())
	}
	return described, err
}

// finish gives the parts their names, the first one last, or leaves none.
func (s *split) finish(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	named := map[string]fs.FileInfo{}
	for i := len(s.parts) - 1; i >= 0; i-- {
		p := s.parts[i]
		info, err := p.out.raw.Stat()
		if err == nil {
			finish := p.out.finish
			p.out.finish, p.out.undo = nil, nil
			err = finish(ctx)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", p.path, err), removeNamed(named), s.undoAll())
		}
		named[p.path] = info
	}
	return nil
}

// removeNamed removes files, unless others have been put in their places.
func removeNamed(named map[string]fs.FileInfo) error {
	var errs []error
	for path, own := range named {
		if info, err := os.Lstat(path); err == nil && os.SameFile(own, info) {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

func (s *split) undo() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.undoAll()
}

func (s *split) undoAll() error {
	s.closed = true
	var errs []error
	for _, p := range s.parts {
		if p != nil {
			errs = append(errs, p.out.Abort())
		}
	}
	return errors.Join(errs...)
}
