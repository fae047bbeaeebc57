package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/dockerarchive/dockerarchive"
)

// newProgress shows on w how far saving has come: with bars on a terminal, else
// a line for each blob. The returned function ends it.
func newProgress(w io.Writer) (dockerarchive.SaveProgress, func()) {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b := &barProgress{bars: mpb.New(mpb.WithOutput(w), mpb.WithWidth(60)), blobs: map[digest.Digest]*mpb.Bar{}}
		return b, b.end
	}
	return &lineProgress{w: w, sizes: map[digest.Digest]int64{}}, func() {}
}

// lineProgress prints lines.
type lineProgress struct {
	mu    sync.Mutex
	w     io.Writer
	sizes map[digest.Digest]int64 // of what is being read
}

func (p *lineProgress) printf(format string, args ...any) {
	fmt.Fprintf(p.w, format+"\n", args...)
}

// Planned implements dockerarchive.SaveProgress.
func (p *lineProgress) Planned(blobs int, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.printf("fetching %s", planned(blobs, size))
}

func planned(blobs int, size int64) string {
	if size < 0 {
		return fmt.Sprintf("%d blobs", blobs)
	}
	return fmt.Sprintf("%d blobs, %s", blobs, units.HumanSize(float64(size)))
}

// Started implements dockerarchive.SaveProgress.
func (p *lineProgress) Started(digest.Digest, int64) {}

// Read implements dockerarchive.SaveProgress.
func (p *lineProgress) Read(blob digest.Digest, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sizes[blob] += int64(n)
}

// Retried implements dockerarchive.SaveProgress.
func (p *lineProgress) Retried(what string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.printf("%s", retried(what, err))
}

func retried(what string, err error) string {
	return fmt.Sprintf("reading %s again after: %v", what, err)
}

// Finished implements dockerarchive.SaveProgress.
func (p *lineProgress) Finished(blob digest.Digest, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.printf("fetched %s %s", short(blob), units.HumanSize(float64(p.sizes[blob])))
	}
	delete(p.sizes, blob)
}

// barProgress shows a bar for each blob that is being read, and one for all.
type barProgress struct {
	bars *mpb.Progress

	mu    sync.Mutex
	total *mpb.Bar
	blobs map[digest.Digest]*mpb.Bar
}

// Planned implements dockerarchive.SaveProgress.
func (p *barProgress) Planned(blobs int, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = p.newBar(planned(blobs, size), size, mpb.BarPriority(1<<20)) // Below the others.
}

func (p *barProgress) newBar(name string, size int64, options ...mpb.BarOption) *mpb.Bar {
	options = append(options,
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.CountersKiloByte("% .1f / % .1f"), decor.AverageSpeed(decor.SizeB1000(0), "  % .1f")))
	return p.bars.AddBar(max(size, 0), options...)
}

// Started implements dockerarchive.SaveProgress.
func (p *barProgress) Started(blob digest.Digest, size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blobs[blob] = p.newBar(short(blob), size, mpb.BarRemoveOnComplete())
}

// Read implements dockerarchive.SaveProgress.
func (p *barProgress) Read(blob digest.Digest, n int) {
	p.mu.Lock()
	bar, total := p.blobs[blob], p.total
	p.mu.Unlock()
	if bar != nil {
		bar.IncrBy(n)
	}
	if total != nil {
		total.IncrBy(n)
	}
}

// Retried implements dockerarchive.SaveProgress.
func (p *barProgress) Retried(what string, err error) {
	fmt.Fprintln(p.bars, retried(what, err)) // Above the bars.
}

// Finished implements dockerarchive.SaveProgress.
func (p *barProgress) Finished(blob digest.Digest, _ error) {
	p.mu.Lock()
	bar := p.blobs[blob]
	delete(p.blobs, blob)
	p.mu.Unlock()
	if bar != nil {
		bar.Abort(true)
	}
}

// end takes the bars off the screen.
func (p *barProgress) end() {
	p.mu.Lock()
	total := p.total
	p.mu.Unlock()
	if total != nil {
		total.Abort(true)
	}
	p.bars.Wait()
}
