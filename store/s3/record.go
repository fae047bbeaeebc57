package s3

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"github.com/dockerarchive/dockerarchive/internal/local"
)

// record is a file that says that this user has begun an upload. It is locked while the upload goes on, so that
// an unlocked one belongs to a process that was killed. The directory is docker-archive/uploads in the user's
// directory for caches. Its methods do nothing for a nil record: without such a directory, or without locks,
// uploads that are left are listed, and not aborted.
type record struct {
	Bucket, Key, Upload string
	// Base and Steady are the sizes of the parts.
	Base   int64
	Steady int

	file *os.File
	path string
}

// newRecord records an upload.
func (t *target) newRecord(id string, s sizes) *record {
	r := &record{Bucket: t.bucket, Key: t.key, Upload: id, Base: s.base, Steady: s.steady}
	if err := r.write(); err != nil {
		logrus.Debugf("the upload %s is not recorded: %v", id, err)
		return nil
	}
	return r
}

// write writes the record to a file that is locked before it has its name.
func (r *record) write() error {
	path, err := recordPath(r.Upload)
	if err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if r.file, err = os.CreateTemp(filepath.Dir(path), ".new-*"); err != nil {
		return err
	}
	r.path = r.file.Name()
	locked, err := local.TryLock(r.file)
	if err == nil && !locked {
		err = fmt.Errorf("%s is locked", r.path)
	}
	if err == nil {
		_, err = r.file.Write(data)
	}
	if err == nil {
		err = os.Rename(r.path, path)
	}
	if err != nil {
		r.remove()
		return err
	}
	r.path = path
	return nil
}

func recordPath(id string) (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "docker-archive", "uploads", fmt.Sprintf("%x.json", sha256.Sum256([]byte(id)))), nil
}

// recordState is what is known about an upload here.
type recordState int

const (
	noRecord    recordState = iota // It may be anybody's.
	busyRecord                     // A process of this user goes on with it.
	ownedRecord                    // It was left by one.
)

// ownRecord returns the record of an upload that an earlier run has left, locked, and nil for all others.
func (t *target) ownRecord(id string) (*record, recordState) {
	path, err := recordPath(id)
	if err != nil {
		return nil, noRecord
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, noRecord
	}
	r := &record{}
	locked, err := local.TryLock(file)
	if err == nil && locked {
		err = json.NewDecoder(file).Decode(r)
	}
	r.file, r.path = file, path
	switch {
	case err == nil && !locked:
		r.release()
		return nil, busyRecord
	case err != nil || r.Upload != id || r.Bucket != t.bucket || r.Key != t.key:
		r.release()
		return nil, noRecord
	}
	return r, ownedRecord
}

// removeRecord removes the record of an upload that is gone, if there is one.
func (t *target) removeRecord(id string) {
	if r, _ := t.ownRecord(id); r != nil {
		r.remove()
	}
}

// remove removes the record of an upload that is complete or gone.
func (r *record) remove() {
	if r == nil || r.file == nil {
		return
	}
	_ = os.Remove(r.path) // If it stays, it is about nothing.
	r.release()
}

// keep leaves the record for the next run.
func (r *record) keep() { r.release() }

// release lets other processes have the record.
func (r *record) release() {
	if r == nil || r.file == nil {
		return
	}
	_ = r.file.Close() // It was written before.
	r.file = nil
}
