package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/test/kernel"
)

// pod has the given init containers and containers; a star marks a native sidecar.
func pod(annotations map[string]string, inits, mains []string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	for _, name := range inits {
		c := corev1.Container{Name: name}
		if name == "istio-proxy*" {
			always := corev1.ContainerRestartPolicyAlways
			c = corev1.Container{Name: "istio-proxy", RestartPolicy: &always}
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
	for _, name := range mains {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name})
	}
	return p
}

func TestTables(t *testing.T) {
	t.Parallel()
	was := shapeOf(pod(map[string]string{"role": "web", "same": "same"}, []string{"migrate", "istio-init", "vault"}, []string{"app", "istio-proxy"}))
	was.measured([]kernel.Result{
		{Container: "migrate", Verdict: kernel.Direct},
		{Container: "vault", Verdict: kernel.Refused},
	})
	got := shapeOf(pod(map[string]string{"role": "other", "same": "same", "new": "1"}, []string{"migrate", "vault", "istio-init"}, []string{"istio-proxy", "app", "late"}))
	got.measured([]kernel.Result{{Container: "app", Verdict: kernel.Proxied}})

	var out bytes.Buffer
	p := page{out: &out}
	p.tables(was, got)
	p.additions("nothing", added(was.annotations, was.annotations))
	p.additions("added to the pod", added(got.annotations, was.annotations))
	want := `
          without Holdfast                  as admitted
  init 1  migrate             direct        migrate
  init 2  istio-init                        vault                             <- was 3
  init 3  vault               REFUSED       istio-init
  main 1  app                               istio-proxy                       <- was 2
  main 2  istio-proxy                       app                 by proxy
  main 3                                    late

  added to the pod
          new: 1
          role: other
`
	if diff := cmp.Diff(out.String(), want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

func TestOrderMarksNativeSidecars(t *testing.T) {
	t.Parallel()
	s := shapeOf(pod(nil, []string{"istio-proxy*", "migrate"}, []string{"app"}))
	s.measured([]kernel.Result{{Container: "istio-proxy", Verdict: kernel.Proxied}})
	if got, want := s.order(), "istio-proxy*, migrate | app"; got != want {
		t.Errorf("order: got %q, want %q", got, want)
	}
	if got, want := s.reached("istio-proxy*"), "by proxy"; got != want {
		t.Errorf("reached: got %q, want %q", got, want)
	}
}

func TestTableWithoutMeasurement(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := page{out: &out}
	p.table(shapeOf(pod(nil, nil, []string{"app"})))
	want := `
          container
  main 1  app
`
	if diff := cmp.Diff(out.String(), want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}
