package delta

const (
	// igzipRead is how much text igzip reads at a time.
	igzipRead = 1 << 20
	// igzipHistory is how far matches may reach back.
	igzipHistory = 1 << 15
	// igzipFar is how much text a run leaves to the next one; the last run leaves igzipNear.
	igzipFar  = 288
	igzipNear = 16
)

// igzipRuns are the pieces of text, one after the other, that igzip searches in one go. They
// depend on its buffers. It reads a piece of text, and first copies the beginning of that piece
// behind the text before it, until matches reach back far enough. Then it searches the rest in place.
type igzipRuns struct {
	read int64 // where the current read begins
	end  int64 // of the text that the current run sees; if it is open, at most
	open bool  // the text may end before that
	last bool  // it ends with the current run
}

// next begins the next run at a position. It reports whether enough of the text is known.
func (r *igzipRuns) next(pos, known int64, complete bool) bool {
	if r.end == r.read+igzipRead {
		r.read = r.end
	}
	end := r.read + igzipRead
	if r.read > 0 && pos < r.read+igzipHistory {
		end = pos + igzipHistory + igzipFar
		if known <= end && !complete {
			return false
		}
	}
	r.end, r.open = end, true
	r.settle(known, complete)
	return true
}

// settle finds out where the current run ends, as soon as that is known.
func (r *igzipRuns) settle(known int64, complete bool) {
	switch {
	case !r.open:
	case complete && known <= r.end && known < r.read+igzipRead:
		r.end, r.open, r.last = known, false, true
	case known >= r.end:
		r.open = false
	}
}

// limit is where the search ends.
func (r *igzipRuns) limit() int64 {
	if r.last {
		return r.end - igzipNear
	}
	return r.end - igzipFar
}
