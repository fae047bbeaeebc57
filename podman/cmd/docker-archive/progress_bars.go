package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/progress"
)

// wide is the number of columns from which a terminal has room for names beside the
// line for all.
const wide = 90

// barProgress shows a bar for each blob that is being read, and one for all.
type barProgress struct {
	w     io.Writer
	words words
	bars  *mpb.Progress

	mu    sync.Mutex
	all   *measuredBar // once it is planned
	blobs map[digest.Digest]*measuredBar
}

// measuredBar is a bar with the meter for its line.
type measuredBar struct {
	*mpb.Bar
	meter *meter
}

func newBars(w io.Writer, words words) (func(progress.Event), func()) {
	p := &barProgress{w: w, words: words, bars: mpb.New(mpb.WithOutput(w), mpb.WithWidth(60)), blobs: map[digest.Digest]*measuredBar{}}
	before := logrus.StandardLogger().Out
	logrus.SetOutput(p.bars) // Logs of libraries go above the bars.
	return p.show, func() {
		p.end()
		logrus.SetOutput(before)
	}
}

func (p *barProgress) show(e progress.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case progress.Retried: // Above the bars, as Waiting.
		var m *meter
		if blob := p.blobs[e.Blob]; blob != nil {
			m = blob.meter
		}
		fmt.Fprintln(p.bars, printable.String(p.words.retried(e, m)))
	case progress.Waiting:
		fmt.Fprintln(p.bars, waiting(e))
	case progress.Planned:
		if p.all != nil {
			p.all.Abort(true)
		}
		p.all = p.newBar(p.words.all(e), "", e.Size, describeAll, mpb.BarPriority(1<<20)) // Below the others.
	case progress.Started:
		name, narrow := blobName(e), short(e.Blob)
		if e.Image != "" {
			narrow = imageName(e.Image)
			name = narrow + " " + strings.TrimPrefix(short(e.Blob), "sha256:")
		}
		p.blobs[e.Blob] = p.newBar(name, narrow, e.Size, describeBlob)
	case progress.Read:
		if blob := p.blobs[e.Blob]; blob != nil {
			blob.add(e.Bytes)
		}
		if p.all != nil {
			p.all.add(e.Bytes)
		}
	case progress.Finished:
		if blob := p.blobs[e.Blob]; blob != nil {
			delete(p.blobs, e.Blob)
			blob.Abort(true)
		}
	}
}

func (b *measuredBar) add(n int) {
	b.meter.add(n)
	b.IncrBy(n)
}

// newBar adds a bar: its name, or narrow where there is little room, and then the text
// of describe.
func (p *barProgress) newBar(name, narrow string, size int64, describe func(*meter, bool) string, options ...mpb.BarOption) *measuredBar {
	m := newMeter(size)
	room := 0 // Both are called for a line, the first one first.
	before := decor.Any(func(s decor.Statistics) string {
		room = s.AvailableWidth
		if room < wide {
			return fitted(narrow, room/3)
		}
		return fitted(name, room/3)
	})
	after := decor.Any(func(decor.Statistics) string { return describe(m, room >= wide) })
	options = append(options, mpb.PrependDecorators(before), mpb.AppendDecorators(after))
	bar := p.bars.AddBar(0, options...)
	bar.SetTotal(max(size, 0), false) // So that it stays, full, until it is taken away.
	return &measuredBar{bar, m}
}

// fitted returns a name in as many columns: of a long one the end, which says most.
func fitted(name string, columns int) string {
	runes := []rune(name)
	if len(runes) == 0 || columns < 1 {
		return ""
	}
	if len(runes) > columns {
		return "…" + string(runes[len(runes)-columns+1:])
	}
	return fmt.Sprintf("%-*s", columns, name)
}

// describeAll is the text behind the bar for all: in 44 columns, or in 21.
func describeAll(m *meter, roomy bool) string {
	if !roomy {
		return fmt.Sprintf("%4s %8s %7s", m.percent(), m.rate(), m.left())
	}
	left := m.left()
	if left != "" {
		left += " left"
	}
	return fmt.Sprintf("%4s %-16s %9s %-12s", m.percent(), ofTotal(m), m.rate(), left)
}

// describeBlob is the text behind the bar of a blob.
func describeBlob(m *meter, roomy bool) string {
	if !roomy {
		return fmt.Sprintf("%4s", m.percent())
	}
	return fmt.Sprintf("%4s %-16s %22s", m.percent(), ofTotal(m), "") // As wide as that for all.
}

func ofTotal(m *meter) string {
	come := units.HumanSize(float64(m.come()))
	if m.total < 0 {
		return come
	}
	return come + " / " + units.HumanSize(float64(m.total))
}

// end removes the bars from the screen, and the terminal's echo of an interrupt.
func (p *barProgress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprint(p.w, "\r")
	for _, blob := range p.blobs {
		blob.Abort(true)
	}
	if p.all != nil {
		p.all.Abort(true)
	}
	p.bars.Wait()
}
