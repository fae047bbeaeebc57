//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	stdgzip "compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

func init() { helpers["upgrade"] = upgradeLayer }

// compareImage prints the size of the delta that the command makes of an upgraded image, from the
// archive of the old one. It also prints how long it takes to make the delta, and to save the whole
// image from it.
func (r *runner) compareImage(ctx context.Context, data string) error {
	if err := os.MkdirAll(r.data, 0o755); err != nil {
		return err
	}
	if err := os.Setenv("LAYERS", filepath.Join(data, "layers")); err != nil {
		return err
	}
	old := filepath.Join(data, "packed.tar")
	if err := os.Setenv("OLD", old); err != nil {
		return err
	}
	if _, _, err := r.line(ctx, `test -e whole.tar || {
		for i in 0 1 2 3 4 5; do bench upgrade $LAYERS/$i.tar $i.tar.gz; done
		docker-archive make -q $(for i in 0 1 2 3 4 5; do echo --layer $i.tar.gz; done) --set-platform linux/amd64 -t example.com/app:v0 -o new.tar
		docker-archive save -q -o whole.new image-archive:new.tar
		rm new.tar [0-5].tar.gz; mv whole.new whole.tar; }`); err != nil {
		return fmt.Errorf("making the upgraded image: %w", err)
	}
	making, _, err := r.line(ctx, "rm -f delta.tar; docker-archive save -q --delta $OLD -o delta.tar image-archive:whole.tar")
	if err != nil {
		return err
	}
	applying, _, err := r.line(ctx, "rm -f out.tar; docker-archive save -q --base $OLD -o out.tar image-archive:delta.tar")
	if err != nil {
		return err
	}
	if _, _, err := r.line(ctx, "cmp whole.tar out.tar; rm out.tar"); err != nil {
		return err
	}
	whole, err := os.Stat(filepath.Join(r.data, "whole.tar"))
	if err != nil {
		return err
	}
	ours, err := os.Stat(filepath.Join(r.data, "delta.tar"))
	if err != nil {
		return err
	}
	fmt.Printf("image of 6 layers, upgraded: %.1f MB instead of %.1f MB (%.1f %%); save --delta %.0f s (%.0f s of CPU, %.0f MB), save --base %.0f s (%.0f s of CPU, %.0f MB)\n",
		mb(ours.Size()), mb(whole.Size()), 100*float64(ours.Size())/float64(whole.Size()),
		making.wall.Seconds(), making.cpu.Seconds(), mb(making.peak), applying.wall.Seconds(), applying.cpu.Seconds(), mb(applying.peak))
	return nil
}

// upgradeLayer writes the layer OLD, a tar, to NEW as it may be after an upgrade, compressed as by
// docker. Every twentieth file is of another version. A third of these have new text in the
// middle, like sources. In the others two bytes of every 512 differ, like addresses in
// programs.
func upgradeLayer(_ context.Context, args []string) error {
	in, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(args[1])
	if err != nil {
		return err
	}
	z := stdgzip.NewWriter(out)
	err = upgrade(tar.NewReader(in), tar.NewWriter(z))
	return errors.Join(err, z.Close(), out.Close())
}

func upgrade(in *tar.Reader, out *tar.Writer) error {
	random := rand.New(rand.NewPCG(1, 2))
	for n := 0; ; n++ {
		h, err := in.Next()
		if err == io.EOF {
			return out.Close()
		} else if err != nil {
			return err
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		switch {
		case n%60 == 0:
			half := len(content) / 2
			added := fmt.Appendf(nil, "\nchanged in version %x\n", random.Uint64())
			content = bytes.Join([][]byte{content[:half], content[half:]}, added)
		case n%20 == 0:
			for i := 64; i+4 <= len(content); i += 512 {
				content[i] += byte(random.Uint32())
				content[i+1]++
			}
		}
		h.Size = int64(len(content))
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := out.Write(content); err != nil {
			return err
		}
	}
}
