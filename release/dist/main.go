// Command dist makes the files of a release, from the commit that is checked out:
//
//	cd release && go run ./dist -o ../dist
//
// For each platform an archive with the command, its manual pages, completions and licences, and
// a bill of materials; for Linux also packages, and one image of all its platforms; checksums.
//
// The same commit and the same Go give the same bytes, in any folder and at any time: times are
// the commit's, owners are root, the order is fixed, and nothing of the environment gets in.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	out := flag.String("o", "../dist", "`DIRECTORY` to write to, which is removed first")
	only := flag.String("platforms", "", "comma-separated `OS/ARCH` to build for (default all)")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := makeAll(ctx, "..", *out, *only); err != nil {
		fmt.Fprintf(os.Stderr, "dist: %v\n", err)
		os.Exit(1)
	}
}

// makeAll makes the release of a repository.
func makeAll(ctx context.Context, repository, out, only string) error {
	platforms, err := choose(only)
	if err != nil {
		return err
	}
	src, err := sourceOf(ctx, repository)
	if err != nil {
		return err
	}
	if out, err = emptied(out); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "dist-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	d := &dist{source: src, out: out, work: work}
	if err := d.common(ctx); err != nil {
		return err
	}
	var linux []build
	for _, p := range platforms {
		b, err := d.platform(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if p.os == "linux" {
			linux = append(linux, b)
		}
	}
	if len(linux) > 0 {
		if err := d.image(ctx, linux); err != nil {
			return fmt.Errorf("making the image: %w", err)
		}
	}
	return d.checksums()
}

// emptied returns the absolute path of a directory that is empty and new. A directory with files
// that no release has is left alone.
func emptied(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	for _, entry := range entries {
		if entry.Name() != sumsName && !strings.HasPrefix(entry.Name(), command) {
			return "", fmt.Errorf("%s has %s, which is no file of a release", dir, entry.Name())
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// A dist is a release that is being made.
type dist struct {
	source
	out, work string

	host  string // the command, for this machine
	extra []file // the files of every build: manual pages, completions, our licence
}

// A build is the command for a platform, with its linked modules.
type build struct {
	platform
	binary  string // its path
	linked  []linkedModule
	notices []byte // the licences of all that is linked
}

// platform builds the command for one platform, and packs it.
func (d *dist) platform(ctx context.Context, p platform) (build, error) {
	b := build{platform: p, binary: filepath.Join(d.work, p.name(), command+p.suffix())}
	if err := d.compile(ctx, p, b.binary); err != nil {
		return build{}, err
	}
	var err error
	if b.linked, err = d.linked(ctx, p); err != nil {
		return build{}, err
	}
	b.notices = noticesOf(b.linked)
	for _, step := range []func(build) error{d.archive, d.billOfMaterials, d.packages} {
		if err := step(b); err != nil {
			return build{}, err
		}
	}
	return b, nil
}
