package serving

import (
	"context"
	"sync"
	"time"
)

// asked is a refresh that clients wait for. Those that come before it begins share it.
type asked struct {
	mu      sync.Mutex
	waiting *askedRefresh // has not begun; nil if nobody waits for one
	hurried time.Time     // when the last one of age 0 began; guarded by Server.refreshing
}

type askedRefresh struct {
	age  time.Duration
	done chan struct{} // closed when it is over
}

// await refreshes for a client, which waits as long as askedPatience. It reports whether the refresh is over.
func (s *Server) await(ctx context.Context, age time.Duration) bool {
	late := time.NewTimer(askedPatience)
	defer late.Stop()
	select {
	case <-s.ask(age):
		return true
	case <-ctx.Done():
	case <-late.C:
	}
	return false
}

// ask has a refresh begin that checks stores unless their last check is younger than age. The channel is closed when
// it is over.
func (s *Server) ask(age time.Duration) <-chan struct{} {
	s.asked.mu.Lock()
	defer s.asked.mu.Unlock()
	if r := s.asked.waiting; r != nil {
		r.age = min(r.age, age)
		return r.done
	}
	r := &askedRefresh{age: age, done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		close(r.done)
		return r.done
	}
	s.asked.waiting = r
	s.work.Go(func() { s.runAsked(r) })
	return r.done
}

func (s *Server) runAsked(r *askedRefresh) {
	defer close(r.done)
	select {
	case s.refreshing <- struct{}{}:
		defer func() { <-s.refreshing }()
	case <-s.ctx.Done():
		return
	}
	s.asked.mu.Lock()
	age := r.age
	s.asked.waiting = nil
	s.asked.mu.Unlock()
	switch {
	case age > 0:
	case time.Since(s.asked.hurried) < askedInterval:
		age = askedInterval // An archive that changes all the time, or that cannot be opened, causes no more checks.
	default:
		s.asked.hurried = time.Now()
	}
	_ = s.refreshNow(s.ctx, age, false) // Everything is logged.
}
