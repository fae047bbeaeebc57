package tarfile

// Expect says that a blob of unknown size may have this many bytes. In a file it gets
// a place of that size, so that entries behind it need not wait; on a stream, whose
// headers cannot be corrected, it changes nothing. It is not believed: if a blob
// turns out shorter or longer, it is moved when it is sealed, or the entries behind
// it are.
func (b *Blob) Expect(size int64) {
	q := b.q
	q.mu.Lock()
	defer q.mu.Unlock()
	s := b.slot
	if b.size >= 0 || s.guess > 0 || s.place != nil || size <= 0 || size > maxSize || size < b.n {
		return
	}
	s.guess, b.guess = size, size
	_ = q.advanceLocked() // A failure is kept in q.err.
}

// outgrow is for content that is longer than guessed. If the blob has a place, it
// loses that, as others are behind it, and goes on in its spool until it is sealed.
func (b *Blob) outgrow() error {
	if b.q.forgetGuess(b.slot) {
		b.guess = 0
		return nil
	}
	if b.inPlace {
		if err := b.openSpool(); err != nil {
			return err
		}
		if err := b.q.out.evict(b); err != nil {
			return err
		}
	}
	q, s := b.q, b.slot
	q.mu.Lock()
	defer q.mu.Unlock()
	q.out.vacateLocked(s)
	s.off, s.guess = -1, 0
	b.inPlace, b.guess = false, 0
	return q.advanceLocked()
}

// forgetGuess forgets the guess for a slot, unless it has a place.
func (q *queue) forgetGuess(s *Slot) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.place != nil {
		return false
	}
	s.guess = 0
	return true
}
