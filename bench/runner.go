package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
)

// runner starts the processes that are measured.
type runner struct {
	*options
	data   *dataset
	server *registryProcess
	sent   atomic.Int64 // to what a case has started
}

// measurement is what a run took.
type measurement struct {
	usage
	wall   time.Duration // of the whole process
	cpu    time.Duration
	moved  int64 // bytes, of blobs from or to the registry, or of all to what the case has started
	size   int64 // of the output
	output digest.Digest
}

// row is the medians of a case.
type row struct {
	benchCase
	skipped      error // why it was not run
	distinct     int64 // bytes that have to be moved
	ours, theirs measurement
}

// compare runs both sides of a case in turn.
func (r *runner) compare(ctx context.Context, c benchCase) (_ row, err error) {
	e := &env{data: r.data, output: r.output, scratch: filepath.Dir(r.output), registry: r.registry, sent: &r.sent}
	if c.input != nil {
		if err := prepareInput(ctx, e, *c.input); err != nil {
			return row{}, err
		}
	}
	if c.start != nil {
		stop, startErr := c.start(ctx, e)
		if startErr != nil {
			return row{}, startErr
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	var ours, theirs []measurement
	for range r.runs {
		for _, side := range []struct {
			name string
			list *[]measurement
		}{{oursSide, &ours}, {theirsSide, &theirs}} {
			m, err := r.measure(ctx, c.name+"/"+side.name, r.server.addresses[c.network])
			if err != nil {
				return row{}, err
			}
			if c.after != nil {
				if err := c.after(ctx, e); err != nil {
					return row{}, err
				}
			}
			*side.list = append(*side.list, m)
			fmt.Fprintf(os.Stderr, "%s/%s: %.2f s\n", c.name, side.name, m.wall.Seconds())
		}
	}
	expected := theirs[0].output
	if !c.differ {
		expected = ours[0].output
	}
	if !writeAll(ours, ours[0].output) || !c.varies && !writeAll(theirs, expected) {
		return row{}, errors.New("the runs did not all write the same")
	}
	result := row{benchCase: c, ours: medians(ours), theirs: medians(theirs)}
	if c.images > 0 {
		result.distinct = r.data.distinct(c.images)
	} else {
		result.distinct, err = e.distinct(ctx, c.moved, c.there)
	}
	return result, err
}

func writeAll(ms []measurement, output digest.Digest) bool {
	return !slices.ContainsFunc(ms, func(m measurement) bool { return m.output != output })
}

// measure runs this program as the given child.
func (r *runner) measure(ctx context.Context, child, registry string) (measurement, error) {
	self, err := os.Executable()
	if err != nil {
		return measurement{}, err
	}
	movedBefore, err := r.moved()
	if err == nil {
		err = settle(r.out)
	}
	if err != nil {
		return measurement{}, err
	}
	cmd := exec.CommandContext(ctx, self, "-child", child, "-data", r.data.dir, "-output", r.output,
		"-registry", registry, "-cpuprofile", r.cpuProfile)
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return measurement{}, fmt.Errorf("running %s: %w", child, err)
	}
	m := measurement{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if err := json.Unmarshal(stdout.Bytes(), &m.usage); err != nil {
		return measurement{}, fmt.Errorf("reading what %s used: %w", child, err)
	}
	moved, err := r.moved()
	if err != nil {
		return measurement{}, err
	}
	m.moved = moved - movedBefore
	if m.output, m.size, err = digestTree(r.output); err != nil {
		return measurement{}, err
	}
	return m, os.RemoveAll(r.output)
}

// moved returns the bytes that have been moved so far.
func (r *runner) moved() (int64, error) {
	n, err := r.server.moved()
	return n + r.sent.Load(), err
}

// digestTree returns a digest over the names and contents of files below path,
// or of the file there, and their size. There may be nothing.
func digestTree(path string) (digest.Digest, int64, error) {
	hash := digest.Canonical.Digester()
	var size int64
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if name == path && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		relative, err := filepath.Rel(path, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(hash.Hash(), "%q\n", relative)
		n, err := io.Copy(hash.Hash(), f)
		size += n
		return err
	})
	return hash.Digest(), size, err
}

// medians returns the median of each quantity.
func medians(ms []measurement) measurement {
	return measurement{
		usage: usage{
			Peak:    median(ms, func(m measurement) int64 { return m.Peak }),
			Written: median(ms, func(m measurement) int64 { return m.Written }),
		},
		wall:   median(ms, func(m measurement) time.Duration { return m.wall }),
		cpu:    median(ms, func(m measurement) time.Duration { return m.cpu }),
		moved:  median(ms, func(m measurement) int64 { return m.moved }),
		size:   ms[0].size,
		output: ms[0].output,
	}
}

func median[T cmp.Ordered](ms []measurement, of func(measurement) T) T {
	values := make([]T, len(ms))
	for i, m := range ms {
		values[i] = of(m)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
