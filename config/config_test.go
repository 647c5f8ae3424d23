package config_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

func TestDefault(t *testing.T) {
	want := &config.Config{
		APIVersion: "config.holdfast.dev/v1alpha1", Kind: "Configuration", DefaultMode: config.Audit, Workloads: config.RefuseWorkloads,
		TemplateHold: true, MeshNamespaces: []string{"istio-system"}, ExemptAnnotations: true,
	}
	for name, c := range map[string]*config.Config{"default": config.Default(), "nothing": load(t, ""), "only a kind": load(t, "kind: Configuration")} {
		if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(config.Config{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, remedy := range config.Remedies() {
		if got, want := config.Default().Remedy(remedy), remedy != "exempt-identity" && remedy != "exempt-port" && remedy != "webhook-inbound-port"; got != want {
			t.Errorf("remedy %s: got %v by default, want %v", remedy, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	c := load(t, `
defaultMode: off
workloads: warn
rules: {HF103: off, cut-init: error}
remedies: {hold: false, exempt-port: true}
keepOrder: [Workspace, Cluster.example.com]
serverFirstPorts: [3306, 65535]
meshes:
- {injector: istio, cni: true, excludeOutboundIPRanges: 10.0.0.0/8}
- {injector: istio, revision: asm-managed, native: false, hold: true, dnsCapture: true, lifecycle: true, proxyUID: 2000}
dialers:
- {injector: vault, address: "https://vault.example.com", cidrs: [203.0.113.0/25, "2001:db8::/32"]}
- {injector: openbao, address: "192.0.2.1:8200"}
`)
	if c.DefaultMode != config.Off || c.Workloads != config.WarnWorkloads || c.Remedy("hold") || !c.Remedy("exempt-port") || !c.Remedy("reorder") {
		t.Errorf("got %+v", c)
	}
	if diff := cmp.Diff([]int32{3306, 65535}, c.ServerFirstPorts); diff != "" {
		t.Errorf("server-first ports (-want +got):\n%s", diff)
	}
	for _, topic := range []struct {
		report.Topic
		want report.Severity
	}{
		{report.Topic{Code: "HF103", Name: "proxy-race", Severity: report.Info}, report.Off},
		{report.Topic{Code: "HF102", Name: "cut-init", Severity: report.Warning}, report.Error},
		{report.Topic{Code: "HF101", Name: "late-dialer", Severity: report.Error}, report.Error},
	} {
		if got := c.Severity(&topic.Topic); got != topic.want {
			t.Errorf("severity of %s: got %v, want %v", topic.Code, got, topic.want)
		}
	}
	want := map[string]injectors.Endpoint{"vault": {Host: "vault.example.com", Port: 443}, "openbao": {Host: "192.0.2.1", Port: 8200}}
	if diff := cmp.Diff(want, c.Addresses(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if got := c.Ranges("vault"); len(got) != 2 || got[1].String() != "2001:db8::/32" || c.Ranges("openbao") != nil {
		t.Errorf("ranges: got %v and %v, want two and none", got, c.Ranges("openbao"))
	}
	if again := c.Catalogue(); c.Catalogue() != again {
		t.Error("got two catalogues, want the same twice: injectors are told apart by identity")
	}
}

func TestOverride(t *testing.T) {
	c := load(t, `
meshes:
- {injector: istio, cni: true, excludeOutboundIPRanges: 10.0.0.0/8}
- {injector: istio, revision: canary, native: false, hold: true, dnsCapture: false, lifecycle: true, proxyUID: 2000}
`)
	read := &injectors.Settings{CNI: injectors.No, Native: injectors.Yes, ExcludeCIDRs: "192.0.2.0/24", IncludeCIDRs: "*"}
	for revision, want := range map[string]*injectors.Settings{
		"default": {CNI: injectors.Yes, Native: injectors.Yes, ExcludeCIDRs: "10.0.0.0/8", IncludeCIDRs: "*", Lists: true},
		"canary": {
			CNI: injectors.Yes, Native: injectors.No, Hold: injectors.Yes, DNS: injectors.No, Lifecycle: true, ProxyUID: 2000,
			ExcludeCIDRs: "10.0.0.0/8", IncludeCIDRs: "*", Lists: true,
		},
	} {
		if diff := cmp.Diff(want, c.Override("istio", revision, read)); diff != "" {
			t.Errorf("revision %s (-want +got):\n%s", revision, diff)
		}
	}
	if diff := cmp.Diff(read, c.Override("vault", "", read)); diff != "" {
		t.Errorf("another injector (-want +got):\n%s", diff)
	}
	if read.CNI != injectors.No || read.ExcludeCIDRs != "192.0.2.0/24" {
		t.Errorf("what was read: got %+v, want it unchanged", read)
	}
}

// TestLoadRefuses holds that each mistake is named with its path.
func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no YAML":              {"a: [", "line 1: did not find expected node content"},
		"unknown key":          {"mode: audit", `unknown field "mode"`},
		"unknown nested key":   {"meshes: [{injector: istio}, {injector: istio, nativ: true}]", `unknown field "meshes[1].nativ"`},
		"key in another case":  {"defaultmode: audit", `unknown field "defaultmode"`},
		"repeated key":         {"defaultMode: audit\ndefaultMode: warn", `line 2: key "defaultMode" already set in map`},
		"wrong type":           {"templateHold: maybe", "templateHold"},
		"api version":          {"apiVersion: v1", `apiVersion: Unsupported value: "v1": supported values: "config.holdfast.dev/v1alpha1"`},
		"kind":                 {"kind: Config", `kind: Unsupported value: "Config": supported values: "Configuration"`},
		"mode":                 {"defaultMode: enforced", `mode "enforced": must be enforce, warn, audit or off`},
		"mode that is true":    {"defaultMode: on", "mode: json: cannot unmarshal bool"},
		"workloads":            {"workloads: deny", `workloads "deny": must be warn or refuse`},
		"severity":             {"rules: {HF101: fatal}", `rules[HF101]: Unsupported value: "fatal": supported values: "off", "info", "warning", "error"`},
		"severity that is on":  {"rules: {HF101: on}", "cannot unmarshal bool"},
		"remedy":               {"remedies: {holds: true}", `remedies[holds]: Unsupported value: "holds": supported values: "hold", "start-first"`},
		"mesh namespace":       {"meshNamespaces: [istio-system, Istio]", `meshNamespaces[1]: Invalid value: "Istio": a lowercase RFC 1123 label`},
		"kind of owner":        {"keepOrder: [a, example.com/v1]", `keepOrder[1]: Invalid value: "example.com/v1": must be a kind`},
		"injector of a mesh":   {"meshes: [{injector: istiod}]", `meshes[0].injector: Unsupported value: "istiod": supported values: "istio"`},
		"ranges of a mesh":     {"meshes: [{injector: istio, excludeOutboundIPRanges: 10.0.0.1}]", `meshes[0].excludeOutboundIPRanges: Invalid value: "10.0.0.1": "10.0.0.1": an address needs a length`},
		"uid of a proxy":       {"meshes: [{injector: istio, proxyUID: 0}]", "meshes[0].proxyUID: Invalid value: 0: must be greater than 0"},
		"injector of a dialer": {`dialers: [{injector: valt, address: "a:1"}]`, `dialers[0].injector: Unsupported value: "valt"`},
		"empty dialer":         {"dialers: [{injector: vault}]", "dialers[0].address: Required value: or cidrs"},
		"address without port": {"dialers: [{injector: vault, address: vault.example.com}]", `dialers[0].address: Invalid value: "vault.example.com": want HOST:PORT`},
		"port out of range":    {`dialers: [{injector: vault, address: "vault:70000"}]`, "dialers[0].address: Invalid value"},
		"URL without host":     {`dialers: [{injector: vault, address: "http://:8200"}]`, "not a URL with a host"},
		"range of a dialer":    {"dialers: [{injector: vault, cidrs: [10.0.0.0/8, 10.0.0.1]}]", `dialers[0].cidrs[1]: Invalid value: "10.0.0.1": must be one address range`},
		"no mesh namespaces":   {"meshNamespaces: null", "meshNamespaces: Required value"},
		"the same mesh twice":  {"meshes: [{injector: istio}, {injector: istio, cni: true}]", `meshes[1]: Duplicate value: "istio/"`},
		"the same dialer":      {"dialers: [{injector: vault, address: 'a:1'}, {injector: vault, address: 'b:1'}]", `dialers[1].injector: Duplicate value: "vault"`},
		"no mesh":              {"meshes: [{injector: vault}]", `meshes[0].injector: Unsupported value: "vault": supported values: "istio"`},
		"no dialer":            {"dialers: [{injector: istio, address: 'a:1'}]", `dialers[0].injector: Unsupported value: "istio"`},
		"range of everything":  {"dialers: [{injector: vault, cidrs: [0.0.0.0/0]}]", "dialers[0].cidrs[0]: Invalid value: \"0.0.0.0/0\": would take all traffic out of the mesh"},
		"server-first port 0":  {"serverFirstPorts: [3306, 0]", "serverFirstPorts[1]: Invalid value: 0: must be a port from 1 to 65535"},
		"server-first too big": {"serverFirstPorts: [65536]", "serverFirstPorts[0]: Invalid value: 65536: must be a port"},
		"server-first DNS":     {"serverFirstPorts: [53]", "serverFirstPorts[0]: Invalid value: 53: would take most"},
		"server-first HTTPS":   {"serverFirstPorts: [443, 80]", "serverFirstPorts[1]: Invalid value: 80: would take most"},
		"server-first twice":   {"serverFirstPorts: [3306, 4222, 3306]", "serverFirstPorts[2]: Duplicate value: 3306"},
		"server-first range":   {`serverFirstPorts: ["4567-4568"]`, "serverFirstPorts"},
		"two ranges in one":    {"dialers: [{injector: vault, cidrs: ['10.0.0.0/8,10.0.0.1/32']}]", "dialers[0].cidrs[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
	// All at once.
	_, err := config.Load([]byte("kind: a\nremedies: {b: true}\nrules: {HF101: c}"))
	for _, want := range []string{"kind:", "remedies[b]:", "rules[HF101]:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q too", err, want)
		}
	}
}

func TestCheckRules(t *testing.T) {
	c := load(t, "rules: {HF101: info, late-dialer: info, late-dailer: info, HF999: info}")
	err := c.CheckRules([]report.Topic{{Code: "HF101", Name: "late-dialer"}})
	if err == nil || strings.Count(err.Error(), "no rule has this code or name") != 2 || !strings.Contains(err.Error(), "rules[late-dailer]") {
		t.Errorf("got %v, want late-dailer and HF999 named", err)
	}
	if err == nil || !strings.Contains(err.Error(), "rules[late-dialer]: Duplicate value") {
		t.Errorf("got %v, want it said that late-dialer is HF101", err)
	}
}

func TestModeOf(t *testing.T) {
	c := load(t, "defaultMode: warn")
	for label, want := range map[string]config.Mode{"enforce": config.Enforce, "warn": config.Warn, "audit": config.Audit, "off": config.Off} {
		got, err := c.ModeOf(&injectors.Namespace{Labels: map[string]string{config.ModeLabel: label}})
		if got != want || err != nil {
			t.Errorf("label %s: got %v, %v", label, got, err)
		}
	}
	if got, err := c.ModeOf(&injectors.Namespace{}); got != config.Warn || err != nil {
		t.Errorf("no label: got %v, %v, want the default", got, err)
	}
	if got, err := c.ModeOf(&injectors.Namespace{Labels: map[string]string{config.ModeLabel: "Enforce"}}); got != config.Audit || err == nil {
		t.Errorf("unknown label: got %v, %v, want audit and an error", got, err)
	}
}

func TestExempt(t *testing.T) {
	at := func(text string) func() time.Time {
		return func() time.Time {
			now, err := time.Parse(time.RFC3339, text)
			if err != nil {
				panic(err)
			}
			return now
		}
	}
	noon := at("2027-01-15T12:00:00Z")
	for name, c := range map[string]struct {
		exempt, until string
		now           func() time.Time
		config        string
		want          bool
	}{
		"by name":             {exempt: "late-dialer", now: noon, want: true},
		"by code":             {exempt: "HF101", now: noon, want: true},
		"among others":        {exempt: "cut-init , HF101", now: noon, want: true},
		"another rule":        {exempt: "HF1011, late", now: noon},
		"not at all":          {now: noon},
		"no clock":            {exempt: "HF101", want: true},
		"last day":            {exempt: "HF101", until: "2027-01-15", now: at("2027-01-15T23:59:59Z"), want: true},
		"day after":           {exempt: "HF101", until: "2027-01-15", now: at("2027-01-16T00:00:00Z")},
		"no date":             {exempt: "HF101", until: "soon", now: noon},
		"date and no clock":   {exempt: "HF101", until: "2027-01-15"},
		"forbidden":           {exempt: "HF101", now: noon, config: "exemptAnnotations: false"},
		"date with a space":   {exempt: "HF101", until: " 2027-01-15", now: noon, want: true},
		"time":                {exempt: "HF101", until: "2027-01-15T13:00:00Z", now: noon, want: true},
		"time that is over":   {exempt: "HF101", until: "2027-01-15T12:00:00Z", now: noon},
		"day in another zone": {exempt: "HF101", until: "2027-01-15", now: at("2027-01-15T23:30:00-02:00")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			meta := &metav1.ObjectMeta{Annotations: map[string]string{}}
			if c.exempt != "" {
				meta.Annotations[config.ExemptAnnotation] = c.exempt
			}
			if c.until != "" {
				meta.Annotations[config.ExemptUntilAnnotation] = c.until
			}
			if got := load(t, c.config).Exempt(&injectors.Target{Meta: meta}, "HF101", "late-dialer", c.now); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// FuzzLoad loads whatever comes in: it loads or says why not, and what has loaded is the same when printed and loaded again.
func FuzzLoad(f *testing.F) {
	f.Add("defaultMode: enforce\nrules: {HF103: off}\nmeshes: [{injector: istio, cni: true}]\ndialers: [{injector: vault, address: 'a:1', cidrs: [10.0.0.0/8]}]")
	f.Add("{}")
	f.Add("workloads: warn\nkeepOrder: [a]\nremedies: {hold: false}")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Load([]byte(text))
		if err != nil {
			if err.Error() == "" {
				t.Error("got an error that says nothing")
			}
			return
		}
		printed, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := config.Load(printed)
		if err != nil {
			t.Fatalf("load what was printed: %v\n%s", err, printed)
		}
		if diff := cmp.Diff(c, again, cmpopts.IgnoreUnexported(config.Config{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Load([]byte(text))
	if err != nil {
		t.Fatal(errors.Join(errors.New("load "+text), err))
	}
	return c
}
