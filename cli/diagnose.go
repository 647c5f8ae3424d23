package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/webhook"
)

// diagnoseFlags are the flags of diagnose.
type diagnoseFlags struct {
	kubeconfig, config string
	namespace, service string
	server             string
	connect            []string
	output, failOn     string
	wait               bool
	timeout            time.Duration
}

func newDiagnose() *cobra.Command {
	f := &diagnoseFlags{}
	c := &cobra.Command{
		Use:   "diagnose",
		Short: "Asks whether the API server reaches Holdfast and the injectors, hop by hop",
		Long: `Asks the probes (HF2xx): whether the API server reaches Holdfast, and each injector that is registered in the cluster, and if
not, where the way ends and what to do. The first probe that fails is the cause; what would fail because of it is skipped.

It runs anywhere with a kubeconfig, with the caller's own rights, or inside a pod. What only the server can know it reads from
the server's own report, through the API server (the right: get pods/proxy) or from --server. It creates nothing but dry runs.

Ends with 0 when nothing failed, 1 when something did, 2 when the probes could not be asked.`,
		Example: `  holdfast diagnose
  kubectl -n holdfast-system exec deploy/holdfast -- /holdfast diagnose

  # after an installation, in a pipeline
  holdfast diagnose --wait --timeout 3m -o junit > diagnosis.xml

  # where a firewall keeps the API server from the pods, and so from the server's report too
  kubectl -n holdfast-system port-forward deploy/holdfast 8080 &
  holdfast diagnose --server http://localhost:8080

  # can a control plane be reached from here?
  holdfast diagnose --connect istiod.istio-system.svc:15012`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flags := c.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file; empty: $KUBECONFIG, ~/.kube/config, or the pod's service account")
	flags.StringVar(&f.config, "config", "", "configuration file, for injectors that it describes; empty: the defaults")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of Holdfast (default: where its webhook configurations lead)")
	flags.StringVar(&f.service, "service-name", "", "Service of Holdfast (default: the one that its webhook configurations call)")
	flags.StringVar(&f.server, "server", "", "where the server answers /diagnosis, such as http://localhost:8080 (default: through the API server)")
	flags.StringSliceVar(&f.connect, "connect", nil, "HOST:PORT to connect to from here; may be repeated")
	flags.StringVarP(&f.output, "output", "o", "text", "how to print: "+strings.Join(diagnose.Formats(), ", "))
	flags.StringVar(&f.failOn, "fail-on", report.Error.String(), "what ends with 1: error (a probe failed) or warning (or warns, or is unknown)")
	flags.BoolVar(&f.wait, "wait", false, "ask again until nothing fails, or --timeout")
	flags.DurationVar(&f.timeout, "timeout", 2*time.Minute, "how long --wait waits")
	return c
}

// pause is between two rounds of --wait.
const pause = 3 * time.Second

func (f *diagnoseFlags) run(c *cobra.Command) error {
	if !slices.Contains(diagnose.Formats(), f.output) {
		return usage(c, fmt.Errorf("output %q: must be one of %s", f.output, strings.Join(diagnose.Formats(), ", ")))
	}
	worst, err := report.ParseSeverity(f.failOn)
	if err != nil || worst < report.Warning {
		return usage(c, fmt.Errorf("fail-on %q: must be error or warning", f.failOn))
	}
	subject, err := f.subject(c.Context())
	if err != nil {
		return err
	}
	r, err := f.ask(c, subject)
	if err != nil {
		return err
	}
	if err := r.Write(c.OutOrStdout(), f.output); err != nil {
		return err
	}
	bad := r.Counts[diagnose.Failed]
	if worst == report.Warning {
		bad += r.Counts[diagnose.Warning] + r.Counts[diagnose.Unknown]
	}
	if bad > 0 {
		return errFound
	}
	return nil
}

// ask asks once, or with --wait until nothing fails.
func (f *diagnoseFlags) ask(c *cobra.Command, subject *diagnose.Subject) (*diagnose.Report, error) {
	began, said := time.Now(), "" //nolint:forbidigo // how long somebody is willing to wait
	for {
		r := diagnose.Run(c.Context(), subject)
		if err := c.Context().Err(); err != nil {
			return nil, fmt.Errorf("diagnose: %w", err)
		}
		if !f.wait || settled(r) || time.Since(began)+pause > f.timeout {
			return r, nil
		}
		for i := range r.Probes {
			l := &r.Probes[i]
			if l.State != diagnose.Failed && l.State != diagnose.Unknown {
				continue
			}
			if now := l.Code + " " + l.Name + ": " + l.Message; now != said {
				said = now
				fmt.Fprintln(c.ErrOrStderr(), "waiting:", now)
			}
			break
		}
		t := time.NewTimer(pause)
		select {
		case <-c.Context().Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// settled tells that waiting would change nothing: nothing fails, and what is unknown is so for want of a right.
func settled(r *diagnose.Report) bool {
	return r.OK && !slices.ContainsFunc(r.Probes, func(l diagnose.Line) bool {
		return l.State == diagnose.Unknown && !strings.HasPrefix(l.Message, diagnose.RightMissing)
	})
}

// subject is the cluster that the flags name, and the installation in it.
func (f *diagnoseFlags) subject(ctx context.Context) (*diagnose.Subject, error) {
	configuration, err := loadConfig(f.config)
	if err != nil {
		return nil, err
	}
	cluster, err := clusterConfig(f.kubeconfig)
	if err != nil {
		return nil, err
	}
	began := time.Now() //nolint:forbidigo // how long somebody has waited
	cluster.UserAgent = "holdfast-diagnose/" + currentVersion()
	own := diagnose.Own{Namespace: ownNamespace(cluster, f.namespace), Service: f.service}
	s, err := diagnose.Connect(cluster, own, time.Now) //nolint:forbidigo // where the clock comes in
	if err != nil {
		return nil, err
	}
	s.Catalogue, s.Connect = configuration.Catalogue(), f.connect
	if !inside(cluster) || s.MayCreatePods(ctx) {
		s.AsCaller(cluster)
	}
	if s.Own, err = s.Locate(ctx); err != nil {
		return nil, err
	}
	s.ServerReport, s.ThroughAPI = s.ReportOfPods, true
	if f.server != "" {
		s.ServerReport = func(ctx context.Context) (*diagnose.Report, error) { return fetchReport(ctx, f.server) }
		s.ThroughAPI = false
	} else if inside(cluster) {
		s.ServerReport = func(ctx context.Context) (*diagnose.Report, error) {
			if r, err := fetchReport(ctx, "http://localhost:8080"); err == nil {
				return r, nil
			}
			return s.ReportOfPods(ctx)
		}
	}
	s.Spent = time.Since(began)
	return s, nil
}

// ownNamespace is the one that a flag names, else, in a pod of Holdfast's, the pod's.
func ownNamespace(c *rest.Config, flag string) string {
	if flag != "" || !inside(c) {
		return flag
	}
	return os.Getenv("POD_NAMESPACE") //nolint:forbidigo // the manifests set it, for serve too
}

// inside tells whether the command runs in a pod, with its service account.
func inside(c *rest.Config) bool {
	return c.BearerTokenFile != "" && os.Getenv("KUBERNETES_SERVICE_HOST") != "" //nolint:forbidigo // client-go looks there as well
}

// fetchReport reads what a server answers.
func fetchReport(ctx context.Context, server string) (*diagnose.Report, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(server, "/")+webhook.DiagnosisPath+"?fresh", http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	const most = 4 << 20
	body, err := io.ReadAll(io.LimitReader(res.Body, most))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(server + ": " + res.Status + ": " + strings.TrimSpace(string(body)))
	}
	r, err := diagnose.DecodeReport(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", server, err)
	}
	return r, nil
}
