package injectors_test

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
)

func TestIstioAsked(t *testing.T) {
	const (
		inject, rev, on, off = "sidecar.istio.io/inject", "istio.io/rev", "istio-injection=enabled", "istio-injection=disabled"
		ambient              = "istio.io/dataplane-mode=ambient"
	)
	for name, c := range map[string]struct {
		pod, namespace string
		want           injectors.Tri
		muddle         []string
	}{
		"nobody":                     {want: injectors.Unknown},
		"the namespace":              {namespace: on, want: injectors.Yes},
		"the namespace, no":          {namespace: off, want: injectors.No},
		"the namespace's revision":   {namespace: rev + "=canary", want: injectors.Yes},
		"the pod":                    {pod: inject + "=true", want: injectors.Yes},
		"the pod's revision":         {pod: rev + "=canary", want: injectors.Yes},
		"the pod, no":                {pod: inject + "=false", namespace: on, want: injectors.No},
		"the pod's annotation, no":   {pod: inject + ":false", namespace: on, want: injectors.No},
		"the annotation as well":     {pod: inject + ":true", namespace: on, want: injectors.Yes},
		"the same revision twice":    {pod: rev + "=canary", namespace: rev + "=canary", want: injectors.Yes},
		"ambient":                    {namespace: ambient, want: injectors.Unknown},
		"ambient, and the pod is no": {pod: inject + "=false", namespace: ambient + " " + on, want: injectors.No},
		"ambient, not for the pod":   {pod: "istio.io/dataplane-mode=none", namespace: ambient + " " + on, want: injectors.Yes},
		"both labels": {
			namespace: on + " " + rev + "=canary", want: injectors.Yes,
			muddle: []string{"labels istio-injection=enabled and istio.io/rev=canary are on namespace shop: the revision does not count"},
		},
		"the pod in a namespace that declines": {
			pod: inject + "=true", namespace: off, want: injectors.Yes,
			muddle: []string{"label sidecar.istio.io/inject=true on the pod has no effect: istio-injection=disabled on namespace shop keeps every webhook away"},
		},
		"an annotation alone": {
			pod: inject + ":true", want: injectors.Yes,
			muddle: []string{"annotation sidecar.istio.io/inject=true selects no webhook: nothing is injected"},
		},
		"a revision under istio-injection": {
			pod: rev + "=canary", namespace: on, want: injectors.Yes,
			muddle: []string{"label istio.io/rev=canary on the pod has no effect: istio-injection=enabled on namespace shop goes over it"},
		},
		"a revision under another": {
			pod: rev + "=canary", namespace: rev + "=prod", want: injectors.Yes,
			muddle: []string{"label istio.io/rev=canary on the pod has no effect: istio.io/rev=prod on namespace shop goes over it"},
		},
		"a value that is none": {
			namespace: "istio-injection=true", want: injectors.Unknown,
			muddle: []string{"label istio-injection=true on namespace shop is neither enabled nor disabled: nothing is injected"},
		},
		"ambient and a sidecar": {
			namespace: ambient + " " + on, want: injectors.Yes,
			muddle: []string{"label istio.io/dataplane-mode=ambient on namespace shop has no effect: the pod gets a sidecar"},
		},
		"ambient and a sidecar, on the pod": {
			pod: ambient + " " + inject + "=true", want: injectors.Yes,
			muddle: []string{"label istio.io/dataplane-mode=ambient on the pod has no effect: the pod gets a sidecar"},
		},
	} {
		t.Run(name, func(t *testing.T) { asks(t, injectors.Istio(), wordsOf(c.pod, c.namespace), c.want, c.muddle) })
	}
}

func TestIstioServerFirst(t *testing.T) {
	for port, want := range map[uint16]injectors.Tri{25: injectors.Yes, 3306: injectors.Yes, 27017: injectors.Yes, 5432: injectors.Unknown, 8080: injectors.Unknown} {
		if got := injectors.Istio().ServerFirst(nil, port); got != want {
			t.Errorf("port %d: got %s, want %s", port, got, want)
		}
	}
}

// TestIstioInbound reads what others reach only through the proxy: in the arguments, or under CNI in the annotations.
func TestIstioInbound(t *testing.T) {
	const traffic = "traffic.sidecar.istio.io/"
	for name, c := range map[string]struct {
		init        corev1.Container
		annotations map[string]string
		open, taken []uint16
	}{
		"usual":          {init: corev1.Container{Name: "istio-init", Args: []string{"-b", "*", "-d", "15090,15021,15020"}}, open: []uint16{15020, 15021, 15090}, taken: []uint16{80, 9443}},
		"excluded":       {init: corev1.Container{Name: "istio-init", Args: []string{"-b", "*", "-d", "15090,9443"}}, open: []uint16{9443}, taken: []uint16{80}},
		"listed":         {init: corev1.Container{Name: "istio-init", Args: []string{"-b", "80", "-d", ""}}, open: []uint16{9443}, taken: []uint16{80}},
		"nothing":        {init: corev1.Container{Name: "istio-init", Args: []string{"-b", "", "-d", ""}}, open: []uint16{80}},
		"late":           {init: corev1.Container{Name: "istio-init", Args: []string{"-b", "*", "-d", ""}}, annotations: map[string]string{traffic + "excludeInboundPorts": "9443"}, taken: []uint16{9443}},
		"CNI":            {init: corev1.Container{Name: "istio-validation"}, open: []uint16{15020, 15021, 15090}, taken: []uint16{80}},
		"CNI, excluded":  {init: corev1.Container{Name: "istio-validation"}, annotations: map[string]string{traffic + "excludeInboundPorts": "9443"}, open: []uint16{9443, 15021}, taken: []uint16{80}},
		"CNI, none":      {init: corev1.Container{Name: "istio-validation"}, annotations: map[string]string{traffic + "includeInboundPorts": ""}, open: []uint16{80}},
		"CNI, not asked": {init: corev1.Container{Name: "istio-validation"}, annotations: map[string]string{"sidecar.istio.io/inject": "false"}, open: []uint16{80}},
	} {
		t.Run(name, func(t *testing.T) {
			annotations := map[string]string{"sidecar.istio.io/status": "{}"}
			maps.Copy(annotations, c.annotations)
			takes(t, observed(injectors.Istio(), annotations, c.init, corev1.Container{Name: "istio-proxy"}), c.open, c.taken)
		})
	}
}
