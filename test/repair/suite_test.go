package repair

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/test/authority"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/holdfast"
	"holdfast.dev/holdfast/test/kubelet"
	"holdfast.dev/holdfast/test/suites"
)

const (
	ns     = "holdfast-system"
	host   = "holdfast.holdfast-system.svc" // what the API server calls
	secret = "holdfast-serving"             // of the certificate, mounted at certDir
	// certDir is where the cert-manager component mounts it as well.
	certDir = "/var/run/holdfast/cert"
	// patience is how long anything may take that the API server, the controllers and the node have to learn of.
	patience = 60 * time.Second
)

// suite is what the tests share: a control plane with a node, istiod, and Holdfast with a certificate of the user's own.
type suite struct {
	cluster      *controlplane.Cluster
	client       *kubernetes.Clientset
	node         *kubelet.Kubelet
	istiod       *controlplane.Istiod
	installation *holdfast.Installation
	binary       string
	certManager  controlplane.CertManagerBinaries
	ca           *authority.Authority
	programs     string // a folder with kubectl and holdfast
	handed       int    // faults that somebody was given to repair by hand
	// restore puts back where the certificate comes from.
	restore func(context.Context) error
}

var shared *suite

var hand = flag.String("hand", "", "write reports to this folder, and wait for somebody who repairs by hand")

func TestMain(m *testing.M) {
	os.Exit(suites.Main(m, suites.Options{Name: "repair", Needs: "network namespaces"}, start))
}

func start(ctx context.Context, base *suites.Suite) (err error) {
	s := &suite{cluster: base.Cluster, client: base.Client}
	if s.binary, err = holdfast.Build(ctx, base.Dir); err != nil {
		return err
	}
	if s.certManager, err = controlplane.BuildCertManager(ctx, os.Stderr); err != nil {
		return err
	}
	if s.programs, err = tools(base.Dir, map[string]string{"kubectl": base.Binaries.Kubectl, "holdfast": s.binary}); err != nil {
		return err
	}
	if s.node, err = kubelet.Start(ctx, kubelet.Options{Cluster: s.cluster, Log: os.Stderr}); err != nil {
		return err
	}
	base.Cleanup(s.node.Stop)
	for name, labels := range map[string]map[string]string{
		ns: nil, "shop": {"holdfast.dev/mode": "enforce"}, "meshed": {"istio-injection": "enabled"},
	} {
		if err := s.cluster.CreateNamespace(ctx, name, labels); err != nil {
			return err
		}
	}
	if s.istiod, err = s.cluster.StartIstiod(ctx, controlplane.IstioOptions{Node: s.node}); err != nil {
		return err
	}
	if s.ca, err = authority.New("our CA"); err != nil {
		return err
	}
	s.restore = func(ctx context.Context) error {
		return s.certify(ctx, s.ca, host, time.Now().Add(-time.Hour), time.Now().AddDate(0, 3, 0))
	}
	if err := s.restore(ctx); err != nil {
		return err
	}
	base.Cleanup(func() {
		if s.installation != nil {
			s.installation.Stop()
		}
	})
	shared = s
	return s.install(ctx, holdfast.Options{Args: []string{"--cert-dir=" + certDir}, Edit: s.edit})
}

// install installs Holdfast as all tests have it, with what the options say of its certificate.
func (s *suite) install(ctx context.Context, o holdfast.Options) (err error) {
	o.Binary, o.Overlay, o.Node, o.Replicas, o.Args = s.binary, "cluster-wide", s.node, 2, append(o.Args, "--shutdown-delay=1s")
	s.installation, err = holdfast.Install(ctx, s.cluster, o)
	return err
}

// edit gives the installation a certificate of the user's own, in a Secret: what Holdfast makes itself it also mends itself.
func (s *suite) edit(objects []*unstructured.Unstructured) {
	for _, o := range objects {
		if entries, ok, _ := unstructured.NestedSlice(o.Object, "webhooks"); ok {
			for _, e := range entries {
				e.(map[string]any)["clientConfig"].(map[string]any)["caBundle"] = base64.StdEncoding.EncodeToString(s.ca.Bundle())
			}
			_ = unstructured.SetNestedSlice(o.Object, entries, "webhooks")
		}
		if o.GetKind() != "Deployment" {
			continue
		}
		spec := o.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
		spec["volumes"] = append(spec["volumes"].([]any), map[string]any{"name": "cert", "secret": map[string]any{"secretName": secret}})
		container := spec["containers"].([]any)[0].(map[string]any)
		container["volumeMounts"] = append(container["volumeMounts"].([]any), map[string]any{"name": "cert", "mountPath": certDir, "readOnly": true})
	}
}

// certify writes another certificate into the Secret.
func (s *suite) certify(ctx context.Context, ca *authority.Authority, name string, from, until time.Time) error {
	p, err := ca.Issue(name, from, until)
	if err != nil {
		return err
	}
	return s.store(ctx, map[string][]byte{"tls.crt": p.Certificate, "tls.key": p.Key, "ca.crt": ca.Bundle()})
}

// store writes the Secret, whether it is there or not.
func (s *suite) store(ctx context.Context, data map[string][]byte) error {
	secrets := s.client.CoreV1().Secrets(ns)
	object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret, Namespace: ns}, Type: corev1.SecretTypeTLS, Data: data}
	_, err := secrets.Update(ctx, object, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(ctx, object, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write the Secret of the certificate: %w", err)
	}
	return nil
}

// command runs holdfast as an administrator does, on another machine, with nothing but a kubeconfig.
func (s *suite) command(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.binary, append([]string{"diagnose", "--kubeconfig", s.cluster.Kubeconfig()}, args...)...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		return out, nil
	} else if errors.As(err, &exit) {
		return nil, fmt.Errorf("holdfast diagnose: %w: %s", err, exit.Stderr)
	}
	return out, err
}

func (s *suite) diagnose(t *testing.T) *diagnose.Report {
	t.Helper()
	out, err := s.command(t.Context(), "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, out)
}

func decode(t *testing.T, out []byte) *diagnose.Report {
	t.Helper()
	var r diagnose.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return &r
}

// causes are "CODE state" of what is not in order, and not skipped because of something else; with the object, where it is not
// ourselves.
func causes(r *diagnose.Report) []string {
	var out []string
	for i := range r.Probes {
		l := &r.Probes[i]
		switch l.State {
		case diagnose.Failed, diagnose.Warning, diagnose.Unknown:
			_, name, _ := strings.Cut(l.Object, "/")
			out = append(out, strings.TrimSpace(l.Code+" "+string(l.State)+" "+name))
		case diagnose.Passed, diagnose.NotApplicable, diagnose.Skipped:
		}
	}
	return out
}

// settle asks until the causes are the wanted ones.
func (s *suite) settle(t *testing.T, want ...string) *diagnose.Report {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		r := s.diagnose(t)
		got := causes(r)
		if slices.Equal(got, want) {
			return r
		}
		if time.Now().After(deadline) {
			var b strings.Builder
			_ = r.Print(&b)
			t.Fatalf("got %v, want %v\n%s", got, want, b.String())
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// line returns the answer to a probe about an object of that name, or about ourselves ("").
func line(r *diagnose.Report, code, name string) *diagnose.Line {
	for i := range r.Probes {
		l := &r.Probes[i]
		if _, of, _ := strings.Cut(l.Object, "/"); l.Code == code && of == name {
			return l
		}
	}
	return &diagnose.Line{}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tools makes a folder with the programs that people have at hand.
func tools(dir string, programs map[string]string) (string, error) {
	path := filepath.Join(dir, "programs")
	if err := os.Mkdir(path, 0o755); err != nil {
		return "", fmt.Errorf("make a folder for programs: %w", err)
	}
	for name, target := range programs {
		if err := os.Symlink(target, filepath.Join(path, name)); err != nil {
			return "", fmt.Errorf("link %s: %w", name, err)
		}
	}
	return path, nil
}
