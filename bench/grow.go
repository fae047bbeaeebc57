package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	dockerarchive "github.com/dockerarchive/dockerarchive/podman"
	"github.com/dockerarchive/dockerarchive/podman/copying"
)

// growChild is the process that measures what it costs to add to archives.
const growChild = "grow"

// grower adds images to archives, in a process of its own. Times are those of the calls,
// without the start of a process.
type grower struct {
	*env
	out    *tabwriter.Writer
	policy *signature.PolicyContext
}

// growing are the rows of the table.
var growing = []struct {
	name string
	run  func(*grower, context.Context) error
}{
	{"grow-small", (*grower).small},
	{"grow-twentieth", (*grower).twentieth},
	{"grow-many", (*grower).many},
}

// printGrowing prints the rows that only names, all if it is empty.
func (r *runner) printGrowing(ctx context.Context, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-child", growChild, "-data", r.data.dir, "-output", r.output, "-cases", r.only, "-cpuprofile", r.cpuProfile)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	return cmd.Run()
}

func isGrowing(name string) bool { return strings.HasPrefix(name, growChild+"-") }

// grow is the work of the process.
func grow(ctx context.Context, e *env, only string) error {
	policy, err := acceptAnything()
	if err != nil {
		return err
	}
	g := &grower{env: e, policy: policy, out: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(g.out, "\nadding to an archive\ttime\twritten\tnew")
	for _, row := range growing {
		if only != "" && !slices.Contains(strings.Split(only, ","), row.name) {
			continue
		}
		if err := row.run(g, ctx); err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
		if err := g.out.Flush(); err != nil {
			return err
		}
	}
	return policy.Destroy()
}

const growRuns = 5

// cost is what something took.
type cost struct {
	seconds float64
	written int64 // to file systems, in bytes
}

// measured returns what a call costs once nothing else is left to write.
func (g *grower) measured(call func() error) (cost, error) {
	before, err := readUsage()
	if err == nil {
		err = settle(g.scratch)
	}
	if err != nil {
		return cost{}, err
	}
	start := time.Now()
	if err := call(); err != nil {
		return cost{}, err
	}
	c := cost{seconds: time.Since(start).Seconds()}
	after, err := readUsage()
	c.written = after.Written - before.Written
	return c, err
}

// repeated measures a call some times, each after prepare, and prints the median.
func (g *grower) repeated(title string, runs int, added int64, prepare, call func() error) error {
	var all []cost
	for range runs {
		if err := prepare(); err != nil {
			return err
		}
		c, err := g.measured(call)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b cost) int { return int((a.seconds - b.seconds) * 1e9) })
	g.row(title, all[len(all)/2], added)
	return nil
}

func (g *grower) row(title string, c cost, added int64) {
	fmt.Fprintf(os.Stderr, "%s: %.3f s, %.3f MB\n", title, c.seconds, mb(c.written))
	fmt.Fprintf(g.out, "%s\t%.3f s\t%.3f MB\t%.3f MB\n", title, c.seconds, mb(c.written), mb(added))
}

// imagesOf names images of a layout.
func (g *grower) imagesOf(images *grown, from, to int) ([]copying.SaveImage, error) {
	var all []copying.SaveImage
	for i := from; i < to; i++ {
		src, err := layout.NewReference(images.dir, ociName(i))
		if err != nil {
			return nil, err
		}
		name, err := imageName(i)
		if err != nil {
			return nil, err
		}
		all = append(all, copying.SaveImage{Source: src, Name: name})
	}
	return all, nil
}

func (g *grower) options(kind types.ImageTransport, noSync bool) *copying.SaveOptions {
	return &copying.SaveOptions{Transport: kind, SourceCtx: g.system(), DestinationCtx: g.system(), NoSync: noSync}
}

func (g *grower) save(ctx context.Context, kind types.ImageTransport, images []copying.SaveImage) error {
	_, err := copying.Save(ctx, g.policy, g.output, images, g.options(kind, true))
	return err
}

func (g *grower) add(ctx context.Context, images []copying.SaveImage, noSync bool) error {
	_, err := copying.Add(ctx, g.policy, g.output, images, g.options(nil, noSync))
	return err
}

// removeOutput is for what is made anew.
func (g *grower) removeOutput() error { return os.RemoveAll(g.output) }

// growKinds are the layouts, by what rows call them.
var growKinds = []struct {
	name string
	kind types.ImageTransport
}{{"docker layout", dockerarchive.Transport}, {"OCI layout", dockerarchive.ImageTransport}}

// small adds an image of 5 MB to an archive of 1.2 GB, and shows what it takes to write
// that image alone.
func (g *grower) small(ctx context.Context) error {
	layoutDir, err := newGrown(filepath.Join(g.scratch, "small"))
	if err == nil {
		err = errors.Join(layoutDir.add(g.data, nil, 5e6), layoutDir.close())
	}
	if err != nil {
		return err
	}
	images, err := g.imagesOf(layoutDir, 0, 1)
	if err != nil {
		return err
	}
	large, err := plainSource(g.env, 0)
	if err != nil {
		return err
	}
	name, err := imageName(1)
	if err != nil {
		return err
	}
	for _, k := range growKinds {
		if err := g.removeOutput(); err != nil {
			return err
		}
		if err := g.save(ctx, k.kind, []copying.SaveImage{{Source: large, Name: name}}); err != nil {
			return err
		}
		restore, err := keepEnd(g.output)
		if err != nil {
			return err
		}
		for _, noSync := range []bool{false, true} {
			add := func() error { return g.add(ctx, images, noSync) }
			if err := g.repeated("5 MB to 1.2 GB, "+k.name+growSync(noSync), growRuns, layoutDir.added[0], restore, add); err != nil {
				return err
			}
		}
		if err := g.repeated("the same to a new archive, "+k.name+growSync(true), growRuns, layoutDir.added[0], g.removeOutput, func() error { return g.save(ctx, k.kind, images) }); err != nil {
			return err
		}
	}
	return g.removeOutput()
}

func growSync(noSync bool) string {
	if noSync {
		return ", --no-sync"
	}
	return ""
}

// keepEnd returns what makes an archive what it is now, whatever is added to it.
func keepEnd(path string) (restore func() error, err error) {
	const enough = 1 << 20 // for any table of contents here
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(info.Size()-enough, 0)
	end := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(end, from); err != nil {
		return nil, err
	}
	return func() error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(end, from)
		return errors.Join(err, f.Truncate(info.Size()), f.Close())
	}, nil
}

// twentieth adds the twentieth image that shares five of six layers with the others, and
// writes all twenty as containers/image has to. The shared layers are small, because it
// unpacks all of them twenty times.
func (g *grower) twentieth(ctx context.Context) error {
	const count, sharedSize = 20, 20e6
	images, err := newGrown(filepath.Join(g.scratch, "twentieth"))
	if err != nil {
		return err
	}
	data := &dataset{dir: filepath.Join(g.scratch, "shared")}
	if err := data.generateLayers(ctx, []int64{sharedSize, sharedSize, sharedSize, sharedSize, sharedSize}); err != nil {
		return err
	}
	for range count {
		if err := images.add(data, []int{0, 1, 2, 3, 4}, 5e6); err != nil {
			return err
		}
	}
	if err := images.close(); err != nil {
		return err
	}
	all, err := g.imagesOf(images, 0, count)
	if err != nil {
		return err
	}
	for _, k := range growKinds {
		if err := errors.Join(g.removeOutput(), g.save(ctx, k.kind, all[:count-1])); err != nil {
			return err
		}
		restore, err := keepEnd(g.output)
		if err != nil {
			return err
		}
		for _, noSync := range []bool{false, true} {
			add := func() error { return g.add(ctx, all[count-1:], noSync) }
			if err := g.repeated("the 20th image, "+k.name+growSync(noSync), growRuns, images.added[count-1], restore, add); err != nil {
				return err
			}
		}
	}
	var sources []types.ImageReference
	for _, img := range all {
		sources = append(sources, img.Source)
	}
	theirs := func() error {
		w, err := archive.NewWriter(g.system(), g.output)
		if err != nil {
			return err
		}
		return errors.Join(g.copyAll(ctx, w, sources), w.Close())
	}
	err = g.repeated("all 20 again, containers/image", 1, images.added[count-1], g.removeOutput, theirs)
	return errors.Join(err, g.removeOutput())
}

// many adds 500 images, each of them 10 KB, one after the other.
func (g *grower) many(ctx context.Context) error {
	const count, ends = 500, 50
	images, err := newGrown(filepath.Join(g.scratch, "many"))
	if err != nil {
		return err
	}
	for range count + 1 {
		if err := images.add(g.data, nil, 10e3); err != nil {
			return err
		}
	}
	if err := images.close(); err != nil {
		return err
	}
	all, err := g.imagesOf(images, 0, count+1)
	if err != nil {
		return err
	}
	for _, k := range growKinds {
		for _, noSync := range []bool{false, true} {
			if err := errors.Join(g.removeOutput(), g.save(ctx, k.kind, all[:1])); err != nil {
				return err
			}
			var costs []cost
			for i := range count {
				before, err := readUsage()
				if err != nil {
					return err
				}
				start := time.Now()
				if err := g.add(ctx, all[i+1:i+2], noSync); err != nil {
					return err
				}
				c := cost{seconds: time.Since(start).Seconds()}
				after, err := readUsage()
				if err != nil {
					return err
				}
				c.written = after.Written - before.Written
				costs = append(costs, c)
			}
			title := "10 KB, the %s of 500 adds, " + k.name + growSync(noSync)
			g.row(fmt.Sprintf(title, "first 50"), mean(costs[:ends]), images.added[1])
			g.row(fmt.Sprintf(title, "last 50"), mean(costs[count-ends:]), images.added[count])
		}
	}
	return g.removeOutput()
}

func mean(costs []cost) (m cost) {
	for _, c := range costs {
		m.seconds += c.seconds / float64(len(costs))
		m.written += c.written / int64(len(costs))
	}
	return m
}
