package blobcache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/local"
)

const (
	partialSuffix = ".partial"
	lockName      = "lock"
	// tagName and tag tell backup programs to skip the directory (bford.info/cachedir).
	tagName = "CACHEDIR.TAG"
	tag     = "Signature: 8a477f597d28d172789f06886806bc55\n# Blobs that docker-archive serves. They are fetched again if they are missing.\n"
)

// lockDir creates the directory, and locks it until the returned file is closed.
func lockDir(dir string) (*os.File, error) {
	if !local.HasLocks {
		return nil, errors.New("caches are not supported on this system, which has no locks of files")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	locked, err := local.TryLock(f)
	if err == nil && !locked {
		err = ErrInUse
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, tagName), []byte(tag), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// scan finds the blobs of earlier runs, and removes incomplete ones. Other files stay.
func (c *Cache) scan() error {
	files, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var all []*entry
	for _, file := range files {
		name, partial := strings.CutSuffix(file.Name(), partialSuffix)
		d, ok := digestOf(name)
		if !ok || !file.Type().IsRegular() {
			continue
		}
		if partial {
			if err := os.Remove(filepath.Join(c.dir, file.Name())); err != nil {
				return err
			}
			continue
		}
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, &entry{digest: d, size: info.Size(), state: found, touched: info.ModTime()})
	}
	slices.SortStableFunc(all, func(a, b *entry) int { return a.touched.Compare(b.touched) })
	for _, e := range all {
		c.entries[e.digest] = e
		c.stats.Bytes += e.size
		e.idle = c.idle.PushBack(e)
		e.touched = time.Time{}
	}
	c.makeRoom(0)
	return nil
}

// digestOf returns the digest in a file's name.
func digestOf(name string) (digest.Digest, bool) {
	algorithm, encoded, _ := strings.Cut(name, "-")
	d, err := digest.Parse(algorithm + ":" + encoded)
	return d, err == nil
}
