package main

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports/alltransports"

	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/progress"
)

// lineInterval is how often a line says how far it has come where there are no bars.
const lineInterval = 10 * time.Second

// words are the words for one kind of progress.
type words struct {
	doing, done string                                  // for the work on a blob
	planned     func(e progress.Event) string           // describes the work ahead
	all         func(e progress.Event) string           // names the bar for all
	retried     func(e progress.Event, m *meter) string // says that it goes on; m is the blob's, if one was begun
	again       bool                                    // a retry begins at the start
}

// newProgress shows on w how far saving has come, newSending which blobs are sent,
// newCopying which are copied, and newLoading how much a daemon has got: with bars where
// they can be drawn, else in lines, also now and then meanwhile. The returned function ends it.
func newProgress(w io.Writer) (func(progress.Event), func()) {
	return show(w, words{doing: "fetching", done: "fetched", planned: planned, retried: retried,
		all: func(e progress.Event) string { return fmt.Sprintf("%d blobs", e.Blobs) }})
}

func newSending(w io.Writer) (func(progress.Event), func()) {
	return show(w, words{doing: "sending", done: "sent", retried: sentAgain, again: true})
}

func newCopying(w io.Writer) (func(progress.Event), func()) {
	return show(w, words{doing: "copying", done: "copied", retried: sentAgain, again: true})
}

func newLoading(w io.Writer) (func(progress.Event), func()) {
	return show(w, words{
		planned: func(e progress.Event) string { return "sending " + units.HumanSize(float64(e.Size)) },
		all:     func(progress.Event) string { return "sending" },
		retried: func(e progress.Event, _ *meter) string { return fmt.Sprintf("sending everything after: %v", e.Err) },
	})
}

func show(w io.Writer, words words) (func(progress.Event), func()) {
	if hasCursor(w) {
		return newBars(w, words)
	}
	l := &lineProgress{w: w, words: words, blobs: map[digest.Digest]*lineBlob{}}
	return l.show, every(lineInterval, l.tick)
}

// every calls f again and again until the returned function is called, which waits for it.
func every(interval time.Duration, f func()) (stop func()) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// lineProgress prints lines: about all if it is known how much that is, else about blobs.
type lineProgress struct {
	mu    sync.Mutex
	w     io.Writer
	words words
	all   *lineBlob // once it is planned
	blobs map[digest.Digest]*lineBlob
	order []digest.Digest // of those in blobs
}

// lineBlob is a blob that is on its way, or all of them.
type lineBlob struct {
	*meter
	name string
	told int64 // how many bytes a line has told of
}

func (p *lineProgress) show(e progress.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	blob := p.blobs[e.Blob]
	switch e.Kind {
	case progress.Planned:
		p.all = &lineBlob{meter: newMeter(e.Size)}
		fmt.Fprintln(p.w, p.words.planned(e))
	case progress.Started:
		p.blobs[e.Blob] = &lineBlob{meter: newMeter(e.Size), name: blobName(e)}
		p.order = append(p.order, e.Blob)
	case progress.Read:
		if blob != nil {
			blob.add(e.Bytes)
		}
		if p.all != nil {
			p.all.add(e.Bytes)
		}
	case progress.Retried:
		fmt.Fprintln(p.w, printable.String(p.words.retried(e, meterOf(blob))))
		if blob != nil && p.words.again {
			blob.meter, blob.told = newMeter(blob.total), 0
		}
	case progress.Waiting:
		fmt.Fprintln(p.w, waiting(e))
	case progress.Finished:
		if blob != nil && e.Err == nil {
			fmt.Fprintf(p.w, "%s %s %s\n", p.words.done, blob.name, units.HumanSize(float64(max(e.Size, blob.come()))))
		}
		delete(p.blobs, e.Blob)
		p.order = slices.DeleteFunc(p.order, func(d digest.Digest) bool { return d == e.Blob })
	}
}

// meterOf returns the meter of a blob, or nil.
func meterOf(blob *lineBlob) *meter {
	if blob == nil {
		return nil
	}
	return blob.meter
}

// tick prints how far it has come, if it has since the last time.
func (p *lineProgress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all != nil {
		p.all.tell(p.w, "")
		return
	}
	for _, d := range p.order {
		p.blobs[d].tell(p.w, p.words.doing+" "+p.blobs[d].name+": ")
	}
}

func (b *lineBlob) tell(w io.Writer, what string) {
	if come := b.come(); come != b.told {
		b.told = come
		fmt.Fprintf(w, "%s%s\n", what, b)
	}
}

// planned says how much there is to fetch.
func planned(e progress.Event) string {
	if e.Blobs == 0 {
		return "nothing more to fetch: the archive has all blobs"
	}
	s := fmt.Sprintf("fetching %d blobs", e.Blobs)
	if e.Size >= 0 {
		s += ", " + units.HumanSize(float64(e.Size))
	}
	if e.Present > 0 {
		s += fmt.Sprintf("; the archive has %d", e.Present)
	}
	return s
}

// retried says where fetching goes on.
func retried(e progress.Event, _ *meter) string {
	what := e.Blob.String()
	if e.Image != "" {
		what = e.Image
	}
	if e.Offset == 0 {
		return fmt.Sprintf("reading %s again after: %v", what, e.Err)
	}
	what += " on from " + units.HumanSize(float64(e.Offset))
	if e.Size > 0 {
		what += " of " + units.HumanSize(float64(e.Size))
	}
	return fmt.Sprintf("reading %s after: %v", what, e.Err)
}

// sentAgain says how far sending was before it begins again.
func sentAgain(e progress.Event, m *meter) string {
	at := ""
	if m != nil {
		at = fmt.Sprintf(", at %s of %s", units.HumanSize(float64(m.come())), units.HumanSize(float64(m.total)))
	}
	return fmt.Sprintf("trying again after: %v%s", e.Err, at)
}

func waiting(e progress.Event) string {
	return printable.String("still waiting for " + e.Host)
}

// blobName returns a name for a blob: its digest, and its image if that is the only one.
func blobName(e progress.Event) string {
	if e.Image == "" {
		return short(e.Blob)
	}
	return short(e.Blob) + " of " + imageName(e.Image)
}

// imageName returns the name of an image as people write it.
func imageName(name string) string {
	ref, err := alltransports.ParseImageName(name)
	if err != nil { // This program lacks its transport.
		return printable.String(name)
	}
	if named := ref.DockerReference(); named != nil {
		name = reference.FamiliarString(named)
		if pinned, ok := named.(reference.Canonical); ok {
			name = reference.FamiliarName(named) + "@" + short(pinned.Digest())
		}
	}
	return printable.String(name)
}
