//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// runner runs both sides of cases in turn, in an environment that it makes.
type runner struct {
	times   map[string]pageTimes // that were measured, by the names of cases
	runs    int
	data    string
	scratch string         // all that is temporary, on the same file system as the data
	sockets string         // a directory for sockets, with a short path
	front   string         // the address where clients find the registries of cases
	passing sync.WaitGroup // of the connections between registries and clients
	moved   atomic.Int64   // bytes that passed, and those to a Docker daemon
	images  map[string][]blob
}

// measurement is the cost of a run.
type measurement struct {
	wall    time.Duration
	cpu     time.Duration
	peak    int64 // of the largest process, in bytes
	written int64 // to file systems, in bytes, also what is deleted before it gets to the disk
	moved   int64 // bytes, of blobs from or to the registry, or of all to the Docker daemon
	size    int64 // of the output
	output  digest.Digest
	gaveUp  bool // it failed, as the case allows
}

func (r *runner) start(ctx context.Context) (err error) {
	if err := os.MkdirAll(r.data, 0o755); err != nil {
		return err
	}
	if r.scratch, err = os.MkdirTemp(r.data, "run-"); err != nil {
		return err
	}
	if r.sockets, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	if r.front, err = freeAddress(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	own, err := filepath.Abs("../bin")
	if err != nil {
		return err
	}
	clients, err := filepath.Abs("../interop/.clients")
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"PATH": strings.Join([]string{own, filepath.Dir(self), clients, os.Getenv("PATH")}, ":"),
		"DATA": r.data, "TMPDIR": r.scratch, "OUT": filepath.Join(r.scratch, "out"), "SOCKETS": r.sockets,
		"REGCTL_CONFIG": filepath.Join(r.scratch, "regctl.json"), "CONTAINERS_STORAGE_CONF": filepath.Join(r.data, "storage.conf"),
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return r.prepare(ctx)
}

func (r *runner) stop() error {
	return errors.Join(os.RemoveAll(r.scratch), os.RemoveAll(r.sockets))
}

// shell returns a process that runs lines of shell, and a buffer for its output.
func (r *runner) shell(ctx context.Context, lines string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, "sh", "-euc", lines)
	cmd.Dir = r.data
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	return cmd, &said
}

// compare runs both sides of a case in turn and adds a row to the table.
func (r *runner) compare(ctx context.Context, c benchCase, table io.Writer) error {
	var ours, theirs, oursCounted, theirsCounted []measurement
	for range r.runs {
		if err := r.runBoth(ctx, c, c.direct(), &ours, &theirs); err != nil {
			return err
		}
	}
	mine, others := medians(ours), medians(theirs)
	if c.direct() { // Counting takes time of the processor, so these runs are not timed.
		if err := r.runBoth(ctx, c, false, &oursCounted, &theirsCounted); err != nil {
			return err
		}
		mine.moved, others.moved = medians(oursCounted).moved, medians(theirsCounted).moved
		ours, theirs = append(ours, oursCounted...), append(theirs, theirsCounted...)
	}
	wrote := func(ms []measurement) (all []digest.Digest) {
		for _, m := range ms {
			all = append(all, m.output)
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	if len(wrote(ours)) > 1 || !c.varies && len(wrote(theirs)) > 1 || c.same && ours[0].output != theirs[0].output {
		return errors.New("the runs did not all write the same")
	}
	if slices.ContainsFunc(theirs, func(m measurement) bool { return m.gaveUp }) {
		others = measurement{gaveUp: true}
	}
	printRow(table, c, mine, others, r.size(c.distinct), r.moveGoal(c))
	if c.theirs.run != "" {
		r.times[c.name] = pageTimes{mine.wall.Seconds(), others.wall.Seconds()}
	}
	return nil
}

// runBoth measures each side of a case once, with the registry reached straight or through its
// network.
func (r *runner) runBoth(ctx context.Context, c benchCase, straight bool, ours, theirs *[]measurement) error {
	for _, s := range []struct {
		name string
		side side
		list *[]measurement
	}{{"ours", c.ours, ours}, {"theirs", c.theirs, theirs}} {
		if s.side.run == "" {
			continue
		}
		m, err := r.measure(ctx, c, s.side, straight)
		if err != nil && c.givesUp && s.name == "theirs" && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "%s/theirs gives up: %v\n", c.name, err)
			m, err = measurement{gaveUp: true}, nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		*s.list = append(*s.list, m)
		fmt.Fprintf(os.Stderr, "%s/%s: %.2f s\n", c.name, s.name, m.wall.Seconds())
	}
	return nil
}

// measure runs a side once.
func (r *runner) measure(ctx context.Context, c benchCase, s side, straight bool) (m measurement, err error) {
	defer func() { err = errors.Join(err, r.clear()) }()
	var before int64
	defer func() { // When all servers have ended: some print their counts only then.
		moved, movedErr := r.movedNow()
		m.moved, err = moved-before, errors.Join(err, movedErr)
	}()
	if c.registry != nil {
		stop, startErr := r.startRegistry(ctx, c, straight)
		if startErr != nil {
			return m, startErr
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	if s.server != "" {
		stop, startErr := r.startServer(ctx, c.docker, s.server, "")
		if startErr != nil {
			return m, startErr
		}
		defer func() {
			used, stopErr := stop()
			if err = errors.Join(err, stopErr); !c.docker {
				m.cpu, m.peak = m.cpu+used.cpu, max(m.peak, used.peak)
			}
		}()
	}
	if cmd, said := r.shell(ctx, s.prepare); s.prepare != "" {
		if err := cmd.Run(); err != nil {
			return m, fmt.Errorf("preparing: %w: %s", err, said)
		}
	}
	if err := settle(r.scratch); err != nil {
		return m, err
	}
	if before, err = r.movedNow(); err != nil {
		return m, err
	}
	cmd, said := r.shell(ctx, s.run)
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return m, err
	}
	// The kernel forgets how much it has written when it is waited for.
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	wall := time.Since(start)
	written, ioErr := writtenBy(cmd.Process.Pid)
	if err := errors.Join(cmd.Wait(), err, ioErr); err != nil {
		return m, fmt.Errorf("%w: %s", err, said)
	}
	m = used(cmd)
	m.wall, m.written = wall, written
	m.output, m.size, err = digestTree(os.Getenv("OUT"))
	return m, err
}

// clear removes the leftovers of a run.
func (r *runner) clear() error {
	entries, err := os.ReadDir(r.scratch)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(r.scratch, entry.Name())))
	}
	return err
}

// used returns the usage of a process that has ended, and of its children.
func used(cmd *exec.Cmd) measurement {
	m := measurement{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.peak = int64(usage.Maxrss) << 10
	}
	return m
}

// writtenBy returns the bytes that a process has given to file systems, with those of its
// children that have ended.
func writtenBy(pid int) (n int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "\nwrite_bytes:")
	_, err = fmt.Sscan(rest, &n)
	return n, err
}

// settle waits until the file system of a directory has nothing left to write, so that no
// run pays for earlier writes.
func settle(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// digestTree returns a digest over the names and contents of files below path, or of the
// file there, and their size. There may be nothing.
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
		fmt.Fprintf(hash.Hash(), "%q\n", strings.TrimPrefix(name, path))
		n, err := io.Copy(hash.Hash(), f)
		size += n
		return err
	})
	return hash.Digest(), size, err
}

// medians returns the median of each quantity, nothing of no runs.
func medians(ms []measurement) (m measurement) {
	if len(ms) == 0 {
		return m
	}
	m.size = ms[0].size
	m.wall = median(ms, func(m measurement) time.Duration { return m.wall })
	m.cpu = median(ms, func(m measurement) time.Duration { return m.cpu })
	m.peak = median(ms, func(m measurement) int64 { return m.peak })
	m.written = median(ms, func(m measurement) int64 { return m.written })
	m.moved = median(ms, func(m measurement) int64 { return m.moved })
	return m
}

func median[T cmp.Ordered](ms []measurement, of func(measurement) T) T {
	values := make([]T, len(ms))
	for i, m := range ms {
		values[i] = of(m)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// printRow prints measurements; every pair is ours / theirs. moveGoal is that of moved ÷ distinct.
func printRow(table io.Writer, c benchCase, ours, theirs measurement, distinct int64, moveGoal float64) {
	ratios := func(a, b, of int64) string {
		if of == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f / %.2f", float64(a)/float64(of), float64(b)/float64(of))
	}
	size := ours.size
	if size < 1e6 { // Smaller than other output of a process.
		size = 0
	}
	other, ratio, goal, most := "-", "-", "-", "-"
	switch {
	case theirs.gaveUp:
		other = "gives up"
	case theirs.wall > 0:
		got := ours.wall.Seconds() / theirs.wall.Seconds()
		other, ratio, goal = fmt.Sprintf("%.2f s", theirs.wall.Seconds()), fmt.Sprintf("%.2f", got), against(c.goal, got)
	}
	if distinct > 0 {
		most = against(moveGoal, float64(ours.moved)/float64(distinct))
	}
	fmt.Fprintf(table, "%s\t%.2f s\t%s\t%s\t%s\t%.1f / %.1f s\t%.0f / %.0f MB\t%s\t%s\t%s\n", c.title, ours.wall.Seconds(), other, ratio, goal,
		ours.cpu.Seconds(), theirs.cpu.Seconds(), mb(ours.peak), mb(theirs.peak), ratios(ours.written, theirs.written, size), ratios(ours.moved, theirs.moved, distinct), most)
}

// against compares a measured value with the largest that is good enough, 0 for none.
func against(goal, got float64) string {
	switch {
	case goal == 0:
		return "-"
	case got <= goal:
		return fmt.Sprintf("%.2f", goal)
	}
	return fmt.Sprintf("%.2f missed", goal)
}

// moveGoal is how much of the distinct bytes may move. A cache that knows no slices may fetch a whole
// blob for the first range that it is asked for, and ranges are for slow lines.
func (r *runner) moveGoal(c benchCase) float64 {
	const goal = 1.02
	switch {
	case c.moves > 0 || c.registry == nil && !c.docker || c.network == failing:
		return c.moves
	case c.registry == cache && c.network == slow:
		largest := slices.MaxFunc(r.images["v0"], func(a, b blob) int { return cmp.Compare(a.Size, b.Size) })
		return goal + float64(largest.Size)/float64(r.size(c.distinct))
	}
	return goal
}

func mb(n int64) float64 { return float64(n) / 1e6 }
