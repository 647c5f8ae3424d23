package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"holdfast.dev/holdfast/config"
)

// Options say how Run serves.
type Options struct {
	// Cluster is how the API server is reached.
	Cluster *rest.Config
	// Configuration must not be nil.
	Configuration *config.Config
	// Audit makes the server only watch, whatever the labels of namespaces say.
	Audit bool

	// Port of the webhook server.
	Port int
	// CertDir holds tls.crt and tls.key; both are read again when they change. Empty, a self-signed certificate is made,
	// kept in Secret, and its CA is put into our webhook configurations.
	CertDir string
	// Namespace and Service are where the API server reaches this server.
	Namespace, Service string
	// Secret, in Namespace, keeps a self-signed certificate.
	Secret string

	// Replica is the name under which this server answers the probe of reachability.
	Replica string
	// Companion makes what runs beside the server, on the address of the metrics; nil for nothing.
	Companion func(Facts) (Companion, error)

	// Metrics and Probes are the addresses of the other two servers; "0" switches one off.
	Metrics, Probes string
	// ShutdownDelay is how long the server goes on answering after it was told to end: clients learn meanwhile that it is
	// no endpoint any more.
	ShutdownDelay time.Duration
}

// Run serves until the context ends, and for Options.ShutdownDelay after that. The error says why it could not go on.
func Run(ctx context.Context, log logr.Logger, o Options) error {
	s, err := newServer(log, o, time.Now) //nolint:forbidigo // where the clock comes in
	if err != nil {
		return err
	}
	for _, c := range s.collectors {
		if err := ctrlmetrics.Registry.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
		defer ctrlmetrics.Registry.Unregister(c)
	}

	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.manager.Start(serving) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	log.Info("told to end", "shutdownDelay", o.ShutdownDelay.String())
	s.draining.Store(true)
	delay := time.NewTimer(o.ShutdownDelay)
	defer delay.Stop()
	select {
	case err := <-ended:
		return err
	case <-delay.C:
	}
	stop()
	return <-ended
}

// server is everything that Run runs.
type server struct {
	manager    manager.Manager
	cluster    *Cluster
	metrics    *metrics
	collectors []prometheus.Collector
	draining   atomic.Bool
}

func newServer(log logr.Logger, o Options, now func() time.Time) (*server, error) {
	client, err := kubernetes.NewForConfig(clientConfig(o.Cluster))
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	s := &server{metrics: newMetrics()}
	s.collectors = []prometheus.Collector{s.metrics}
	catalogue := o.Configuration.Catalogue()
	service := types.NamespacedName{Namespace: o.Namespace, Name: o.Service}
	known := Knowledge{Catalogue: catalogue, Override: o.Configuration.Override, MeshNamespaces: o.Configuration.MeshNamespaces}
	if s.cluster, err = NewCluster(log.WithName("cluster"), client, known, service); err != nil {
		return nil, fmt.Errorf("make informers: %w", err)
	}
	s.cluster.liveLooks = s.metrics.lookups.WithLabelValues("live").Inc
	s.cluster.failedLooks = s.metrics.lookups.WithLabelValues("failed").Inc

	s.cluster.called = s.metrics.called

	certificates, err := s.certificates(log.WithName("certificates"), client, o, now)
	if err != nil {
		return nil, err
	}
	s.cluster.trusts = func(bundle []byte) bool { return trusted(certificates, bundle, service, now()) }
	s.manager, err = manager.New(o.Cluster, manager.Options{
		Logger: log,
		WebhookServer: ctrlwebhook.NewServer(ctrlwebhook.Options{
			Port: o.Port, TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.GetCertificate = certificates.Get }},
		}),
		Metrics:                metricsserver.Options{BindAddress: o.Metrics},
		HealthProbeBindAddress: o.Probes,
	})
	if err != nil {
		return nil, fmt.Errorf("make manager: %w", err)
	}
	hooks := s.manager.GetWebhookServer() // the manager starts it because it was asked for
	r := newReviewer(log.WithName("review"), s.cluster, o.Configuration, catalogue, o.Audit, o.Namespace, s.metrics, now)
	for path, handler := range r.handlers(&s.draining) {
		hooks.Register(path, handler)
	}
	for path, mutating := range map[string]bool{config.ProbeMutatePath: true, config.ProbeValidatePath: false} {
		hooks.Register(path, &admission.Webhook{Handler: answerProbe(o.Replica, mutating)})
	}
	return s, errors.Join(s.manager.Add(s.cluster), s.manager.Add(certificates), s.checks(hooks, certificates), s.accompany(o, certificates))
}

// accompany adds the companion, where there is one.
func (s *server) accompany(o Options, certificates certificates) error {
	if o.Companion == nil {
		return nil
	}
	started := s.manager.GetWebhookServer().StartedChecker()
	companion, err := o.Companion(Facts{
		Ready: func() bool {
			_, err := certificates.Get(&tls.ClientHelloInfo{})
			return err == nil && s.cluster.Ready() == nil && started(nil) == nil
		},
		Certificate: func() (*tls.Certificate, error) { return certificates.Get(&tls.ClientHelloInfo{}) },
		Unread:      s.cluster.Unread,
	})
	if err != nil {
		return fmt.Errorf("make what runs beside the server: %w", err)
	}
	s.collectors = append(s.collectors, companion)
	if err := s.manager.Add(companion); err != nil || o.Metrics == "0" {
		return err
	}
	return s.manager.AddMetricsServerExtraHandler(DiagnosisPath, companion)
}

// clientConfig raises the client's own rate limits: a burst of pods in new namespaces must not queue up behind them.
func clientConfig(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	if c.QPS == 0 {
		c.QPS, c.Burst = 100, 200
	}
	return c
}

func (s *server) certificates(log logr.Logger, client kubernetes.Interface, o Options, now func() time.Time) (certificates, error) {
	if o.CertDir != "" {
		return newFileCertificates(o.CertDir, s.metrics.expires)
	}
	secret := types.NamespacedName{Namespace: o.Namespace, Name: o.Secret}
	c, err := newSelfSigned(log, client, secret, types.NamespacedName{Namespace: o.Namespace, Name: o.Service}, s.cluster.SpreadCA, now)
	if err != nil {
		return nil, fmt.Errorf("watch secret %s: %w", secret, err)
	}
	c.expires = s.metrics.expires
	s.cluster.onConfigurations = c.changed
	return c, nil
}

// checks are for probes of the kubelet. Whether the API server can reach us is none of them: an answer to that must never
// take the server away.
func (s *server) checks(hooks ctrlwebhook.Server, certificates certificates) error {
	started := hooks.StartedChecker()
	ready := map[string]healthz.Checker{
		"webhook": func(r *http.Request) error {
			if _, err := certificates.Get(nil); err != nil {
				return err
			}
			return started(r)
		},
		"cluster": func(*http.Request) error { return s.cluster.Ready() },
		"shutdown": func(*http.Request) error {
			if s.draining.Load() {
				return errors.New("told to end")
			}
			return nil
		},
	}
	errs := []error{s.manager.AddHealthzCheck("ping", healthz.Ping)}
	for name, check := range ready {
		errs = append(errs, s.manager.AddReadyzCheck(name, explained(s.manager.GetLogger().WithName("readiness"), name, check)))
	}
	return errors.Join(errs...)
}

// explained logs why a check fails, once for each reason, and that it passes again: the answer to a probe says neither.
func explained(log logr.Logger, name string, check healthz.Checker) healthz.Checker {
	var mu sync.Mutex
	var last string
	return func(r *http.Request) error {
		err := check(r)
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case reason == last:
		case reason == "":
			log.Info("ready again", "check", name)
		default:
			log.Info("not ready", "check", name, "reason", reason)
		}
		last = reason
		return err
	}
}

// handlers are what the webhook server answers with, by path; draining tells that it was told to end.
func (r *reviewer) handlers(draining *atomic.Bool) map[string]http.Handler {
	room := semaphore.NewWeighted(maxAtOnce)
	taken := func(next http.Handler) http.Handler {
		return &intake{log: r.log, metrics: r.metrics, draining: draining, room: room, next: next}
	}
	return map[string]http.Handler{
		MutatePath:   taken(&admission.Webhook{Handler: r.handle(MutatePath, r.mutate)}),
		ValidatePath: taken(&admission.Webhook{Handler: r.handle(ValidatePath, r.validate)}),
	}
}
