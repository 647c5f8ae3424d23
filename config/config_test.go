package config_test

import (
	"errors"
	"net/netip"
	"os"
	"reflect"
	"regexp"
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
		"unknown key":          {"mode: audit", "mode: Forbidden: unknown key"},
		"unknown nested key":   {"meshes: [{injector: istio}, {injector: istio, nativ: true}]", "meshes[1].nativ: Forbidden: unknown key"},
		"key in another case":  {"defaultmode: audit", "defaultmode: Forbidden: unknown key"},
		"repeated key":         {"defaultMode: audit\ndefaultMode: warn", "defaultMode: Duplicate value: the key is in line 1, and again in line 2"},
		"wrong type":           {"templateHold: maybe", `templateHold: Invalid value: "maybe": must be true or false`},
		"api version":          {"apiVersion: v1", `apiVersion: Unsupported value: "v1": supported values: "config.holdfast.dev/v1alpha1"`},
		"kind":                 {"kind: Config", `kind: Unsupported value: "Config": supported values: "Configuration"`},
		"mode":                 {"defaultMode: enforced", `defaultMode: Unsupported value: "enforced": supported values: "off", "audit", "warn", "enforce"`},
		"mode that is true":    {"defaultMode: true", "defaultMode: Unsupported value: true"},
		"workloads":            {"workloads: deny", `workloads: Unsupported value: "deny": supported values: "warn", "refuse"`},
		"severity":             {"rules: {HF101: fatal}", `rules[HF101]: Unsupported value: "fatal": supported values: "off", "info", "warning", "error"`},
		"severity that is on":  {"rules: {HF101: true}", "rules[HF101]: Unsupported value: true"},
		"remedy":               {"remedies: {holds: true}", `remedies[holds]: Unsupported value: "holds": supported values: "hold", "start-first"`},
		"mesh namespace":       {"meshNamespaces: [istio-system, Istio]", `meshNamespaces[1]: Invalid value: "Istio": a lowercase RFC 1123 label`},
		"kind of owner":        {"keepOrder: [a, example.com/v1]", `keepOrder[1]: Invalid value: "example.com/v1": must be a kind`},
		"injector of a mesh":   {"meshes: [{injector: istiod}]", `meshes[0].injector: Unsupported value: "istiod": supported values: "istio"`},
		"ranges of a mesh":     {"meshes: [{injector: istio, excludeOutboundIPRanges: 10.0.0.1}]", `meshes[0].excludeOutboundIPRanges: Invalid value: "10.0.0.1": "10.0.0.1": an address needs a length`},
		"uid of a proxy":       {"meshes: [{injector: istio, proxyUID: 0}]", "meshes[0].proxyUID: Invalid value: 0: must be between 1 and"},
		"injector of a dialer": {`dialers: [{injector: valt, address: "a:1"}]`, `dialers[0].injector: Unsupported value: "valt"`},
		"empty dialer":         {"dialers: [{injector: vault}]", "dialers[0].address: Required value: or cidrs"},
		"address without port": {"dialers: [{injector: vault, address: vault.example.com}]", `dialers[0].address: Invalid value: "vault.example.com": `},
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
		"server-first range":   {`serverFirstPorts: ["4567-4568"]`, `serverFirstPorts[0]: Invalid value: "4567-4568": must be a whole number`},
		"second document":      {"kind: Configuration\n---\ndefaultMode: enforce", "line 3: Forbidden: another document"},
		"behind an empty one":  {"---\n---\ndefaultMode: enforce", "line 3: Forbidden: another document"},
		"broken behind":        {"kind: Configuration\n---\na: [", "line 3: did not find expected node content"},
		"two of JSON":          {"{}\n{}", "did not find expected <document start>"},
		"a list":               {"- kind: Configuration", "not a configuration: must be keys and values"},
		"a word":               {"audit", "not a configuration: must be keys and values"},
		"a list as a key":      {"kind: Configuration\n? [a]\n: b", "line 2: Forbidden: a key must be one word"},
		"in itself":            {"keepOrder: &a [*a]", "contains itself"},
		"repeated nested key":  {"meshes:\n- injector: istio\n  cni: true\n  cni: false", "meshes[0].cni: Duplicate value: the key is in line 3, and again in line 4"},
		"repeated in a map":    {"remedies: {hold: true, hold: false}", "remedies.hold: Duplicate value"},
		"type in a list":       {"meshes: [{injector: istio}, {injector: istio, revision: a, cni: maybe}]", `meshes[1].cni: Invalid value: "maybe": must be true or false`},
		"number for a string":  {"meshes: [{injector: istio, excludeOutboundPorts: 22}]", "meshes[0].excludeOutboundPorts: Invalid value: 22: must be a string, in quotes"},
		"date for a string":    {"keepOrder: [2027-01-31]", "keepOrder[0]: Invalid value: \"2027-01-31T00:00:00Z\": must be a string, in quotes"},
		"string for a number":  {"meshes: [{injector: istio, proxyUID: many}]", `meshes[0].proxyUID: Invalid value: "many": must be a whole number`},
		"half a number":        {"meshes: [{injector: istio, proxyUID: 1.5}]", "meshes[0].proxyUID: Invalid value: 1.5: must be a whole number"},
		"huge number":          {"serverFirstPorts: [4294967297]", "serverFirstPorts[0]: Invalid value: 4294967297: must be a whole number"},
		"word for a list":      {"meshNamespaces: istio-system", `meshNamespaces: Invalid value: "istio-system": must be a list`},
		"list for a map":       {"rules: [HF101]", "rules: Invalid value: must be keys and values"},
		"word for a struct":    {"meshes: [istio]", `meshes[0]: Invalid value: "istio": must be keys and values`},
		"nothing in a list":    {"dialers: [null]", "dialers[0]: Invalid value: null: must be keys and values"},
		"remedy without value": {"remedies: {hold: }", "remedies[hold]: Invalid value: null: must be true or false"},
		"rule without value":   {"rules: {HF101: }", "rules[HF101]: Unsupported value: null"},
		"switched with a list": {"defaultMode: [audit]", "defaultMode: Unsupported value: supported values"},
		"uid out of range":     {"meshes: [{injector: istio, proxyUID: 2147483648}]", "meshes[0].proxyUID: Invalid value: 2147483648: must be between 1 and"},
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
}

// TestLoadTellsAll holds that no mistake hides another, whether it is one of decoding or one of what was decoded, and that what could not be
// decoded is not found missing too.
func TestLoadTellsAll(t *testing.T) {
	_, err := config.Load([]byte(`
defaultMode: enforced
mode: audit
kind: Config
templateHold: true
templateHold: false
workloads: deny
rules: {HF101: fatal}
remedies: {holds: true}
meshes:
- {injector: istio}
- {injector: istio, revision: canary, cni: "yes please", proxyUID: -1}
serverFirstPorts: [3306, mysql, 80]
dialers: [{injector: vault, where: "vault:8200"}]
injectors:
- name: acme
  containers: [{name: acme-proxy, role: {proxy: true}}, {name: csql-x, role: dialer}]
  redirect: all
initNetwork: [{name: Bad_Name}]
---
defaultMode: enforce
`))
	if err == nil {
		t.Fatal("got no error")
	}
	var got []string
	for line := range strings.Lines(err.Error()) {
		path, _, _ := strings.Cut(line, ": ")
		got = append(got, strings.TrimSpace(path))
	}
	want := []string{
		"18 mistakes:",
		"defaultMode", "dialers[0].address", "dialers[0].where", "initNetwork[0].name",
		"injectors[0].containers[0].role", "injectors[0].containers[1].name", "injectors[0].redirect",
		"kind", "line 21", "meshes[1].cni", "meshes[1].proxyUID", "mode", "remedies[holds]", "rules[HF101]",
		"serverFirstPorts[1]", "serverFirstPorts[2]", "templateHold", "workloads",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s\n%v", diff, err)
	}
}

// TestLoadTakes holds what is not a mistake.
func TestLoadTakes(t *testing.T) {
	for name, text := range map[string]string{
		"JSON":                     `{"kind": "Configuration", "rules": {"HF101": "off"}}`,
		"empty documents":          "---\nkind: Configuration\n---\n# nothing\n---\n",
		"keys without values":      "defaultMode:\nmeshes:\nrules:",
		"an anchor":                "meshes: [&istio {injector: istio, revision: a}, {<<: *istio, revision: b}]",
		"off as Helm prints it":    "defaultMode: false\nrules: {HF101: false}",
		"a key that is a number":   "rules: {101: info}",
		"two addresses of an init": "initNetwork: [{name: a, address: 'b:1'}, {name: a, address: 'c:1'}, {name: a}]",
		"an image and a registry":  "initNetwork: [{image: 'registry.example.com:5000/team/wait_for__db'}]",
	} {
		if _, err := config.Load([]byte(text)); err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
	}
	if c := load(t, "defaultMode: false\nrules: {HF101: false}"); c.DefaultMode != config.Off || c.Severity(&report.Topic{Code: "HF101", Severity: report.Error}) != report.Off {
		t.Errorf("got mode %v and rules %v, want false to be off", c.DefaultMode, c.Rules)
	}
}

// TestKeysAreDocumented holds that docs/configuration.md has every key.
func TestKeysAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var check func(reflect.Type)
	check = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			check(of.Elem())
		case reflect.Struct:
			for f := range of.Fields() {
				key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if key == "" {
					continue
				}
				if !regexp.MustCompile(`(?m)(^|[ {-])` + key + `: |` + "`" + key + "`" + `|^` + key + `:$`).Match(page) {
					t.Errorf("got no %s of %s in docs/configuration.md, want every key", key, of.Name())
				}
				check(f.Type)
			}
		default:
		}
	}
	check(reflect.TypeFor[config.Config]())
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
	f.Add("injectors: [{name: a, webhooks: [a.b.c], containers: [{name: b, role: proxy, uid: 1}], redirect: {cni: true}, annotations: {hold: b/c}}]\n---\n")
	f.Add("initNetwork: [{name: a, image: b}]\nserverFirstPorts: [1]\n---\nkind: a")
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
