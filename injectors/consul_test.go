package injectors_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/injectors"
)

// TestConsulOwns holds that the entry's name counts, and that each Service has settings of its own.
func TestConsulOwns(t *testing.T) {
	for name, c := range map[string]struct {
		hook injectors.Hook
		want bool
	}{
		"global.name":     {injectors.Hook{Name: "consul-connect-injector.consul.hashicorp.com", Service: "consul/consul-connect-injector"}, true},
		"a release":       {injectors.Hook{Name: "prod-consul-connect-injector.consul.hashicorp.com", Service: "mesh/prod-consul-connect-injector"}, true},
		"its own objects": {injectors.Hook{Name: "consul-mutate-peeringdialers.consul.hashicorp.com"}, false},
		"another's":       {injectors.Hook{Configuration: "consul-connect-injector", Name: "pods.example.com"}, false},
	} {
		service, got := injectors.Consul().Owns(&c.hook)
		if got != c.want || got && service != c.hook.Service {
			t.Errorf("%s: got %q, %v, want %q, %v", name, service, got, c.hook.Service, c.want)
		}
	}
}

func TestConsulAsked(t *testing.T) {
	const key = "consul.hashicorp.com/connect-inject"
	for value, want := range map[string]injectors.Tri{"true": injectors.Yes, "1": injectors.Yes, "false": injectors.No, "yes": injectors.No} {
		if got := injectors.Consul().Asked(asking(map[string]string{key: value}, nil, nil)); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
	if got := injectors.Consul().Asked(asking(nil, map[string]string{key: "true"}, map[string]string{key: "true"})); got != injectors.Unknown {
		t.Errorf("labels: got %v, want unknown: nobody reads them", got)
	}
}

func TestConsulMuddle(t *testing.T) {
	const inject, transparent, service = "consul.hashicorp.com/connect-inject", "consul.hashicorp.com/transparent-proxy", "consul.hashicorp.com/connect-service"
	for name, c := range map[string]struct {
		annotations, labels, namespace map[string]string
		want                           []string
	}{
		"clear":                  {annotations: map[string]string{inject: "true", transparent: "true"}, namespace: map[string]string{transparent: "false"}},
		"label on the pod":       {labels: map[string]string{inject: "true"}, want: []string{"label " + inject + "=true is on the pod"}},
		"label on the namespace": {namespace: map[string]string{inject: "true"}, want: []string{"label " + inject + "=true is on namespace shop"}},
		"label and annotation":   {annotations: map[string]string{inject: "true"}, labels: map[string]string{inject: "true"}},
		"redirect by label":      {labels: map[string]string{transparent: "false"}, want: []string{"label " + transparent + "=false is on the pod"}},
		"several services": {
			annotations: map[string]string{inject: "true", service: "web,admin"}, namespace: map[string]string{transparent: "true"},
			want: []string{"annotation " + service + " names several services"},
		},
		"several services without": {annotations: map[string]string{inject: "true", service: "web,admin", transparent: "false"}},
	} {
		muddled(t, name, injectors.Consul().Muddle(asking(c.annotations, c.labels, c.namespace)), c.want)
	}
}

// TestConsulLists holds what breaks the redirect when the pod starts, and what does not.
func TestConsulLists(t *testing.T) {
	consul := injectors.Consul()
	for _, c := range []struct {
		means       injectors.Meaning
		good, wrong []string
	}{
		{
			injectors.ExcludeUIDs,
			[]string{"100", "0", "100,200-210", "100, 200"},
			[]string{"", "100,", "100 ,200", "vault", "-1", "210-200"},
		},
		{
			injectors.ExcludeCIDRs,
			[]string{"10.96.7.7", "10.96.7.7/32,2001:db8::/64", "10.96.7.7/24", " 10.96.7.7"},
			[]string{"", "10.96.7.7/32,", "10.96.7.7 ", "vault.vault.svc", "10.96.7.7/33", "*"},
		},
		{
			injectors.ExcludePorts,
			[]string{"8200", "8200,8000:8010", "1024:", "ssh", "8200, 22"},
			[]string{"", "8200,,22", "8200 ,22", "70000", "8000-8010", "*"},
		},
	} {
		a := consul.Annotation(c.means)
		for _, value := range c.good {
			if err := a.Check(value); err != nil {
				t.Errorf("%s: %q: got %v, want nothing wrong", a.Key, value, err)
			}
		}
		for _, value := range c.wrong {
			if a.Check(value) == nil {
				t.Errorf("%s: %q: got nothing wrong, want an error", a.Key, value)
			}
		}
		if a.Denied {
			t.Errorf("%s: got a pod denied over it, want that nothing checks it", a.Key)
		}
	}
}

// asking returns a pod with these annotations and labels, in namespace shop with these labels.
func asking(annotations, labels, namespace map[string]string) *injectors.Target {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: annotations, Labels: labels}}
	return injectors.PodTarget(pod, &injectors.Namespace{Name: "shop", Labels: namespace})
}

// muddled compares the beginnings of what is found, and wants a way out of each.
func muddled(t *testing.T, name string, got []injectors.Muddle, want []string) {
	t.Helper()
	var begin []string
	for i, m := range got {
		if i < len(want) && strings.HasPrefix(m.What, want[i]) {
			begin = append(begin, want[i])
		} else {
			begin = append(begin, m.What)
		}
		if m.Fix == "" {
			t.Errorf("%s: %s: got no way out", name, m.What)
		}
		if n := len(m.What) + len(m.Fix); n > 220 {
			t.Errorf("%s: %s %s: got %d bytes, want room for the pod's name in 256", name, m.What, m.Fix, n)
		}
	}
	if diff := cmp.Diff(want, begin); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
