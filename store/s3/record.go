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

// record is a file that notes an upload that this user has begun. It is locked during the upload, so an unlocked
// record belongs to a process that was killed, or that left the upload to be resumed. The directory is
// docker-archive/uploads in the user's directory for caches. The methods do nothing for a nil record: without such a
// directory, or without locks, uploads that were left are listed, but not aborted.
type record struct {
	Bucket, Key, Upload string
	Token               string // that the object will have, "" for a probe
	// Base and Steady are the sizes of the parts, 0 if nobody can go on with the upload.
	Base   int64
	Steady int

	file *os.File
	path string
}

// newRecord records an upload. It returns nil if that fails.
func (t *target) newRecord(id, token string, s sizes) *record {
	r := &record{Bucket: t.bucket, Key: t.key, Upload: id, Token: token, Base: s.base, Steady: s.steady}
	if err := r.write(); err != nil {
		logrus.Debugf("the upload %s is not recorded: %v", id, err)
		return nil
	}
	return r
}

// write writes the record to a file, and locks the file before it gets its name.
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

// resumable reports whether another run can go on with the upload: its parts have checksums.
func (r *record) resumable() bool { return r.Base > 0 && r.Token != "" }

// isProbe reports whether the upload is a probe's, whose object nobody misses. A change of an archive whose key is like
// that of a probe has a token, and no sizes of parts.
func (r *record) isProbe() bool { return r.Base == 0 && r.Token == "" }

// recordState says whose an upload is, as far as this user's records tell.
type recordState int

const (
	noRecord    recordState = iota // anybody's
	busyRecord                     // of a running process of this user
	ownedRecord                    // left by a process of this user
)

// ownRecord returns the locked record of an upload that an earlier run has left, and nil for all other uploads.
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

// removeRecord removes the record of an aborted upload, if there is one.
func (t *target) removeRecord(id string) {
	if r, _ := t.ownRecord(id); r != nil {
		r.remove()
	}
}

// remove removes the record of an upload that is complete or aborted.
func (r *record) remove() {
	if r == nil || r.file == nil {
		return
	}
	_ = os.Remove(r.path) // A record that stays does no harm: its upload is gone.
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
