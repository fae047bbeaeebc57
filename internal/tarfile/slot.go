package tarfile

// Slot is a place in the order of an archive, reserved before the blob for it comes,
// and sometimes before its size is known.
type Slot struct {
	q    *queue
	head int64 // bytes of the header
	size int64 // of the content, -1 while unknown
	// guess is the size that the content may have while size is unknown; 0 without a
	// guess. A place of this size may turn out to be too large or too small.
	guess int64
	off   int64 // offset in a file, -1 while unknown
	// Range of a file that nothing else may be moved over; nil while its end is
	// open, or once it belongs to an entry.
	place    *extent
	blob     *Blob  // being written
	entry    *Entry // complete
	released bool
	// floating is a slot nobody reserved: the blob came, and its place is where
	// it fits until it is sealed.
	floating bool

	number     uint64 // in the order of the archive
	queued     bool
	prev, next *Slot // in the queue
}

// Release says that nothing will be written to the slot, or nothing more. If the
// blob that was to go there is complete and waits for its turn in a later slot, it
// is passed as instead and gets this one's place. Release returns ErrBusy while a
// blob is being written to the slot.
func (s *Slot) Release(instead *Entry) error {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	if s.blob != nil {
		return ErrBusy
	}
	if s.entry == nil && !s.released && instead != nil {
		s.takeLocked(instead)
	}
	s.releaseLocked()
	return s.q.advanceLocked()
}

// Size returns the size of the content in bytes, -1 if it is not known yet. Before
// there is content it is the planned size.
func (s *Slot) Size() int64 {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	return s.size
}

// room is the size of the content that a place can be made for, -1 if that is unknown.
func (s *Slot) room() int64 {
	if s.size < 0 && s.guess > 0 {
		return s.guess
	}
	return s.size
}

// Offset returns where in a file the content will begin, in bytes, -1 if that is not
// known, as behind content of unknown size.
func (s *Slot) Offset() int64 {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	if s.place == nil {
		return -1
	}
	return s.place.off + s.head
}

// takeLocked gives s an entry that waits in a later slot.
func (s *Slot) takeLocked(e *Entry) {
	later := e.slot
	waits := e.spool != nil && !e.sending && later.queued
	if !waits || !s.queued || later.number < s.number {
		return
	}
	later.entry, s.entry, e.slot = nil, e, s
	later.releaseLocked()
}

func (s *Slot) releaseLocked() {
	s.released = true
	s.q.out.vacateLocked(s)
}

// dropLocked takes a floating slot out of the order.
func (s *Slot) dropLocked() {
	s.q.removeLocked(s)
	s.q.out.vacateLocked(s)
}

// fitsLocked reports whether a blob with a header and content of these lengths
// can go to the slot. head is 0 while it is not known.
func (s *Slot) fitsLocked(head, size int64) bool {
	return s.place == nil || s.blob != nil || s.size == size && (head == 0 || s.head == head)
}
