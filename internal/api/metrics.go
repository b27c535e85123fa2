package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/decision"
	"github.com/hookline/hookline/internal/delivery"
)

// Metrics counts, and shows what Watch was given, in Prometheus' format from a registry of its own. It is safe for
// concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	handler  http.Handler
	known    map[event.Type]bool

	attempts    *prometheus.CounterVec
	attemptTime *prometheus.HistogramVec
	delivered   *prometheus.HistogramVec
	deadLetters *prometheus.CounterVec
	gaps        *prometheus.CounterVec
	commit      prometheus.Histogram

	decisions        *prometheus.CounterVec
	decisionTime     *prometheus.HistogramVec
	decisionAttempts *prometheus.CounterVec
}

// NewMetrics returns Metrics that know the Go runtime and the process only.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), known: map[event.Type]bool{}}
	for _, t := range event.Types() {
		m.known[t] = true
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	// 1 ms to 65 s: from a receiver on the same machine to one that is retried.
	short := prometheus.ExponentialBuckets(0.001, 2, 17)
	// 1 ms to 18 h: an event that is accepted late is still accepted.
	long := prometheus.ExponentialBuckets(0.001, 4, 14)
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m.attempts = counter("hookline_delivery_attempts_total",
		"Requests sent to an endpoint, by event type and result.", "endpoint", "type", "result")
	m.attemptTime = histogram("hookline_delivery_attempt_seconds",
		"Time of one request to an endpoint.", short, "endpoint")
	m.delivered = histogram("hookline_delivery_latency_seconds",
		"Time from raising an event to its acceptance by an endpoint.", long, "endpoint")
	m.deadLetters = counter("hookline_delivery_dead_letters_total",
		"Events given up since the start, by reason.", "endpoint", "reason")
	m.gaps = counter("hookline_delivery_gaps_total", "Gaps named since the start, by reason.", "endpoint", "reason")
	m.commit = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "hookline_journal_commit_seconds", Help: "Time from handing a batch of events to the journal until it is durable.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 17), // 0.1 ms to 6.5 s
	})
	m.decisions = counter("hookline_decisions_total",
		"Decisions, by hook, verdict and who decided.", "type", "verdict", "by")
	m.decisionTime = histogram("hookline_decision_seconds", "Time from a question to its verdict.", short, "type")
	m.decisionAttempts = counter("hookline_decision_attempts_total",
		"Requests of decision hooks, by result.", "type", "result")
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.attempts, m.attemptTime, m.delivered, m.deadLetters, m.gaps, m.commit,
		m.decisions, m.decisionTime, m.decisionAttempts,
	)
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second, ErrorHandling: promhttp.ContinueOnError,
	})
	return m
}

// ServeHTTP implements http.Handler.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// typeOf bounds a label.
func (m *Metrics) typeOf(t event.Type) string {
	if m.known[t] {
		return string(t)
	}
	return "other"
}

// oneOf bounds a label.
func oneOf(v string, known ...string) string {
	for _, k := range known {
		if v == k {
			return v
		}
	}
	return "other"
}

// DeliveryObserver returns what endpoints report to.
func (m *Metrics) DeliveryObserver() delivery.Observer {
	reason := func(r string) string {
		return oneOf(r, event.ReasonRefused, event.ReasonExpired, event.ReasonGone, event.ReasonRetention, event.ReasonShed)
	}
	return delivery.Observer{
		Attempt: func(a attempts.Attempt) {
			endpoint := strings.ToValidUTF8(a.Endpoint, "?") // client_golang panics otherwise
			m.attempts.WithLabelValues(endpoint, m.typeOf(a.Type), a.Result.String()).Inc()
			m.attemptTime.WithLabelValues(endpoint).Observe(a.Latency.Seconds())
		},
		Delivered: func(endpoint string, _ event.Type, raised time.Time) {
			m.delivered.WithLabelValues(strings.ToValidUTF8(endpoint, "?")).Observe(max(time.Since(raised), 0).Seconds())
		},
		DeadLetter: func(endpoint, r string) {
			m.deadLetters.WithLabelValues(strings.ToValidUTF8(endpoint, "?"), reason(r)).Inc()
		},
		Gap: func(endpoint, r string) {
			m.gaps.WithLabelValues(strings.ToValidUTF8(endpoint, "?"), reason(r)).Inc()
		},
	}
}

// Committed notes how long a batch of events took until it was durable.
func (m *Metrics) Committed(d time.Duration) { m.commit.Observe(d.Seconds()) }

// Forget drops the series of an endpoint that is gone, so that names which come and go leave nothing behind.
func (m *Metrics) Forget(endpoint string) {
	labels := prometheus.Labels{"endpoint": strings.ToValidUTF8(endpoint, "?")}
	m.attempts.DeletePartialMatch(labels)
	m.attemptTime.DeletePartialMatch(labels)
	m.delivered.DeletePartialMatch(labels)
	m.deadLetters.DeletePartialMatch(labels)
	m.gaps.DeletePartialMatch(labels)
}

// DecisionObserver returns what decisions report to.
func (m *Metrics) DecisionObserver() decision.Observer { return decisionMetrics{m} }

type decisionMetrics struct{ *Metrics }

// AttemptDone implements decision.Observer.
func (m decisionMetrics) AttemptDone(a attempts.Attempt) {
	m.decisionAttempts.WithLabelValues(m.typeOf(a.Type), a.Result.String()).Inc()
}

// DecisionDone implements decision.Observer.
func (m decisionMetrics) DecisionDone(d decision.Decision) {
	t, o := d.Type, d.Outcome
	verdict := "refused"
	if o.Allowed {
		verdict = "allowed"
	}
	by := oneOf(o.By, decision.ByHook, decision.ByDefault, decision.ByFailed, "server")
	m.decisions.WithLabelValues(m.typeOf(t), verdict, by).Inc()
	m.decisionTime.WithLabelValues(m.typeOf(t)).Observe(d.Took.Seconds())
}
