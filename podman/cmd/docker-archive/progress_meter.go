package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
)

// meterWindow is the time over which the speed is averaged.
const meterWindow = 15 * time.Second

// meter measures how far and how fast something comes. It is safe for concurrent use.
type meter struct {
	total int64 // -1 if unknown

	mu      sync.Mutex
	done    int64
	samples []sample // one a second, of the last meterWindow and one before
}

type sample struct {
	at   time.Time
	done int64
}

func newMeter(total int64) *meter {
	return &meter{total: total, samples: []sample{{at: time.Now()}}}
}

// add counts bytes that have come.
func (m *meter) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += int64(n)
	now := time.Now()
	if now.Sub(m.samples[len(m.samples)-1].at) < time.Second {
		return
	}
	m.samples = append(m.samples, sample{now, m.done})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= meterWindow {
		m.samples = m.samples[1:]
	}
}

// come returns how many bytes have come.
func (m *meter) come() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.done
}

// speed returns bytes per second, or 0 when nothing is known of it yet.
func (m *meter) speed() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.samples[0]
	elapsed := time.Since(first.at)
	if elapsed < time.Second {
		return 0
	}
	return float64(m.done-first.done) / elapsed.Seconds()
}

// percent returns how much has come. It stays at 100% if something is read twice.
func (m *meter) percent() string {
	if m.total <= 0 {
		return ""
	}
	return fmt.Sprintf("%d%%", min(m.come(), m.total)*100/m.total)
}

// rate returns the speed for people, or "" if there is none.
func (m *meter) rate() string {
	speed := m.speed()
	if speed < 1 {
		return ""
	}
	return units.HumanSizeWithPrecision(speed, 3) + "/s"
}

// left returns how long it still takes at this speed, or "" if that is not known.
func (m *meter) left() string {
	speed, missing := m.speed(), m.total-m.come()
	if speed < 1 || missing < 0 {
		return ""
	}
	seconds := float64(missing) / speed
	if seconds > 100*60*60 {
		return "" // Nothing that one could wait for.
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// String returns a line.
func (m *meter) String() string {
	parts := []string{units.HumanSize(float64(m.come()))}
	if m.total > 0 {
		parts[0] = m.percent() + " of " + units.HumanSize(float64(m.total))
	}
	if rate := m.rate(); rate != "" {
		parts = append(parts, rate)
	}
	if left := m.left(); left != "" {
		parts = append(parts, left+" left")
	}
	return strings.Join(parts, ", ")
}
