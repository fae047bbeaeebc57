package fetching

import (
	"time"
)

// line is how a blob comes, over its own line or in ranges.
type line struct {
	from    int64     // where in the blob it began
	asked   time.Time // when it was asked for; zero in ranges
	begun   bool
	begin   time.Duration // how long it took until something came
	pace    pace
	changes int     // of the number of blobs, when what pace has began
	alone   float64 // in ranges, what the blob's own line brought before, in bytes a second
}

// add notes what came after it was asked for, and reports whether there is something to
// judge by. With the first bytes come what had gathered before: they say nothing.
func (l *line) add(n int, asked time.Time) bool {
	if !l.begun {
		l.begun = n > 0
		l.begin = time.Since(l.asked)
		return false
	}
	return l.pace.add(n, time.Since(asked))
}

// late returns what is too long for a range to begin, where its blob began as it did.
func (l *line) late(patience time.Duration) time.Duration { return 2*l.begin + patience }

// inRanges reports whether the blob's own line has come to where others began.
func (r *reader) inRanges() bool { return r.ahead != nil && r.body == r.ahead }

// meet has the blob's own line end where others begin. It returns how much of p that line
// may fill.
func (r *reader) meet(p []byte) []byte {
	if r.ahead == nil || r.inRanges() {
		return p
	}
	// Others begin where they have something before it is missed.
	lead := int64(r.line.alone*r.line.begin.Seconds()) + int64(r.f.options.RangeSize)
	end, ok := r.ahead.ownEnd(r.n, lead)
	switch {
	case !ok:
		r.dropHelp()
	case r.n == end:
		if r.body != nil {
			r.body.Close() // It has only been read from.
		}
		r.ahead.takeOver()
		r.asksForParts(r.ahead.host)
		r.body = r.ahead
		r.line = line{from: r.n, begun: true, alone: r.line.alone, pace: pace{window: judged * r.f.options.Patience}}
	default:
		p = p[:min(int64(len(p)), end-r.n)]
	}
	return p
}

// judge is called whenever the line's speed is known. If the rest would take long on the
// blob's own line, and there are others, they help. If that turns out not to be clearly
// faster, it ends, for all blobs of that host.
func (r *reader) judge() {
	if r.inRanges() {
		if r.line.pace.slower(clearly*r.line.alone) && r.ahead.helped() {
			r.ahead.host.end()
		}
		return
	}
	img := r.images[0]
	h, left := r.f.hostOf(img), r.blob.Size-r.n
	if h == nil || img.refused.Load() || r.whole || r.ahead != nil || left <= int64(r.f.options.RangeSize) {
		return
	}
	changes, free := r.f.lines.free()
	if changes != r.line.changes && !h.isKnown() {
		r.line.changes = changes
		r.line.pace.drop()
		return
	}
	rate, ok := r.line.pace.steady()
	late := r.line.late(r.f.options.Patience)
	long := max(worthHelp*r.f.options.Patience, 3*late)
	if !free || !ok || float64(left) <= rate*long.Seconds() {
		return
	}
	if !img.source.(RangeSource).Prepared(r.ctx) { // Soon. Before that, the host is a guess, whatever is known of it.
		return
	}
	if h = r.f.hostOf(img); h == nil || !h.mayHelp() {
		return
	}
	if img.refused.Load() { // Meanwhile.
		h.asked()
		return
	}
	r.line.alone = rate
	r.ahead = newRanges(r.ctx, r.f, h, img, r.blob.Descriptor, r.line)
	r.ahead.ask()
}

// dropHelp has the blob's own line go on alone.
func (r *reader) dropHelp() {
	if r.ahead != nil && !r.inRanges() {
		r.ahead.Close() // It is nothing but memory.
		r.ahead = nil
		r.line.pace.reset()
	}
}

// closeAll ends the line, and what others do.
func (r *reader) closeAll() {
	r.dropHelp()
	r.closeBody()
}
