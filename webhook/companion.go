package webhook

import (
	"context"
	"crypto/tls"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// DiagnosisPath is where a companion answers, on the address of the metrics.
const DiagnosisPath = "/diagnosis"

// Companion runs beside the server and looks at it. It serves what it found, and counts it. Nothing waits for it, and what it
// finds changes nothing: Start returns nil whatever happens.
type Companion interface {
	http.Handler
	prometheus.Collector
	Start(ctx context.Context) error
	NeedLeaderElection() bool
}

// Facts are what a companion may ask of the server that it runs beside.
type Facts struct {
	// Ready tells that the server serves.
	Ready func() bool
	// Certificate is what is served.
	Certificate func() (*tls.Certificate, error)
	// Unread names what of the cluster is not read: what is waited for, and what cannot be had, with the reason.
	Unread func() (waiting, missing []string)
}

// Unread names the sources that have not been read.
func (c *Cluster) Unread() (waiting, missing []string) {
	for _, s := range c.all {
		if !s.settled() {
			waiting = append(waiting, s.name)
		}
		if why := s.missing(); why != "" {
			missing = append(missing, why)
		}
	}
	return waiting, missing
}
