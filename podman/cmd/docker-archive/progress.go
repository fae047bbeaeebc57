package main

import (
	"fmt"
	"io"
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

// newProgress shows on w how far saving has come: with bars where they can be drawn, else
// a line for each blob, and one for all now and then. The returned function ends it.
func newProgress(w io.Writer) (func(progress.Event), func()) {
	if hasCursor(w) {
		return newBars(w)
	}
	l := &lineProgress{w: w, blobs: map[digest.Digest]*lineBlob{}, retried: retried, planned: func(e progress.Event) string {
		return planned(e)
	}}
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

// lineProgress prints lines.
type lineProgress struct {
	mu    sync.Mutex
	w     io.Writer
	all   *meter // once it is planned
	told  int64  // how many bytes of all a line has told of
	blobs map[digest.Digest]*lineBlob

	planned func(progress.Event) string // says what there is to do
	retried func(progress.Event) string // says that it goes on
}

// lineBlob is a blob that is being read.
type lineBlob struct {
	name string
	size int64 // of what has come
}

func (p *lineProgress) show(e progress.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case progress.Planned:
		p.all, p.told = newMeter(e.Size), 0
		fmt.Fprintln(p.w, p.planned(e))
	case progress.Started:
		p.blobs[e.Blob] = &lineBlob{name: blobName(e)}
	case progress.Read:
		if blob := p.blobs[e.Blob]; blob != nil {
			blob.size += int64(e.Bytes)
		}
		if p.all != nil {
			p.all.add(e.Bytes)
		}
	case progress.Retried:
		fmt.Fprintln(p.w, p.retried(e))
	case progress.Waiting:
		fmt.Fprintln(p.w, waiting(e))
	case progress.Finished:
		if blob := p.blobs[e.Blob]; blob != nil && e.Err == nil {
			fmt.Fprintf(p.w, "fetched %s %s\n", blob.name, units.HumanSize(float64(blob.size)))
		}
		delete(p.blobs, e.Blob)
	}
}

// tick prints how far it has come, if it has since the last time.
func (p *lineProgress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil || p.all.come() == p.told {
		return
	}
	p.told = p.all.come()
	fmt.Fprintln(p.w, p.all)
}

// planned says what is to be fetched.
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

func retried(e progress.Event) string {
	what := e.Blob.String()
	if e.Image != "" {
		what = e.Image
	}
	if e.Offset > 0 {
		what += " on from " + units.HumanSize(float64(e.Offset))
		if e.Size > 0 {
			what += " of " + units.HumanSize(float64(e.Size))
		}
		return printable.String(fmt.Sprintf("reading %s after: %v", what, e.Err))
	}
	return printable.String(fmt.Sprintf("reading %s again after: %v", what, e.Err))
}

func waiting(e progress.Event) string {
	return printable.String("still waiting for " + e.Host)
}

// blobName returns what to call a blob by: its digest, and its image if that is the only one.
func blobName(e progress.Event) string {
	if e.Image == "" {
		return short(e.Blob)
	}
	return short(e.Blob) + " of " + imageName(e.Image)
}

// imageName returns the name of an image as people write it.
func imageName(name string) string {
	ref, err := alltransports.ParseImageName(name)
	if err != nil { // Of a transport that this program has not.
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
