package main

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/dockerarchive/dockerarchive/internal/inflate"
)

// turn is how long a decoder decodes the same stream again and again.
const turn = 100 * time.Millisecond

// row is what was measured of an input.
type row struct {
	name                 string
	size                 int64 // decompressed
	ours, klauspost, std time.Duration
	process, igzip       time.Duration // whole processes, 0 if not measured
}

func (r *row) add(s row) {
	r.size += s.size
	r.ours += s.ours
	r.klauspost += s.klauspost
	r.std += s.std
	r.process += s.process
	r.igzip += s.igzip
}

func (r *row) print(w io.Writer) {
	process := "-"
	if r.igzip > 0 {
		process = fmt.Sprintf("%.2f", r.process.Seconds()/r.igzip.Seconds())
	}
	fmt.Fprintf(w, "%s\t%.4g MB\t%.0f MB/s\t%.2f\t%.2f\t%s\n", r.name, float64(r.size)/1e6, float64(r.size)/1e6/r.ours.Seconds(),
		r.klauspost.Seconds()/r.ours.Seconds(), r.std.Seconds()/r.ours.Seconds(), process)
}

// measure lets the decoders take turns. Each is given its best: its buffers are
// used again, and it writes by itself where it can.
func measure(in input, turns int) (row, error) {
	r := row{name: in.name}
	var klauspost gzip.Reader
	var std stdgzip.Reader
	decoders := []struct {
		result *time.Duration
		decode func(io.Reader) (int64, error)
	}{
		{&r.ours, func(src io.Reader) (int64, error) {
			z, err := inflate.NewReader(src)
			if err != nil {
				return 0, err
			}
			n, err := z.WriteTo(io.Discard)
			return n, errors.Join(err, z.Close())
		}},
		{&r.klauspost, func(src io.Reader) (int64, error) {
			if err := klauspost.Reset(src); err != nil {
				return 0, err
			}
			return klauspost.WriteTo(io.Discard)
		}},
		{&r.std, func(src io.Reader) (int64, error) {
			if err := std.Reset(src); err != nil {
				return 0, err
			}
			return io.Copy(io.Discard, &std)
		}},
	}
	times := make([][]time.Duration, len(decoders))
	for range turns {
		for i, d := range decoders {
			start, n := time.Now(), 0
			for ; n == 0 || time.Since(start) < turn; n++ {
				size, err := d.decode(bytes.NewReader(in.data))
				if err != nil {
					return r, err
				}
				if r.size == 0 {
					r.size = size
				}
				if size != r.size {
					return r, fmt.Errorf("decoders differ: %d and %d bytes", size, r.size)
				}
			}
			times[i] = append(times[i], time.Since(start)/time.Duration(n))
		}
	}
	for i, d := range decoders {
		*d.result = median(times[i])
	}
	return r, nil
}

// measureProcess compares this program, decompressing a file, with igzip.
func measureProcess(r *row, path, igzip string, turns int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var ours, theirs []time.Duration
	for range turns {
		for _, side := range []struct {
			times *[]time.Duration
			cmd   *exec.Cmd
		}{
			{&ours, exec.Command(self, "-decompress", path)},
			{&theirs, exec.Command(igzip, "-dc", path)},
		} {
			// Both write to the null device, which is what no Stdout means.
			side.cmd.Stderr = os.Stderr
			start := time.Now()
			if err := side.cmd.Run(); err != nil {
				return fmt.Errorf("running %s: %w", side.cmd, err)
			}
			*side.times = append(*side.times, time.Since(start))
		}
	}
	r.process, r.igzip = median(ours), median(theirs)
	return nil
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
