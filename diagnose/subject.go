package diagnose

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/injectors"
)

// Subject is what probes may ask. Everything but Client, Dial and Now may be missing.
type Subject struct {
	Client kubernetes.Interface
	// Dynamic reads objects of other people's kinds: cert-manager's, Google's.
	Dynamic dynamic.Interface
	// Raw gets a path of the API server, such as /metrics.
	Raw func(ctx context.Context, path string) ([]byte, error)
	// Try creates a ConfigMap with dryRun=All, and returns it as it came back with the warnings beside it.
	Try func(ctx context.Context, m *corev1.ConfigMap) (*corev1.ConfigMap, []string, error)
	// TryPod does the same with a pod. It is nil in the server, which creates nothing outside of its own namespace.
	TryPod func(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, []string, error)
	// Dial connects from where the probes run.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	Now  func() time.Time
	// Spent is how long whoever asks has waited before the first probe.
	Spent time.Duration
	// Calls remembers what the API server has counted, from one run to the next; nil where there is but one.
	Calls *Calls

	Catalogue *injectors.Catalogue
	Own       Own
	// Server is what only the server knows of itself; nil where the probes run elsewhere.
	Server *Server
	// ServerReport reads what the server answers; used where Server is nil, and may be nil too. ThroughAPI tells that it asks
	// the API server to pass it on.
	ServerReport func(ctx context.Context) (*Report, error)
	ThroughAPI   bool

	// Connect are addresses, HOST:PORT, that somebody wants tried.
	Connect []string

	// About is the object of the group; nil for ourselves.
	About *Object

	seen   *seen
	needed map[string]*Line // the answers to what the probe needs
}

// Own says who we are in the cluster.
type Own struct {
	Namespace, Service string
	// Port is the one that the server listens on; 0 where it is not known. Outside, it is read from the Deployment.
	Port int
}

// Host is the name by which the API server calls us.
func (o Own) Host() string { return o.Service + "." + o.Namespace + ".svc" }

// Server is what only the server knows of itself.
type Server struct {
	// Replica is the name of the pod.
	Replica string
	// Certificate is what is served.
	Certificate func() (*tls.Certificate, error)
	// CertDir is where its files lie; "" where it is made by ourselves.
	CertDir string
	// Secret keeps the certificate that is made by ourselves.
	Secret string
	// Unread names what of the cluster is not read: what is waited for, and what cannot be had, with the reason.
	Unread func() (waiting, missing []string)
	// MeshNamespaces are those whose ConfigMaps are to be read.
	MeshNamespaces []string
}

// fromServer is the server's own answer to a probe that only it can answer.
func (s *Subject) fromServer(ctx context.Context, p *Probe) Result {
	r, err := s.serverReport(ctx)
	switch {
	case err != nil && p.Code != listenerCode && s.nobody(ctx, err):
		return skipped(listenerCode)
	case err != nil && p.Code != listenerCode:
		return unknown("", "only the server itself can tell, and its report cannot be read: see %s", listenerCode)
	case err != nil && s.nobody(ctx, err):
		return s.down(ctx, err)
	case err != nil:
		return unknown(steps("Ask from inside:", s.inside(ctx, "diagnose"),
			"Or ask the server's report past the API server:", s.kubectl()+" port-forward "+s.deploymentName(ctx)+" 8080 & sleep 2; holdfast diagnose --server http://localhost:8080"),
			"only the server itself can tell, and its report cannot be read: %v", err)
	}
	object := ""
	if s.About != nil {
		object = s.About.Name
	}
	l := r.line(p.Code, object)
	if l == nil {
		return unknown("", "the server does not ask this: is it of another version?")
	}
	if l.State == Skipped { // what it needs holds here and now, or is seen otherwise from the cluster
		why := ""
		for _, about := range []string{object, ""} {
			if cause := r.line(l.Cause, about); cause != nil && cause.State == Failed {
				why = ": " + cause.Message
			}
		}
		return unknown("Ask again in some seconds.", "the server has not asked this, for %s failed there%s", l.Cause, why)
	}
	return l.result()
}

// nobody tells that there is no server whose report could be read. Where the API server passes it on, a connection that is refused
// may be a firewall's doing: ready pods have answered their kubelets.
func (s *Subject) nobody(ctx context.Context, err error) bool {
	switch {
	case errors.Is(err, errNoPods):
		return true
	case !strings.Contains(err.Error(), "connection refused"):
		return false
	case !s.ThroughAPI:
		return true
	}
	pods, err := s.serverPods(ctx)
	return err == nil && !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return notReady(&p) == "" })
}

// elsewise is the server's answer where whoever asks may not look: the server may.
func (s *Subject) elsewise(ctx context.Context, p *Probe, mine Result) Result {
	r, err := s.serverReport(ctx)
	if err != nil {
		return mine
	}
	l := r.line(p.Code, "")
	if l == nil || l.State == Unknown {
		return mine
	}
	theirs := l.result()
	theirs.Message = strings.TrimSpace(l.Message + " (says the server)")
	return theirs
}

// there is what the server says to the same question about the same object; nil where it cannot be asked.
func (s *Subject) there(ctx context.Context, code string) *Line {
	r, err := s.serverReport(ctx)
	if err != nil || s.About == nil {
		return nil
	}
	return r.line(code, s.About.Name)
}

func (s *Subject) serverReport(ctx context.Context) (*Report, error) {
	if s.ServerReport == nil {
		return nil, errors.New("nobody knows where the server is")
	}
	return s.seen.server.get(ctx, s.seen.life, s.ServerReport)
}

// about returns the subject of a group that is asked about an object.
func (s *Subject) about(o *Object) *Subject {
	out := *s
	out.About = o
	return &out
}
