package kubelet_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"holdfast.dev/holdfast/diagnose"
	"holdfast.dev/holdfast/test/controlplane"
	"holdfast.dev/holdfast/test/holdfast"
)

const system = "holdfast-system"

// TestHoldfast runs the shipped Deployment, and the lines on it that diagnosis prints.
func TestHoldfast(t *testing.T) {
	s := shared
	if err := s.cluster.CreateNamespace(t.Context(), controlplane.IstioNamespace, nil); err != nil {
		t.Fatal(err)
	}
	binary, err := holdfast.Build(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	o := holdfast.Options{Binary: binary, Overlay: "cluster-wide", Node: s.node, Replicas: 2, Args: []string{"--shutdown-delay=1s"}}
	i, err := holdfast.Install(t.Context(), s.cluster, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Stop)
	for name, err := range map[string]error{
		"start": i.Start(t.Context(), o), "resume": i.Resume(t.Context(), o), "replace": i.Replace(t.Context(), o),
	} {
		if err == nil {
			t.Errorf("%s: got no error, want one: it is run as pods", name)
		}
	}
	s.healthy(t, 2)
	if page, err := i.Metrics(t.Context()); err != nil || !strings.Contains(page, "holdfast_") {
		t.Errorf("got %v and metrics of %d bytes, want some of Holdfast", err, len(page))
	}
	if got := s.run(t, "-n", system, "logs", "deploy/holdfast", "--tail=50"); !strings.Contains(got, `"probe answered"`) {
		t.Errorf("got the log\n%s\nwant the probes in it", got)
	}
	s.run(t, "-n", system, "rollout", "restart", "deploy/holdfast")
	s.run(t, "-n", system, "rollout", "status", "deploy/holdfast", "--timeout=30s")
	s.healthy(t, 2)

	t.Run("no replicas", func(t *testing.T) {
		s.run(t, "-n", system, "scale", "deploy/holdfast", "--replicas=0")
		s.endpoints(t, system, "holdfast", 0)
		s.run(t, "-n", system, "scale", "deploy/holdfast", "--replicas=1")
		s.run(t, "-n", system, "rollout", "status", "deploy/holdfast", "--timeout=30s")
		s.endpoints(t, system, "holdfast", 1)
	})
	t.Run("a Service that leads elsewhere", func(t *testing.T) {
		s.run(t, "-n", system, "patch", "service", "holdfast", "--type=json", "-p", `[{"op":"replace","path":"/spec/selector","value":{"app":"other"}}]`)
		s.endpoints(t, system, "holdfast", 0)
		s.run(t, "-n", system, "patch", "service", "holdfast", "--type=json", "-p",
			`[{"op":"replace","path":"/spec/selector","value":{"app.kubernetes.io/name":"holdfast","app.kubernetes.io/component":"webhook"}}]`)
		s.endpoints(t, system, "holdfast", 1)
	})
}

// endpoints waits until n addresses stand behind a Service.
func (s *suite) endpoints(t *testing.T, namespace, service string, n int) {
	t.Helper()
	until(t, fmt.Sprintf("%d endpoints of %s", n, service), func() error {
		got, err := s.ready(t.Context(), namespace, service)
		if err == nil && len(got) != n {
			err = fmt.Errorf("got %v", got)
		}
		return err
	})
}

// healthy asks the server in its pod, as kubectl exec does, until every probe that applies has passed.
func (s *suite) healthy(t *testing.T, replicas int) {
	t.Helper()
	s.endpoints(t, system, "holdfast", replicas)
	until(t, "a healthy Holdfast", func() error {
		out, _ := s.try(t.Context(), "", "-n", system, "exec", "deploy/holdfast", "--", "/holdfast", "diagnose", "-o", "json")
		var r diagnose.Report
		if err := json.NewDecoder(strings.NewReader(out)).Decode(&r); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		passed := 0
		for i := range r.Probes {
			switch l := &r.Probes[i]; l.State {
			case diagnose.Passed:
				passed++
			case diagnose.NotApplicable:
			default:
				return fmt.Errorf("%s is %s: %s", l.Code, l.State, l.Message)
			}
		}
		if passed < 10 {
			return fmt.Errorf("%d probes passed", passed)
		}
		return nil
	})
}

// TestIstiod runs istiod as its chart deploys it.
func TestIstiod(t *testing.T) {
	s := shared
	istiod, err := s.cluster.StartIstiod(t.Context(), controlplane.IstioOptions{Node: s.node})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.CreateNamespace(t.Context(), "meshed", map[string]string{"istio-injection": "enabled"}); err != nil {
		t.Fatal(err)
	}
	webhooks, err := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), istiod.WebhookName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := *webhooks.Webhooks[0].FailurePolicy, admissionregistrationv1.Fail; got != want {
		t.Fatalf("got failure policy %s, want %s: a stopped istiod would go unnoticed", got, want)
	}
	s.injects(t, s.client, true)
	s.run(t, "-n", "istio-system", "scale", "deploy/istiod", "--replicas=0")
	s.injects(t, s.client, false)
	s.run(t, "-n", "istio-system", "scale", "deploy/istiod", "--replicas=1")
	s.injects(t, s.client, true)
	s.run(t, "-n", "istio-system", "rollout", "restart", "deploy/istiod")
	s.run(t, "-n", "istio-system", "rollout", "status", "deploy/istiod", "--timeout=30s")
	s.injects(t, s.client, true)
	if err := istiod.Uninstall(t.Context()); err != nil {
		t.Error(err)
	}
	s.endpoints(t, "istio-system", "istiod", 0)
}

// injects waits until istiod puts its proxy into a pod, or until the API server cannot call it.
func (s *suite) injects(t *testing.T, client kubernetes.Interface, want bool) {
	t.Helper()
	until(t, fmt.Sprintf("injection: %t", want), func() error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}}}
		made, err := client.CoreV1().Pods("meshed").Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case !want && err != nil && strings.Contains(err.Error(), "failed calling webhook"):
			return nil
		case !want || err != nil:
			return fmt.Errorf("created: %w", err)
		case len(made.Spec.Containers)+len(made.Spec.InitContainers) == 1:
			return fmt.Errorf("got the pod as it was")
		}
		return nil
	})
}
