package output

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/dockerarchive/dockerarchive/internal/local"
	"github.com/dockerarchive/dockerarchive/internal/parts"
)

// How often it is tried whether a lock is free: at first, and at least.
const (
	firstLook = time.Millisecond
	lastLook  = 100 * time.Millisecond
)

// Open prepares to change an existing archive, in place. Nobody else does that until
// it is committed or aborted: if somebody else is at it, Open waits, as long as ctx
// lasts, or returns ErrBusy if wait is false.
//
// If the caller writes behind the archive's end and then calls Supersede, Commit makes
// the change; without that call Commit leaves the archive as it was, as Abort does.
// Restore then says how much of the file to keep.
//
// An object in a store is not locked. Its next version is written as a stream, after Grow.
// Commit puts that in its place unless another version is there by then. Restore and Supersede
// are not for objects.
func Open(ctx context.Context, path string, wait bool) (*Output, error) {
	scheme, elsewhere, err := schemeOf(path)
	if elsewhere && err == nil {
		var o *Output
		if o, err = openRemote(ctx, scheme, path); err == nil {
			return o, nil
		}
	}
	if err != nil {
		return nil, &Error{Op: "opening", Path: path, Err: err}
	}
	f, target, err := openLocked(ctx, path, wait)
	if err != nil {
		return nil, &Error{Op: "opening", Path: path, Err: err}
	}
	info, err := f.Stat()
	if err != nil {
		return nil, &Error{Op: "opening", Path: path, Err: errors.Join(err, f.Close())}
	}
	c := &change{target: target, raw: f, size: info.Size(), keep: info.Size()}
	o := &Output{path: path, raw: f, file: local.NewFile(f, path), dir: dirOf(target), change: c}
	o.file.WriteBackEarly()
	o.undo = func() error { return errors.Join(c.restore(o.file), f.Close()) }
	o.finish = func(context.Context) error { return errors.Join(c.commit(o.file, o.noSync), f.Close()) }
	return o, nil
}

func openLocked(ctx context.Context, path string, wait bool) (*os.File, string, error) {
	target, inherited, err := resolve(path)
	if err != nil {
		return nil, "", err
	}
	if inherited != nil {
		return nil, "", errors.Join(errors.New("a stream cannot be changed"), inherited.Close())
	}
	for delay := firstLook; ; delay = min(2*delay, lastLook) {
		if err := context.Cause(ctx); err != nil {
			return nil, "", err
		}
		f, err := lockedFile(target)
		if f != nil || err != nil && (!wait || !errors.Is(err, ErrBusy)) {
			return f, target, err
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// lockedFile opens the file at a path, or returns nil if another has been put there
// before it was locked.
func lockedFile(target string) (*os.File, error) {
	if parts.Contains(target) {
		return nil, errParts
	}
	info, err := os.Stat(target)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file, and only such can be changed")
	}
	f, err := os.OpenFile(target, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := isAt(f, target); err != nil {
		return nil, f.Close()
	}
	return f, nil
}

// errParts means that the archive to be changed is not one file.
var errParts = errors.New("the archive is in parts, which are not changed: join them (cat NAME.[0-9]* > NAME) and change that, or save it anew")

// isAt fails if the file at a path is another one.
func isAt(f *os.File, path string) error {
	here, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(here, there) {
		return ErrChanged
	}
	return nil
}

// ErrChanged means that somebody else has changed an archive while it was changed
// here, or has put another file in its place.
var ErrChanged = errors.New("another program has changed the file meanwhile")

// change is a planned change of an existing archive.
type change struct {
	target    string
	raw       *os.File
	size      int64 // when it was opened, in bytes
	keep      int64 // bytes to keep of that if the change is not made
	wrote     bool  // something may have been
	block     []byte
	off       int64
	unchanged func() error
}

// Size returns how many bytes an archive that was opened has.
func (o *Output) Size() int64 {
	if o.remote != nil {
		return o.remote.old.Size()
	}
	return o.change.size
}

// Old reads an archive that was opened.
func (o *Output) Old() io.ReaderAt {
	if o.remote != nil {
		return o.remote.old
	}
	return o.file
}

// Name returns the path, as errors have it.
func (o *Output) Name() string { return o.path }

// Restore says that the bytes after the first keep ones of an opened archive mean
// nothing, and need not be there again if the change is not made. From now on
// something may be written there.
func (o *Output) Restore(keep int64) { o.change.keep, o.change.wrote = keep, true }

// Supersede has Commit write a block, of 512 bytes at a multiple of that, when
// everything else is on the disk: only this write makes the change. Before it,
// unchanged is asked whether the archive is still the same.
func (o *Output) Supersede(block []byte, off int64, unchanged func() error) {
	o.change.block, o.change.off, o.change.unchanged = block, off, unchanged
}

func (c *change) restore(file *local.File) error {
	if !c.wrote {
		return nil
	}
	if info, err := c.raw.Stat(); err != nil || info.Size() <= c.keep {
		return err // Somebody else has cut it: the rest is theirs.
	}
	return file.Truncate(c.keep)
}

// commit is called when all else is written, and synced unless that is not wanted.
func (c *change) commit(file *local.File, noSync bool) error {
	if c.block == nil {
		return c.restore(file)
	}
	if err := errors.Join(isAt(c.raw, c.target), c.unchanged()); err != nil {
		return errors.Join(err, c.restore(file))
	}
	return c.write(file, noSync)
}

// write writes the block.
func (c *change) write(file *local.File, noSync bool) error {
	if _, err := file.WriteAt(c.block, c.off); err != nil {
		return err // Whether it has been written is not known: nothing else is touched.
	}
	if noSync {
		return nil
	}
	if err := syncFile(file); err != nil {
		return errors.Join(ErrNotDurable, err)
	}
	return nil
}

// Replace prepares to put another archive in the place of the one at path, which is
// there until Commit, with its mode and owner. Nobody else changes it meanwhile, as
// with Open. The error of Commit wraps ErrChanged if another file is there by then. An object in a
// store is not locked: what is written then may fail with ErrChanged, too.
func Replace(ctx context.Context, path string, wait bool) (*Output, error) {
	scheme, elsewhere, err := schemeOf(path)
	if elsewhere && err == nil {
		options := remoteOptions(ctx)
		options.Force, options.Copies = true, true
		var o *Output
		if o, err = createRemote(ctx, scheme, path, options); err == nil {
			return o, nil
		}
	}
	if err != nil {
		return nil, &Error{Op: "opening", Path: path, Err: err}
	}
	old, target, err := openLocked(ctx, path, wait)
	if err != nil {
		return nil, &Error{Op: "opening", Path: path, Err: err}
	}
	r, err := newReplacement(old, target)
	if err != nil {
		return nil, &Error{Op: "replacing", Path: path, Err: errors.Join(err, old.Close())}
	}
	o := &Output{path: path, raw: r.file, file: local.NewFile(r.file, path), dir: dirOf(target)}
	o.file.WriteBackEarly()
	o.undo = func() error { return errors.Join(r.discard(), old.Close()) }
	o.finish = func(context.Context) error {
		defer old.Close() // It has only been locked.
		if err := isAt(old, target); err != nil {
			return errors.Join(err, r.discard())
		}
		return r.replace()
	}
	return o, nil
}

// Beside has an opened archive that cannot be changed in place written again: from now
// on File is a new and empty file, which replaces the old one when Commit has made the
// change there. old is the file to read meanwhile.
func (o *Output) Beside() (old *local.File, err error) {
	if o.remote != nil {
		return nil, errors.New("it is in an object store, where it is not written again beside: compact it first")
	}
	c, locked := o.change, o.raw
	r, err := newReplacement(locked, c.target)
	if err != nil {
		return nil, err
	}
	old = o.file
	o.raw, o.file = r.file, local.NewFile(r.file, o.path)
	o.file.WriteBackEarly()
	o.undo = func() error { return errors.Join(r.discard(), locked.Close()) }
	o.finish = func(context.Context) error {
		defer locked.Close() // It has only been read.
		if c.block == nil {
			return r.discard()
		}
		if err := errors.Join(isAt(locked, c.target), c.write(o.file, o.noSync)); err != nil {
			return errors.Join(err, r.discard())
		}
		if err := r.replace(); err != nil || o.noSync {
			return err
		}
		return syncDir(o.dir)
	}
	return old, nil
}

// Resize says how many bytes were written to the file that Beside has made.
func (o *Output) Resize(size int64) { o.change.size = size }
