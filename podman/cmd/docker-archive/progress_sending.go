package main

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"

	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/progress"
)

// newSending shows on w which blobs are sent, and newCopying which are copied: with bars on
// a terminal, else a line for each when it has been, and now and then while it is. The
// returned function ends it.
func newSending(w io.Writer) (func(progress.Event), func()) { return newBlobs(w, "sending", "sent") }

func newCopying(w io.Writer) (func(progress.Event), func()) {
	return newBlobs(w, "copying", "copied")
}

func newBlobs(w io.Writer, doing, done string) (func(progress.Event), func()) {
	if hasCursor(w) {
		return newProgress(w)
	}
	l := &blobLines{w: w, doing: doing, done: done, blobs: map[digest.Digest]*sentBlob{}}
	return l.show, every(lineInterval, l.tick)
}

// blobLines prints lines about blobs, of which nobody knows how many come.
type blobLines struct {
	mu          sync.Mutex
	w           io.Writer
	doing, done string // as what is done with them is called
	blobs       map[digest.Digest]*sentBlob
	order       []digest.Digest // of those in blobs
}

// sentBlob is a blob that is being sent, or copied.
type sentBlob struct {
	*meter
	told int64 // how many bytes a line has told of
}

func (p *blobLines) show(e progress.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	blob := p.blobs[e.Blob]
	switch e.Kind {
	case progress.Started:
		p.blobs[e.Blob] = &sentBlob{meter: newMeter(e.Size)}
		p.order = append(p.order, e.Blob)
	case progress.Read:
		if blob != nil {
			blob.add(e.Bytes)
		}
	case progress.Retried:
		at := ""
		if blob != nil { // It is sent from the beginning.
			at = fmt.Sprintf(", at %s of %s", units.HumanSize(float64(blob.come())), units.HumanSize(float64(blob.total)))
			p.blobs[e.Blob] = &sentBlob{meter: newMeter(blob.total)}
		}
		fmt.Fprintln(p.w, printable.String(fmt.Sprintf("trying again after: %v%s", e.Err, at)))
	case progress.Waiting:
		fmt.Fprintln(p.w, waiting(e))
	case progress.Finished:
		if e.Err == nil {
			fmt.Fprintf(p.w, "%s %s %s\n", p.done, short(e.Blob), units.HumanSize(float64(e.Size)))
		}
		delete(p.blobs, e.Blob)
		p.order = slices.DeleteFunc(p.order, func(d digest.Digest) bool { return d == e.Blob })
	}
}

// tick prints how far the blobs have come that have since the last time.
func (p *blobLines) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.order {
		blob := p.blobs[d]
		if come := blob.come(); come != blob.told {
			blob.told = come
			fmt.Fprintf(p.w, "%s %s: %s\n", p.doing, short(d), blob)
		}
	}
}
