package main

import (
	"fmt"
	"io"
	"sync"

	"github.com/containers/image/v5/transports"
	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/dockerarchive/dockerarchive/copying"
	"github.com/dockerarchive/dockerarchive/internal/printable"
)

// newProgress shows on w how far saving has come: with bars on a terminal, else
// a line for each blob. The returned function ends it.
func newProgress(w io.Writer) (func(copying.Event), func()) {
	if isTerminal(w) {
		b := &barProgress{bars: mpb.New(mpb.WithOutput(w), mpb.WithWidth(60)), blobs: map[digest.Digest]*mpb.Bar{}}
		before := logrus.StandardLogger().Out
		logrus.SetOutput(b.bars) // What libraries log stands above the bars.
		return b.show, func() {
			b.end()
			logrus.SetOutput(before)
		}
	}
	l := &lineProgress{w: w, sizes: map[digest.Digest]int64{}}
	return l.show, func() {}
}

// lineProgress prints lines.
type lineProgress struct {
	mu    sync.Mutex
	w     io.Writer
	sizes map[digest.Digest]int64 // of what is being read
}

func (p *lineProgress) show(e copying.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case copying.Planned:
		fmt.Fprintln(p.w, "fetching", planned(e))
	case copying.Read:
		p.sizes[e.Blob] += int64(e.Bytes)
	case copying.Retried:
		fmt.Fprintln(p.w, retried(e))
	case copying.Finished:
		if e.Err == nil {
			fmt.Fprintf(p.w, "fetched %s %s\n", short(e.Blob), units.HumanSize(float64(p.sizes[e.Blob])))
		}
		delete(p.sizes, e.Blob)
	}
}

func planned(e copying.Event) string {
	if e.Size < 0 {
		return fmt.Sprintf("%d blobs", e.Blobs)
	}
	return fmt.Sprintf("%d blobs, %s", e.Blobs, units.HumanSize(float64(e.Size)))
}

func retried(e copying.Event) string {
	what := e.Blob.String()
	if e.Image != nil {
		what = transports.ImageName(e.Image)
	}
	return printable.String(fmt.Sprintf("reading %s again after: %v", what, e.Err))
}

// barProgress shows a bar for each blob that is being read, and one for all.
type barProgress struct {
	bars *mpb.Progress

	mu    sync.Mutex
	total *mpb.Bar
	blobs map[digest.Digest]*mpb.Bar
}

func (p *barProgress) show(e copying.Event) {
	if e.Kind == copying.Retried {
		fmt.Fprintln(p.bars, retried(e)) // Above the bars.
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case copying.Planned:
		p.total = p.newBar(planned(e), e.Size, mpb.BarPriority(1<<20)) // Below the others.
	case copying.Started:
		p.blobs[e.Blob] = p.newBar(short(e.Blob), e.Size, mpb.BarRemoveOnComplete())
	case copying.Read:
		if bar := p.blobs[e.Blob]; bar != nil {
			bar.IncrBy(e.Bytes)
		}
		if p.total != nil {
			p.total.IncrBy(e.Bytes)
		}
	case copying.Finished:
		if bar := p.blobs[e.Blob]; bar != nil {
			delete(p.blobs, e.Blob)
			bar.Abort(true)
		}
	}
}

func (p *barProgress) newBar(name string, size int64, options ...mpb.BarOption) *mpb.Bar {
	options = append(options,
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.CountersKiloByte("% .1f / % .1f"), decor.AverageSpeed(decor.SizeB1000(0), "  % .1f")))
	return p.bars.AddBar(max(size, 0), options...)
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
