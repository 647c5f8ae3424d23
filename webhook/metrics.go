package webhook

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

// metrics are what Holdfast counts. Every label has few values, none of which comes from an object under review.
type metrics struct {
	reviews      *prometheus.CounterVec
	findings     *prometheus.CounterVec
	remedies     *prometheus.CounterVec
	lookups      *prometheus.CounterVec
	failures     *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	certificates prometheus.Gauge
	entries      *prometheus.GaugeVec
}

// Reasons for which a request is let through unjudged.
const (
	failedPanic    = "panic"
	failedDecode   = "decode"
	failedDeadline = "deadline"
	failedTooLarge = "too_large"
	failedBusy     = "busy"
)

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: Name, Name: name, Help: help}, labels)
	}
	return &metrics{
		reviews: counter("reviews_total", "Objects judged, by what was decided. In the modes warn and audit a decision is what enforce would have decided.",
			"operation", "kind", "mode", "decision", "dry_run"),
		findings: counter("findings_total", "Findings, by code.", "code", "severity", "mode", "dry_run"),
		remedies: counter("remedies_total", "Remedies applied, or in the modes warn and audit those that enforce would have applied.", "remedy", "mode", "dry_run"),
		lookups:  counter("namespace_lookups_total", "Namespaces that the cache did not hold, by how the live look at them ended. A failed one counts as audit.", "result"),
		failures: counter("failures_total", "Requests that were not judged as they should be, by reason: admitted unjudged, or (missed) refused although they could have been put right.", "reason"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: Name, Name: "review_duration_seconds", Help: "Time to answer a request, decoding included.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .05, .25, 1},
		}, []string{"path"}),
		certificates: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: Name, Name: "certificate_not_after_seconds", Help: "When the certificate that is served ends, in seconds since 1970.",
		}),
		entries: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: Name, Name: "webhook_entries",
			Help: "Entries of webhook configurations that call Holdfast, by whether they trust the certificate that it serves. None trusted means that it is not called.",
		}, []string{"kind", "ca"}),
	}
}

// Describe and Collect make metrics one collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.reviews, m.findings, m.remedies, m.lookups, m.failures, m.duration, m.certificates, m.entries}
}

func (m *metrics) expires(at time.Time) { m.certificates.Set(float64(at.Unix())) }

func (m *metrics) called(kind string, trusted, untrusted int) {
	m.entries.WithLabelValues(kind, "trusted").Set(float64(trusted))
	m.entries.WithLabelValues(kind, "untrusted").Set(float64(untrusted))
}

func (m *metrics) count(r *record) {
	dry := strconv.FormatBool(r.dryRun)
	mode := r.mode.String()
	m.reviews.WithLabelValues(r.operation, r.kind, mode, r.decision, dry).Inc()
	for i := range r.findings {
		f := &r.findings[i]
		m.findings.WithLabelValues(f.Code, f.Severity.String(), mode, dry).Inc()
	}
	if r.mode != config.Enforce { // what enforce mode applies is counted where it does
		m.applied(r.remedies, r.mode, r.dryRun)
	}
}

func (m *metrics) applied(remedies []string, mode config.Mode, dryRun bool) {
	for _, name := range remedies {
		m.remedies.WithLabelValues(name, mode.String(), strconv.FormatBool(dryRun)).Inc()
	}
}

// refusing tells whether the findings are such that enforce mode refuses.
func refusing(findings []report.Finding) bool { return report.Worst(findings) == report.Error }
