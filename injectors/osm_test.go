package injectors_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/injectors"
)

const osmInject = "openservicemesh.io/sidecar-injection"

func TestOSMAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pod, namespace map[string]string
		want           injectors.Tri
	}{
		"nobody":                     {want: injectors.Unknown},
		"the pod":                    {pod: map[string]string{osmInject: "YES"}, want: injectors.Yes},
		"the namespace":              {namespace: map[string]string{osmInject: "enabled"}, want: injectors.Yes},
		"the pod declines":           {pod: map[string]string{osmInject: "false"}, namespace: map[string]string{osmInject: "true"}, want: injectors.No},
		"the namespace declines":     {namespace: map[string]string{osmInject: "no"}, want: injectors.No},
		"the pod alone asks":         {pod: map[string]string{osmInject: "true"}, namespace: map[string]string{osmInject: "no"}, want: injectors.Yes},
		"an empty value":             {pod: map[string]string{osmInject: ""}, namespace: map[string]string{osmInject: "true"}, want: injectors.Unknown},
		"another value of namespace": {pod: map[string]string{osmInject: "true"}, namespace: map[string]string{osmInject: "on"}, want: injectors.Unknown},
	} {
		if got := injectors.OSM().Asked(metaTarget(c.pod, nil, c.namespace, nil)); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestOSMMuddle(t *testing.T) {
	t.Parallel()
	on := map[string]string{osmInject: "enabled"}
	selector, err := labels.Parse("openservicemesh.io/monitored-by=prod,!openservicemesh.io/ignore")
	if err != nil {
		t.Fatal(err)
	}
	named := metaTarget(on, nil, nil, nil)
	named.Namespace.Registered = []*injectors.Hook{{Name: "other", Namespaces: labels.Everything()}, {Name: "osm-inject.k8s.io", Namespaces: selector}}
	monitored := map[string]string{"openservicemesh.io/monitored-by": "osm"}
	for name, c := range map[string]struct {
		target *injectors.Target
		want   []injectors.Muddle
	}{
		"nothing":  {target: metaTarget(nil, nil, nil, nil)},
		"in order": {target: metaTarget(on, nil, nil, monitored)},
		"another value": {metaTarget(map[string]string{osmInject: "on"}, nil, nil, monitored), []injectors.Muddle{{
			What: `annotation openservicemesh.io/sidecar-injection: "on" on the pod is neither enabled nor disabled: Open Service Mesh denies the pod`,
			Fix:  `Write openservicemesh.io/sidecar-injection: "enabled"`,
		}}},
		"by label": {metaTarget(nil, on, nil, monitored), []injectors.Muddle{{
			What: "label openservicemesh.io/sidecar-injection is on the pod, and Open Service Mesh reads an annotation of that name",
			Fix:  `Annotate the pod: openservicemesh.io/sidecar-injection: "enabled"`,
		}}},
		"not monitored": {metaTarget(nil, nil, on, nil), []injectors.Muddle{{
			What: "annotation openservicemesh.io/sidecar-injection asks for a proxy, but namespace shop has no label openservicemesh.io/monitored-by: no webhook is called",
			Fix:  "kubectl label namespace shop openservicemesh.io/monitored-by=osm", Away: true,
		}}},
		"not monitored by a mesh of another name": {named, []injectors.Muddle{{
			What: "annotation openservicemesh.io/sidecar-injection asks for a proxy, but namespace shop has no label openservicemesh.io/monitored-by: no webhook is called",
			Fix:  "kubectl label namespace shop openservicemesh.io/monitored-by=prod", Away: true,
		}}},
		"ignored": {metaTarget(on, nil, nil, map[string]string{"openservicemesh.io/monitored-by": "osm", "openservicemesh.io/ignore": "true"}), []injectors.Muddle{{
			What: "namespace shop has labels openservicemesh.io/monitored-by and openservicemesh.io/ignore: the second one wins, and no webhook is called",
			Fix:  "Remove label openservicemesh.io/ignore, or the annotation openservicemesh.io/sidecar-injection.", Away: true,
		}}},
	} {
		if diff := cmp.Diff(injectors.OSM().Muddle(c.target), c.want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", name, diff)
		}
	}
}

func TestOSMAnnotations(t *testing.T) {
	t.Parallel()
	holdChecks(t, injectors.OSM(), map[string]map[string]string{
		"openservicemesh.io/outbound-ip-range-exclusion-list": {
			"10.96.7.7/32": "", "10.96.7.7/32, 192.0.2.0/24": "", "": "the list is empty", "10.96.7.7": "an address needs a length", "10.96.7.7/32,": "empty entry",
		},
		"openservicemesh.io/outbound-port-exclusion-list": {
			"8200": "", "8200, 3306": "", "": "the list is empty", "8200-8210": "not a port number", "0": "not a port number", "70000": "not a port number",
		},
	})
	list := injectors.OSM().Annotation(injectors.ExcludeCIDRs)
	ranges, err := injectors.ParseCIDRs("10.96.7.7/32")
	if err != nil {
		t.Fatal(err)
	}
	for before, want := range map[string]string{"": "10.96.7.7/32", "192.0.2.0/24, 10.0.0.0/16": "10.0.0.0/16,10.96.7.7/32,192.0.2.0/24"} {
		if got, err := list.AddCIDRs(before, ranges...); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", before, got, err, want)
		}
	}
}

// TestOSMInbound holds what of the script is about connections to the pod.
func TestOSMInbound(t *testing.T) {
	t.Parallel()
	const usual = "-A OSM_PROXY_INBOUND -p tcp --dport 15010 -j RETURN\n-A OSM_PROXY_INBOUND -p tcp -j OSM_PROXY_IN_REDIRECT\n-A OSM_PROXY_OUTBOUND -j OSM_PROXY_OUT_REDIRECT\n"
	for name, c := range map[string]struct {
		script string
		port   uint16
		want   injectors.Tri
	}{
		"any port":              {usual, 8443, injectors.Yes},
		"metrics":               {usual, 15010, injectors.No},
		"exempt":                {usual + "-I OSM_PROXY_INBOUND -p tcp --match multiport --dports 8443,9443 -j RETURN\n", 9443, injectors.No},
		"by interface":          {usual + "-I OSM_PROXY_INBOUND -i net1 -j RETURN\n", 8443, injectors.Unknown},
		"no script that is one": {"/redirect.sh", 8443, injectors.Unknown},
	} {
		target := metaTarget(nil, map[string]string{"osm-proxy-uuid": "a"}, nil, nil)
		target.Spec.InitContainers = oneContainer("osm-init", c.script)
		p := injectors.New(target, &injectors.Env{Catalogue: injectors.NewCatalogue(injectors.OSM())}, injectors.Fact)
		if len(p.Meshes) != 1 {
			t.Fatalf("%s: got %d redirects, want 1", name, len(p.Meshes))
		}
		if got := p.Meshes[0].Capture.Inbound.Takes(c.port); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
