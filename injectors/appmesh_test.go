package injectors_test

import (
	"testing"

	"holdfast.dev/holdfast/injectors"
)

const appMeshAsks = "appmesh.k8s.aws/sidecarInjectorWebhook"

func TestAppMeshAsked(t *testing.T) {
	said := func(value string) map[string]string { return map[string]string{appMeshAsks: value} }
	for name, c := range map[string]struct {
		annotations, namespace map[string]string
		want                   injectors.Tri
	}{
		"nobody":                       {nil, nil, injectors.Unknown},
		"namespace":                    {nil, said("enabled"), injectors.Yes},
		"namespace, no":                {nil, said("disabled"), injectors.No},
		"pod over namespace":           {said("Enabled"), said("disabled"), injectors.Yes},
		"pod over namespace, no":       {said("disabled"), said("enabled"), injectors.No},
		"pod over namespace, any word": {said("maybe"), said("enabled"), injectors.Unknown},
	} {
		if got := injectors.AppMesh().Asked(asking(c.annotations, nil, c.namespace)); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestAppMeshMuddle(t *testing.T) {
	const addresses, written = "appmesh.k8s.aws/egressIgnoredIPs", "appmesh.k8s.aws/proxyEgressPort"
	enabled := map[string]string{appMeshAsks: "enabled"}
	for name, c := range map[string]struct {
		annotations, labels, namespace map[string]string
		want                           []string
	}{
		"clear":         {annotations: map[string]string{appMeshAsks: "disabled"}, namespace: enabled},
		"nobody called": {annotations: enabled, want: []string{"annotation " + appMeshAsks + ": enabled is on the pod, but namespace shop"}},
		"refused":       {annotations: map[string]string{appMeshAsks: "disabled"}},
		"a word":        {annotations: map[string]string{appMeshAsks: "true"}, namespace: enabled, want: []string{"annotation " + appMeshAsks + ": true says nothing"}},
		"label on the pod": {
			labels: map[string]string{appMeshAsks: "disabled"}, namespace: enabled, want: []string{"label " + appMeshAsks + "=disabled is on the pod"},
		},
		"a namespace's word": {
			namespace: map[string]string{appMeshAsks: "Enabled"}, want: []string{"label " + appMeshAsks + "=Enabled is on namespace shop"},
		},
		"addresses":       {annotations: map[string]string{addresses: "10.96.7.7"}, namespace: enabled, want: []string{"annotation " + addresses + ": 10.96.7.7 has no effect"}},
		"its own writing": {annotations: map[string]string{appMeshAsks: "enabled", addresses: "169.254.169.254", written: "15001"}, namespace: enabled},
	} {
		muddled(t, name, injectors.AppMesh().Muddle(asking(c.annotations, c.labels, c.namespace)), c.want)
	}
}
