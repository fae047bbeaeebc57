package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/VictoriaMetrics/metrics"

	"github.com/dockerarchive/dockerarchive/serving"
)

// serveMetrics are the metrics of a server, for Prometheus.
type serveMetrics struct{ *metrics.Set }

// count counts a request that was answered.
func (m serveMetrics) count(a serving.Access) {
	m.GetOrCreateCounter(fmt.Sprintf(`docker_archive_requests_total{code="%d"}`, a.Status)).Inc()
	m.GetOrCreateCounter("docker_archive_sent_bytes_total").AddInt64(a.Bytes)
}

// handler returns the handler of /metrics for a server.
func (m serveMetrics) handler(s *serving.Server) http.Handler {
	m.NewGauge("docker_archive_images", func() float64 {
		images, _ := s.Images()
		return float64(images)
	})
	m.NewGauge("docker_archive_archives", func() float64 {
		_, archives := s.Images()
		return float64(archives)
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		m.WritePrometheus(w)
		metrics.WriteProcessMetrics(w)
	})
	return mux
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
