package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/validators"
	"holdfast.dev/holdfast/webhook"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	options    webhook.Options
	kubeconfig string
	config     string
	logLevel   string
	diagnosis  string // on or off
}

func newServe() *cobra.Command {
	f := &serveFlags{}
	c := &cobra.Command{
		Use:   "serve",
		Short: "Runs the admission webhook server",
		Long: `Runs the admission webhook server: /mutate and /validate for the API server, /healthz and /readyz for the kubelet, and
/metrics and /diagnosis.

The certificate comes from --cert-dir (tls.crt and tls.key, read again when they change). Without it, Holdfast makes a CA
and a certificate, keeps and renews them in a Secret of its own namespace, and puts the CA into its webhook configurations.`,
		Example: `  # inside a cluster, as the shipped manifests do
  holdfast serve --config /etc/holdfast/config.yaml

  # only watch, whatever the labels of namespaces say
  holdfast serve --audit

  # outside of a cluster, with a certificate of your own
  holdfast serve --kubeconfig ~/.kube/config --cert-dir ./certs --namespace holdfast-system`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	o := &f.options
	flags := c.Flags()
	flags.IntVar(&o.Port, "webhook-port", 9443, "port of the webhook server")
	flags.StringVar(&o.CertDir, "cert-dir", "", "directory with tls.crt and tls.key; empty: self-signed, kept in --cert-secret")
	flags.StringVar(&o.Secret, "cert-secret", "holdfast-cert", "Secret in our namespace that keeps the self-signed certificate")
	flags.StringVar(&o.Namespace, "namespace", "", "namespace we run in (default $POD_NAMESPACE, else holdfast-system)")
	flags.StringVar(&o.Service, "service-name", "holdfast", "Service through which the API server reaches us")
	flags.StringVar(&o.Metrics, "metrics-bind-address", ":8080", `address of /metrics; "0" switches it off`)
	flags.StringVar(&o.Probes, "health-probe-bind-address", ":8081", `address of /healthz and /readyz; "0" switches them off`)
	flags.DurationVar(&o.ShutdownDelay, "shutdown-delay", 10*time.Second, "how long to go on answering after a signal to end, while clients learn of it")
	flags.BoolVar(&o.Audit, "audit", false, "only watch and record, whatever the labels of namespaces say")
	flags.StringVar(&f.diagnosis, "startup-diagnosis", "on", "on: ask the probes once ready and from then on, and log what turns; off: only when /diagnosis is asked")
	flags.StringVar(&f.config, "config", "", "configuration file; empty: the defaults")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file; empty: $KUBECONFIG, ~/.kube/config, or the pod's service account")
	flags.StringVar(&f.logLevel, "log-level", "info", "error, info, debug, or a number: the highest verbosity shown")
	return c
}

func (f *serveFlags) run(c *cobra.Command) error {
	log, err := newLogger(c.ErrOrStderr(), f.logLevel)
	if err != nil {
		return err
	}
	o := f.options
	if o.Port < 1 || o.Port > 65535 {
		return fmt.Errorf("webhook port %d: must be from 1 to 65535", o.Port)
	}
	if o.ShutdownDelay < 0 {
		return errors.New("shutdown delay: must not be negative")
	}
	if o.Configuration, err = loadConfig(f.config); err != nil {
		return err
	}
	if o.Namespace == "" {
		o.Namespace = os.Getenv("POD_NAMESPACE") //nolint:forbidigo // the default that --help names
	}
	if o.Namespace == "" {
		o.Namespace = "holdfast-system"
	}
	if o.Cluster, err = clusterConfig(f.kubeconfig); err != nil {
		return err
	}
	if f.diagnosis != "on" && f.diagnosis != "off" {
		return fmt.Errorf("startup diagnosis %q: must be on or off", f.diagnosis)
	}
	o.Replica = replicaName()
	o.Companion = f.companion(log.WithName("diagnosis"), o)
	// Libraries log through loggers of their own, which exist once in a process.
	ctrllog.SetLogger(log)
	klog.SetLogger(log)
	if z, ok := log.GetSink().(zapr.Underlier); ok { // net/http complains of handshakes to the standard library's
		defer zap.RedirectStdLog(z.GetUnderlying())()
	}
	log.Info("starting", "version", currentVersion(), "namespace", o.Namespace, "service", o.Service, "audit", o.Audit)
	if err := webhook.Run(c.Context(), log, o); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// companion makes the diagnosis that runs beside the server.
func (f *serveFlags) companion(log logr.Logger, o webhook.Options) func(webhook.Facts) (webhook.Companion, error) {
	return func(facts webhook.Facts) (webhook.Companion, error) {
		own := diagnose.Own{Namespace: o.Namespace, Service: o.Service, Port: o.Port}
		subject, err := diagnose.Connect(o.Cluster, own, time.Now) //nolint:forbidigo // where the clock comes in
		if err != nil {
			return nil, err
		}
		subject.Catalogue = o.Configuration.Catalogue()
		subject.Server = &diagnose.Server{
			Replica: o.Replica, Certificate: facts.Certificate, CertDir: o.CertDir, Secret: o.Secret,
			Unread: facts.Unread, MeshNamespaces: o.Configuration.MeshNamespaces,
		}
		w := diagnose.NewWatch(log, subject, facts.Ready)
		w.Quiet = f.diagnosis == "off"
		return w, nil
	}
}

// replicaName is the pod's name, which is also its host's unless it shares the node's network.
func replicaName() string {
	if name := os.Getenv("POD_NAME"); name != "" { //nolint:forbidigo // as the manifests set it
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// loadConfig reads a configuration file; no name means the defaults.
func loadConfig(name string) (*config.Config, error) {
	if name == "" {
		return config.Default(), nil
	}
	data, err := os.ReadFile(name) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c, err := config.Load(data)
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", name, err)
	}
	if err := c.CheckRules(validators.Topics()); err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", name, err)
	}
	return c, nil
}

// clusterConfig finds the API server as kubectl does.
func clusterConfig(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err): // its own words name a variable that is not meant
		return nil, errors.New("find the API server: there is no kubeconfig; name one with --kubeconfig or $KUBECONFIG, or run in a pod")
	case err != nil:
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	return c, nil
}
