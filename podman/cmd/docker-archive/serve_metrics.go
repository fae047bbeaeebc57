package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/VictoriaMetrics/metrics"

	"github.com/dockerarchive/dockerarchive/internal/printable"
	"github.com/dockerarchive/dockerarchive/serving"
)

// serveMetrics are the metrics of a server, for Prometheus.
type serveMetrics struct{ *metrics.Set }

// count counts a request that was answered.
func (m serveMetrics) count(a serving.Access) {
	m.GetOrCreateCounter(fmt.Sprintf(`docker_archive_requests_total{code="%d"}`, a.Status)).Inc()
	m.GetOrCreateCounter("docker_archive_sent_bytes_total").AddInt64(a.Bytes)
}

// handler returns the handler of the address for metrics.
func (m serveMetrics) handler(h *health) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		m.WritePrometheus(w)
		metrics.WriteProcessMetrics(w)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { sayHealth(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", h.serveReady)
	return mux
}

// add adds the metrics of a server.
func (m serveMetrics) add(s *serving.Server) {
	gauge := func(name string, value func() int64) {
		m.NewGauge(name, func() float64 { return float64(value()) })
	}
	gauge("docker_archive_images", func() int64 { images, _ := s.Images(); return int64(images) })
	gauge("docker_archive_archives", func() int64 { _, archives := s.Images(); return int64(archives) })
	if _, ok := s.StoreStats(); !ok {
		return
	}
	for name, value := range map[string]func(serving.StoreStats) int64{
		"requests_total": func(s serving.StoreStats) int64 { return s.Requests },
		"bytes_total":    func(s serving.StoreStats) int64 { return s.Bytes },
		"retries_total":  func(s serving.StoreStats) int64 { return s.Retries },
		"errors_total":   func(s serving.StoreStats) int64 { return s.Failed },
	} {
		gauge("docker_archive_store_"+name, func() int64 { stats, _ := s.StoreStats(); return value(stats) })
	}
	gauge("docker_archive_store_unreadable", func() int64 { return int64(len(s.Failing())) })
	if _, ok := s.CacheStats(); !ok {
		return
	}
	for name, value := range map[string]func(serving.CacheStats) int64{
		"hits_total":      func(c serving.CacheStats) int64 { return c.Hits },
		"shared_total":    func(c serving.CacheStats) int64 { return c.Shared },
		"misses_total":    func(c serving.CacheStats) int64 { return c.Misses },
		"refused_total":   func(c serving.CacheStats) int64 { return c.Refused },
		"wrong_total":     func(c serving.CacheStats) int64 { return c.Wrong },
		"evictions_total": func(c serving.CacheStats) int64 { return c.Evictions },
		"blobs":           func(c serving.CacheStats) int64 { return c.Blobs },
		"bytes":           func(c serving.CacheStats) int64 { return c.Bytes },
		"limit_bytes":     func(c serving.CacheStats) int64 { return c.Limit },
	} {
		gauge("docker_archive_cache_"+name, func() int64 { c, _ := s.CacheStats(); return value(c) })
	}
}

// health says whether the server is ready: from when all archives have been found until it is told to end. An
// unreachable store does not matter, because its known archives are still served.
type health struct {
	mu     sync.Mutex
	ctx    context.Context // nil before it is ready
	server *serving.Server
}

func (h *health) ready(ctx context.Context, s *serving.Server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ctx, h.server = ctx, s
}

func (h *health) serveReady(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ctx == nil:
		sayHealth(w, http.StatusServiceUnavailable, "archives are being opened")
	case h.ctx.Err() != nil:
		sayHealth(w, http.StatusServiceUnavailable, "ending")
	default:
		images, archives := h.server.Images()
		text := fmt.Sprintf("ready: %d images in %d archives", images, archives)
		failing := h.server.Failing()
		for _, address := range slices.Sorted(maps.Keys(failing)) {
			text += fmt.Sprintf("\n%s cannot be read: the log says why", printable.String(address))
		}
		sayHealth(w, http.StatusOK, text)
	}
}

func sayHealth(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // It fails only if the client is gone.
}

// countErrors returns a log whose errors, such as damaged blobs, are counted.
func (m serveMetrics) countErrors(h slog.Handler) slog.Handler {
	return errorCounter{h, m.NewCounter("docker_archive_errors_total")}
}

type errorCounter struct {
	slog.Handler
	errors *metrics.Counter
}

// Handle implements slog.Handler.
func (c errorCounter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		c.errors.Inc()
	}
	return c.Handler.Handle(ctx, r)
}
