package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"text/tabwriter"

	"github.com/dockerarchive/dockerarchive/internal/compression"
)

// limit is a part of the work that nothing can avoid, done for image 0 on one
// core, one layer after the other.
type limit struct {
	name  string
	title string
	plain bool // whether the bytes are those of the uncompressed layers
	work  func(context.Context, *env) error
}

var limits = []limit{
	{"sha256", "sha256, uncompressed", true, hashLimit},
	{"inflate", "inflate, to uncompressed", true, inflateLimit},
	{"write", "read and write, uncompressed", true, writeLimit},
	{"cp", "cp, uncompressed", true, copyCommandLimit},
	{"fetch", "fetch from the registry", false, fetchLimit},
}

func findLimit(name string) (limit, error) {
	for _, l := range limits {
		if l.name == name {
			return l, nil
		}
	}
	return limit{}, fmt.Errorf("there is no limit %q", name)
}

// printLimits measures what this machine can do at best.
func (r *runner) printLimits(ctx context.Context, out io.Writer) error {
	compressed, plain := r.data.sizes()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nlimit of this machine, 1 core\ttime\trate")
	for _, l := range limits {
		var ms []measurement
		for range r.runs {
			m, err := r.measure(ctx, limitChild+"/"+l.name, r.registry)
			if err != nil {
				return err
			}
			ms = append(ms, m)
		}
		n := compressed
		if l.plain {
			n = plain
		}
		seconds := medians(ms).wall.Seconds()
		fmt.Fprintf(table, "%s\t%.2f s\t%.0f MB/s\n", l.title, seconds, mb(n)/seconds)
	}
	return table.Flush()
}

// eachLayer calls f with the layers of image 0, in the form that is at path.
func eachLayer(ctx context.Context, e *env, path func(layer) string, f func(io.Reader) error) error {
	for _, i := range e.data.Images[0].Layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		file, err := os.Open(path(e.data.Layers[i]))
		if err != nil {
			return err
		}
		if err := errors.Join(f(file), file.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) packedPath(l layer) string { return e.data.blobPath(l.Digest) }

func hashLimit(ctx context.Context, e *env) error {
	return eachLayer(ctx, e, e.data.layerPath, func(r io.Reader) error {
		return through(sha256.New(), r)
	})
}

func inflateLimit(ctx context.Context, e *env) error {
	return eachLayer(ctx, e, e.packedPath, func(r io.Reader) error {
		d, err := compression.NewReader(r, compression.Gzip)
		if err != nil {
			return err
		}
		return errors.Join(through(io.Discard, d), d.Close())
	})
}

func writeLimit(ctx context.Context, e *env) error {
	out, err := os.Create(e.output)
	if err != nil {
		return err
	}
	err = eachLayer(ctx, e, e.data.layerPath, func(r io.Reader) error { return through(out, r) })
	return errors.Join(err, out.Close())
}

// through copies in pieces that fit the processor's cache, without asking the
// kernel to do it.
func through(w io.Writer, r io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 128<<10))
	return err
}

func copyCommandLimit(ctx context.Context, e *env) error {
	args := []string{"-L", "-r", e.data.plainDir(0), e.output}
	if out, err := exec.CommandContext(ctx, "cp", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}

// fetchLimit shows that the registry is fast enough not to be what is measured.
func fetchLimit(ctx context.Context, e *env) error {
	for _, i := range e.data.Images[0].Layers {
		url := fmt.Sprintf("http://%s/v2/%s/blobs/%s", e.registry, repository, e.data.Layers[i].Digest)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		if err := errors.Join(through(io.Discard, resp.Body), resp.Body.Close()); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("fetching %s: %s", url, resp.Status)
		}
	}
	return nil
}
