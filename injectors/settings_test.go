package injectors_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/injectors"
)

// TestCallOrder holds the order of the API server: configurations by name, bytewise; within one as listed; pods on CREATE
// alone.
func TestCallOrder(t *testing.T) {
	named := func(name string, webhooks ...string) *admissionregistrationv1.MutatingWebhookConfiguration {
		c := configuration(name, webhooks[0], admissionregistrationv1.NeverReinvocationPolicy)
		for _, w := range webhooks[1:] {
			c.Webhooks = append(c.Webhooks, configuration(name, w, admissionregistrationv1.IfNeededReinvocationPolicy).Webhooks[0])
		}
		return c
	}
	hooks := injectors.CallOrder([]*admissionregistrationv1.MutatingWebhookConfiguration{
		named("vault-agent-injector-cfg", "v"), named("istio-sidecar-injector", "i2", "i1"), named("istio-revision-tag-prod", "t"), named("0-holdfast", "h"),
		named("Zebra", "z"), named("a", "a"), named("a-b", "ab"), named("00", "00"),
	})
	var got []string
	for _, h := range hooks {
		got = append(got, h.Name)
	}
	if want := "h 00 z a ab t i2 i1 v"; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, " "), want)
	}
	if i := slices.Index(got, "i1"); !hooks[i].Reinvoked || hooks[i-1].Reinvoked {
		t.Errorf("reinvoked: got %v and %v, want each entry's own", hooks[i-1].Reinvoked, hooks[i].Reinvoked)
	}
}

func TestCallOrderRules(t *testing.T) {
	rule := func(operation, group, version, resource string, scope admissionregistrationv1.ScopeType) admissionregistrationv1.RuleWithOperations {
		return admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationType(operation)},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}, Scope: &scope,
			},
		}
	}
	const all, namespaced, cluster = admissionregistrationv1.AllScopes, admissionregistrationv1.NamespacedScope, admissionregistrationv1.ClusterScope
	for name, c := range map[string]struct {
		rule admissionregistrationv1.RuleWithOperations
		want bool
	}{
		"pods":            {rule("CREATE", "", "v1", "pods", namespaced), true},
		"everything":      {rule("*", "*", "*", "*", all), true},
		"subresources":    {rule("CREATE", "", "v1", "*/*", all), true},
		"updates":         {rule("UPDATE", "", "v1", "pods", all), false},
		"another group":   {rule("CREATE", "apps", "v1", "pods", all), false},
		"another version": {rule("CREATE", "", "v2", "pods", all), false},
		"deployments":     {rule("CREATE", "", "v1", "deployments", all), false},
		"pods/exec":       {rule("CREATE", "", "v1", "pods/exec", all), false},
		"cluster scope":   {rule("CREATE", "", "v1", "pods", cluster), false},
	} {
		conf := configuration("c", "w", admissionregistrationv1.NeverReinvocationPolicy)
		conf.Webhooks[0].Rules = []admissionregistrationv1.RuleWithOperations{rule("DELETE", "apps", "v1", "deployments", all), c.rule}
		if got := len(injectors.CallOrder([]*admissionregistrationv1.MutatingWebhookConfiguration{conf})) == 1; got != c.want {
			t.Errorf("%s: got called %v, want %v", name, got, c.want)
		}
	}
}

func TestSelectors(t *testing.T) {
	selector := func(key string, op metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: op, Values: values}}}
	}
	conf := configuration("c", "w", admissionregistrationv1.NeverReinvocationPolicy)
	w := &conf.Webhooks[0]
	w.NamespaceSelector = selector("istio-injection", metav1.LabelSelectorOpIn, "enabled")
	w.ObjectSelector = selector("sidecar.istio.io/inject", metav1.LabelSelectorOpNotIn, "false")
	w.ClientConfig.Service = &admissionregistrationv1.ServiceReference{Namespace: "istio-system", Name: "istiod", Path: new("/inject")}
	hooks := injectors.CallOrder([]*admissionregistrationv1.MutatingWebhookConfiguration{conf})
	if got := hooks[0].Service + hooks[0].Path; got != "istio-system/istiod/inject" {
		t.Errorf("service: got %s", got)
	}
	for label, want := range map[string]int{"enabled": 1, "disabled": 0, "": 0} {
		if got := injectors.In(hooks, map[string]string{"istio-injection": label}); len(got) != want {
			t.Errorf("namespace label %q: got %d hooks, want %d", label, len(got), want)
		}
	}
	match := func(labels map[string]string) injectors.Tri { return hooks[0].Matches(labels) }
	if got := []injectors.Tri{match(nil), match(map[string]string{"sidecar.istio.io/inject": "false"})}; !slices.Equal(got, []injectors.Tri{injectors.Yes, injectors.No}) {
		t.Errorf("pods: got %v, want yes and no", got)
	}
	w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "n", Expression: "true"}}
	hooks = injectors.CallOrder([]*admissionregistrationv1.MutatingWebhookConfiguration{conf})
	if got := []injectors.Tri{match(nil), match(map[string]string{"sidecar.istio.io/inject": "false"})}; !slices.Equal(got, []injectors.Tri{injectors.Unknown, injectors.No}) {
		t.Errorf("with a condition: got %v, want unknown and no", got)
	}
	w.NamespaceSelector = selector("a", "Near")
	if got := injectors.CallOrder([]*admissionregistrationv1.MutatingWebhookConfiguration{conf}); len(got) != 0 {
		t.Errorf("a selector that does not parse: got %d hooks, want none", len(got))
	}
}

func TestParseCIDRs(t *testing.T) {
	for list, want := range map[string]string{
		"": "", "10.96.7.7/32": "10.96.7.7/32", "10.0.0.1/8": "10.0.0.0/8", "10.0.0.0/8,fd00::7/128": "10.0.0.0/8 fd00::7/128",
		"10.96.7.7":                  `error "10.96.7.7": an address needs a length, such as /32`,
		"10.0.0.0/8, 192.0.2.0/24":   `error " 192.0.2.0/24": no spaces are allowed in the list`,
		"10.0.0.0/8,":                `error "": an empty entry (a comma too many)`,
		" ":                          `error " ": an empty entry (a comma too many)`,
		"*":                          `error "*": not an address range such as 10.96.7.7/32`,
		"10.0.0.0/33":                `error "10.0.0.0/33": not an address range such as 10.96.7.7/32`,
		"vault.vault.svc":            `error "vault.vault.svc": not an address range such as 10.96.7.7/32`,
		"10.0.0.0/8;192.0.2.0/24":    `error "10.0.0.0/8;192.0.2.0/24": not an address range such as 10.96.7.7/32`,
		"010.0.0.0/8":                `error "010.0.0.0/8": not an address range such as 10.96.7.7/32`,
		"10.0.0.0/8,192.0.2.1,other": `error "192.0.2.1": an address needs a length, such as /32`,
	} {
		ranges, err := injectors.ParseCIDRs(list)
		var got []string
		for _, r := range ranges {
			got = append(got, r.String())
		}
		if err != nil {
			got = []string{"error", err.Error()}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %s, want %s", list, strings.Join(got, " "), want)
		}
	}
}

func TestParsePorts(t *testing.T) {
	for list, want := range map[string]string{
		"": "", " ": "", "8200": "8200", "8200, 3306": "8200 3306", "0": "0", "65535": "65535",
		"65536": "error", "8200-8300": "error", "*": "error", "8200,": "error", "-1": "error", "http": "error", "8_200": "error", "+80": "error",
	} {
		ports, err := injectors.ParsePorts(list)
		var got []string
		for _, p := range ports {
			got = append(got, p.String())
		}
		if err != nil {
			got = []string{"error"}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %s, want %s", list, strings.Join(got, " "), want)
		}
	}
	if p := (injectors.Ports{First: 4567, Last: 4568}); p.String() != "4567-4568" || !p.Contains(4568) || p.Contains(4569) || (injectors.Ports{}).Contains(0) {
		t.Errorf("got %v", p)
	}
}

func TestParseInitNetwork(t *testing.T) {
	for value, want := range map[string]string{
		"migrate": "migrate ", "migrate, fetch=vault.vault.svc:8200": "migrate  fetch vault.vault.svc:8200", " , ": "", "": "",
		"a=[fd00::7]:1": "a fd00::7:1", "a=b": `error "b"`, "a=b:0,c": `c  error "b:0"`, "a=:1": `error ":1"`, "a=b:http": `error "b:http"`,
	} {
		declared, err := injectors.ParseInitNetwork(value)
		var got []string
		for _, d := range declared {
			got = append(got, d.Container+" "+d.To.String())
		}
		if err != nil {
			entry, _, _ := strings.Cut(err.Error(), ": ")
			got = append(got, "error "+entry)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", value, strings.Join(got, " "), want)
		}
	}
}

func TestParseInitNetworkIsBounded(t *testing.T) {
	declared, err := injectors.ParseInitNetwork(strings.Repeat("a=b:1,", 1000))
	if len(declared) != 64 || err == nil {
		t.Errorf("got %d entries and error %v, want 64 and an error", len(declared), err)
	}
}

// settingsOf reads the settings of a revision from the given objects.
func settingsOf(i *injectors.Injector, revision string, src *injectors.Sources) *injectors.Settings {
	src.Namespaces = []string{"istio-system"}
	return i.Read(src, revision)
}

func TestReadIstio(t *testing.T) {
	const values = `{"global":{"tag":"1.30.2","proxy":{"includeIPRanges":"10.0.0.0/8","excludeIPRanges":"192.0.2.0/24","includeOutboundPorts":"80","excludeOutboundPorts":"3306",
		"lifecycle":{"preStop":{"exec":{"command":["sleep"]}}},"startupProbe":{"enabled":false}}},"pilot":{"cni":{"enabled":true},"env":{"ENABLE_NATIVE_SIDECARS":true}}}`
	maps := func(suffix, values, mesh, config string) map[string]map[string]string {
		return map[string]map[string]string{
			"istio-system/istio-sidecar-injector" + suffix: {"values": values, "config": config}, "istio-system/istio" + suffix: {"mesh": mesh},
		}
	}
	s := settingsOf(injectors.Istio(), "default", &injectors.Sources{ConfigMaps: maps("", values, `
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  holdApplicationUntilProxyStarts: true
  proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}
rootNamespace: istio-system
`, "policy: disabled\nneverInjectSelector: [{}, {matchLabels: {a: b}}, {matchExpressions: [{key: x, operator: Near}]}]\nalwaysInjectSelector: [{matchExpressions: [{key: c, operator: Exists}]}]\ntemplates: {}")})
	if s.CNI != injectors.Yes || s.Native != injectors.Yes || s.Hold != injectors.Yes || s.HoldFixed || !s.Lifecycle || !s.Ungated || s.DNS != injectors.Yes || s.Policy != injectors.No {
		t.Errorf("switches: got %+v", s)
	}
	if got := []string{s.IncludeCIDRs, s.ExcludeCIDRs, s.IncludePorts, s.ExcludePorts}; !slices.Equal(got, []string{"10.0.0.0/8", "192.0.2.0/24", "80", "3306"}) {
		t.Errorf("capture: got %v", got)
	}
	if len(s.Never) != 1 || len(s.Always) != 1 || len(s.Missing) != 0 {
		t.Errorf("selectors: got %v, %v, missing %v; want the usable ones", s.Never, s.Always, s.Missing)
	}

	canary := settingsOf(injectors.Istio(), "canary", &injectors.Sources{ConfigMaps: maps("-canary",
		`{"global":{"tag":"1.23.0","proxy":{"holdApplicationUntilProxyStarts":true}},"istio_cni":{"enabled":true}}`, "defaultConfig: {}", "")})
	if canary.CNI != injectors.Yes || canary.Native != injectors.No || canary.Hold != injectors.Yes || !canary.HoldFixed || canary.DNS != injectors.No {
		t.Errorf("an older revision: got %+v", canary)
	}

	none := settingsOf(injectors.Istio(), "managed", &injectors.Sources{Missing: []string{"ConfigMaps in istio-system: forbidden"}})
	want := &injectors.Settings{Missing: []string{
		"ConfigMaps in istio-system: forbidden", "no ConfigMap istio-sidecar-injector-managed", "no ConfigMap istio-managed", "whether sidecars are native cannot be read",
	}}
	if diff := cmp.Diff(want, none); diff != "" {
		t.Errorf("nothing to read (-want +got):\n%s", diff)
	}

	broken := settingsOf(injectors.Istio(), "default", &injectors.Sources{ConfigMaps: maps("", "{", "a: [", "b: [")})
	if len(broken.Missing) != 4 || broken.CNI != injectors.Unknown || broken.Hold != injectors.Unknown || broken.Policy != injectors.Unknown {
		t.Errorf("unparsable: got %+v, want everything unknown and named", broken)
	}
}

// TestIstioNative: the Deployment decides over the values, auto asks all kubelets, and before 1.27 nothing was native.
func TestIstioNative(t *testing.T) {
	for name, c := range map[string]struct {
		tag, values, deployment string
		kubelets                []string
		want                    injectors.Tri
	}{
		"old release":              {tag: "1.26.4", want: injectors.No},
		"old release, switched on": {tag: "1.26.4", deployment: "true", want: injectors.Yes},
		"new release":              {tag: "1.27.0", kubelets: []string{"v1.33.0", "v1.34.1"}, want: injectors.Yes},
		"one old node":             {tag: "1.27.0", kubelets: []string{"v1.33.0", "v1.32.11", "v1.34.1"}, want: injectors.No},
		"a vendor's kubelet":       {tag: "1.30.0-distroless", kubelets: []string{"v1.33.1-eks-595af52", "v1.33.0-gke.100"}, want: injectors.Yes},
		"a node that says nothing": {tag: "1.30.0", kubelets: []string{"v1.33.1", ""}, want: injectors.No},
		"no node":                  {tag: "1.30.0", kubelets: []string{}, want: injectors.Yes},
		"nodes cannot be read":     {tag: "1.30.0", want: injectors.Unknown},
		"a build without number":   {tag: "latest", kubelets: []string{"v1.33.0"}, want: injectors.Unknown},
		"no number, but a switch":  {tag: "latest", deployment: "auto", kubelets: []string{"v1.33.0"}, want: injectors.Yes},
		"values":                   {tag: "1.30.0", values: `"false"`, kubelets: []string{"v1.33.0"}, want: injectors.No},
		"values with a boolean":    {tag: "1.30.0", values: "true", want: injectors.Yes},
		"Deployment over values":   {tag: "1.30.0", values: "true", deployment: "false", want: injectors.No},
		"a switch of the future":   {tag: "1.30.0", deployment: "sometimes", want: injectors.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := `{"global":{"tag":"` + c.tag + `"}`
			if c.values != "" {
				values += `,"pilot":{"env":{"ENABLE_NATIVE_SIDECARS":` + c.values + `}}`
			}
			src := &injectors.Sources{Kubelets: c.kubelets, ConfigMaps: map[string]map[string]string{"istio-system/istio-sidecar-injector": {"values": values + "}"}}}
			if c.deployment != "" {
				src.Deployments = []injectors.Deployment{
					{Labels: map[string]string{"app": "istiod", "istio.io/rev": "canary"}, Env: map[string]string{"ENABLE_NATIVE_SIDECARS": "not mine"}},
					{Labels: map[string]string{"app": "istiod", "istio.io/rev": "default"}, Env: map[string]string{"ENABLE_NATIVE_SIDECARS": c.deployment}},
				}
			}
			if got := settingsOf(injectors.Istio(), "default", src).Native; got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
