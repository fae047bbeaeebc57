package tarfile

import "slices"

// Slot is a place in the order of an archive, reserved before it is known when,
// and sometimes how long, the blob will be that goes there.
type Slot struct {
	w        *Writer
	size     int64  // of the content, -1 while unknown
	off      int64  // offset in the archive, -1 while unknown
	blob     *Blob  // being written
	entry    *Entry // complete
	released bool
	// floating is a slot nobody reserved: the blob came, and its place is where
	// it fits until it is sealed.
	floating bool
}

// Reserve appends a slot to the order of the archive. size is that of the
// content that will come, in bytes, or -1.
func (w *Writer) Reserve(size int64) *Slot {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &Slot{w: w, size: size, off: -1}
	w.queue = append(w.queue, s)
	_ = w.advanceLocked() // A failure is kept in w.err.
	return s
}

// Release says that nothing will be written to the slot, or nothing more. If the
// blob that was to go there is complete and waits for its turn in a later slot, it
// is passed as instead and gets this one's place. Release returns ErrBusy while a
// blob is being written to the slot.
func (s *Slot) Release(instead *Entry) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.blob != nil {
		return ErrBusy
	}
	if s.entry == nil && !s.released && instead != nil && instead.spool != nil {
		s.takeLocked(instead)
	}
	s.releaseLocked()
	return s.w.advanceLocked()
}

// Size returns the size of the content, -1 if it is not known yet.
func (s *Slot) Size() int64 {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.size
}

// takeLocked gives s an entry from a later slot.
func (s *Slot) takeLocked(e *Entry) {
	first := slices.Index(s.w.queue, s)
	for i, later := range s.w.queue {
		if first >= 0 && i > first && later.entry == e {
			later.entry, s.entry = nil, e
			later.releaseLocked()
		}
	}
}

func (s *Slot) releaseLocked() {
	s.released = true
	delete(s.w.reserved, s)
}

// advanceLocked settles the places of as many slots as can be known, and wakes
// the blobs that wait for that.
func (w *Writer) advanceLocked() error {
	if w.err != nil {
		return w.err
	}
	for len(w.queue) > 0 {
		settled, err := w.settleLocked(w.queue[0])
		if err != nil {
			return w.failLocked(err)
		}
		if !settled {
			break
		}
		w.queue[0] = nil
		w.queue = w.queue[1:]
	}
	w.broadcastLocked()
	return nil
}

// settleLocked handles s, the first slot of the queue, and reports whether the
// next one may follow.
func (w *Writer) settleLocked(s *Slot) (bool, error) {
	switch {
	case s.entry != nil && s.entry.spool != nil && (w.file == nil || !s.floating):
		if err := w.placeLocked(s.entry); err != nil {
			return false, err
		}
		return true, nil
	case s.entry != nil || s.released:
		return true, nil
	case w.file == nil:
		return false, nil // The stream is the blob's until it ends.
	}
	if s.off < 0 || s.blob == nil {
		s.off = w.tail
	}
	w.reserved[s] = struct{}{}
	if s.size < 0 {
		return false, nil
	}
	w.tail += span(s.size)
	return true, nil
}

// placeLocked moves a spooled entry to the tail of the archive.
func (w *Writer) placeLocked(e *Entry) error {
	if w.file == nil {
		if err := copyToStream(w.stream, e.spool, e.span); err != nil {
			return err
		}
	} else {
		if err := moveRange(w.file, w.tail, e.spool, 0, e.span); err != nil {
			return err
		}
	}
	e.off = w.tail
	w.tail += e.span
	err := e.spool.Close()
	e.spool = nil
	return err
}

// turnLocked reports whether s is the first slot in line.
func (s *Slot) turnLocked() bool {
	return len(s.w.queue) > 0 && s.w.queue[0] == s
}

// dropLocked takes a floating slot out of the order, and its range out of the
// archive if nothing follows it.
func (s *Slot) dropLocked() {
	w := s.w
	delete(w.reserved, s)
	w.queue = slices.DeleteFunc(w.queue, func(q *Slot) bool { return q == s })
	last := s.off >= 0 && s.size >= 0 && s.off+span(s.size) == w.tail
	if last && (len(w.queue) == 0 || w.queue[0].blob == nil) {
		w.tail = s.off
	}
}
