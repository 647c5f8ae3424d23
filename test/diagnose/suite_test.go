// Package diagnose asks the probes on a real control plane with the shipped manifests and the real server: in each kind of
// installation, where the server or the API server is not there, as somebody without rights, and about a real istiod in trouble.
// What is wrong with an installation is provoked in test/repair, which also repairs it by what is printed.
package diagnose

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/test/authority"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/holdfast"
	"holdfast.dev/holdfast/test/suites"
)

// suite is what the tests share: a control plane, and Holdfast in it.
type suite struct {
	cluster      *controlplane.Cluster
	client       *kubernetes.Clientset
	installation *holdfast.Installation
	binary       string
	ca           *authority.Authority
	certificates string // the server's --cert-dir
}

var shared *suite

func TestMain(m *testing.M) {
	os.Exit(suites.Main(m, suites.Options{Name: "diagnose", Needs: "a Service that leads somewhere"}, start))
}

func start(ctx context.Context, base *suites.Suite) (err error) {
	s := &suite{cluster: base.Cluster, client: base.Client}
	if s.binary, err = holdfast.Build(ctx, base.Dir); err != nil {
		return err
	}
	for name, labels := range map[string]map[string]string{"shop": {"holdfast.dev/mode": "enforce"}, "istio-system": nil} {
		if err := s.cluster.CreateNamespace(ctx, name, labels); err != nil {
			return err
		}
	}
	if s.certificates, err = os.MkdirTemp(base.Dir, "certificate-"); err != nil {
		return err
	}
	if s.ca, err = authority.New("our CA"); err != nil {
		return err
	}
	if err := s.certify(host, time.Now().Add(-time.Hour), time.Now().AddDate(0, 3, 0)); err != nil {
		return err
	}
	if s.installation, err = holdfast.Install(ctx, s.cluster, s.options()); err != nil {
		return err
	}
	base.Cleanup(s.installation.Stop)
	shared = s
	return nil
}

const (
	// host is what the API server calls.
	host = "holdfast.holdfast-system.svc"
	ns   = "holdfast-system"
)

// certify gives the server another certificate.
func (s *suite) certify(name string, from, until time.Time) error {
	p, err := s.ca.Issue(name, from, until)
	if err != nil {
		return err
	}
	return p.Write(s.certificates)
}

// options are those of an installation with a certificate of the user's own: what Holdfast makes itself it also mends itself.
func (s *suite) options() holdfast.Options {
	return holdfast.Options{
		Binary: s.binary, Overlay: "cluster-wide", Args: []string{"--cert-dir=" + s.certificates},
		Edit: func(objects []*unstructured.Unstructured) {
			for _, o := range objects {
				entries, ok, _ := unstructured.NestedSlice(o.Object, "webhooks")
				if !ok {
					continue
				}
				for _, e := range entries {
					e.(map[string]any)["clientConfig"].(map[string]any)["caBundle"] = base64.StdEncoding.EncodeToString(s.ca.Bundle())
				}
				_ = unstructured.SetNestedSlice(o.Object, entries, "webhooks")
			}
		},
	}
}

// diagnose runs the command as an administrator does, on another machine than the server's.
func (s *suite) diagnose(t *testing.T, args ...string) *diagnose.Report {
	t.Helper()
	out, _, err := s.command(t.Context(), append([]string{"-o", "json"}, args...)...)
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatal(err)
	}
	var r diagnose.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return &r
}

func (s *suite) command(ctx context.Context, args ...string) (stdout, stderr []byte, err error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, s.binary, append([]string{"diagnose", "--kubeconfig", s.cluster.Kubeconfig(), "--server", s.installation.Server()}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("%w: %s", err, errs.Bytes())
	}
	return out.Bytes(), errs.Bytes(), err
}

// asked is what the server itself says.
func (s *suite) asked(t *testing.T) *diagnose.Report {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.installation.Server()+"/diagnosis?fresh", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var r diagnose.Report
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return &r
}

// causes are the codes of what is not in order, and not skipped because of something else.
func causes(r *diagnose.Report) []string {
	var out []string
	for i := range r.Probes {
		switch l := &r.Probes[i]; l.State {
		case diagnose.Failed, diagnose.Warning, diagnose.Unknown:
			if l.Object != "" { // of injectors
				continue
			}
			out = append(out, l.Code+" "+string(l.State))
		case diagnose.Passed, diagnose.NotApplicable, diagnose.Skipped:
		}
	}
	return out
}

func line(r *diagnose.Report, code string) *diagnose.Line {
	for i := range r.Probes {
		if r.Probes[i].Code == code {
			return &r.Probes[i]
		}
	}
	return &diagnose.Line{}
}

func text(r *diagnose.Report) string {
	var b strings.Builder
	for i := range r.Probes {
		l := &r.Probes[i]
		fmt.Fprintf(&b, "%s %-20s %-14s %s\n", l.Code, l.Name, l.State, l.Message)
		if l.Fix != "" {
			fmt.Fprintf(&b, "        %s\n", strings.ReplaceAll(l.Fix, "\n", "\n        "))
		}
	}
	return b.String()
}

// settle asks until the causes are the wanted ones; the API server and the informers need a moment to learn of a change.
func settle(t *testing.T, who string, ask func(*testing.T) *diagnose.Report, want ...string) *diagnose.Report {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		r := ask(t)
		got := causes(r)
		if slices.Equal(got, want) {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: got %v, want %v\n%s", who, got, want, text(r))
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// healthy waits until nothing is wrong any more.
func (s *suite) healthy(t *testing.T) *diagnose.Report {
	t.Helper()
	r := settle(t, "holdfast diagnose", func(t *testing.T) *diagnose.Report { t.Helper(); return s.diagnose(t) })
	return r
}

// mend puts back what was installed.
func (s *suite) mend(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := s.certify(host, time.Now().Add(-time.Hour), time.Now().AddDate(0, 3, 0)); err != nil {
		t.Error(err)
	}
	if err := s.cluster.ApplyObjects(ctx, s.installation.Objects()); err != nil {
		t.Error(err)
	}
	if err := s.cluster.Expose(ctx, ns, s.installation.Service(), s.installation.Host().Addr(), map[string]int32{"https": 9443}); err != nil {
		t.Error(err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
