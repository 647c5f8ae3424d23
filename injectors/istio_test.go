package injectors_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/injectors"
)

// TestIstioWants is injectRequired: the first reason that applies decides.
func TestIstioWants(t *testing.T) {
	never, err := labels.Parse("batch=true")
	if err != nil {
		t.Fatal(err)
	}
	always, err := labels.Parse("mesh")
	if err != nil {
		t.Fatal(err)
	}
	const inject = "sidecar.istio.io/inject"
	for name, c := range map[string]struct {
		label, annotation string
		more              map[string]string
		namespace         string
		hostNetwork       bool
		policy            injectors.Tri
		want              injectors.Tri
	}{
		"nothing said":                  {policy: injectors.Yes, want: injectors.Yes},
		"policy disabled":               {policy: injectors.No, want: injectors.No},
		"policy not known":              {want: injectors.Yes},
		"policy disabled, label true":   {policy: injectors.No, label: "true", want: injectors.Yes},
		"label false":                   {policy: injectors.Yes, label: "false", want: injectors.No},
		"annotation false":              {policy: injectors.Yes, annotation: "false", want: injectors.No},
		"label over annotation":         {policy: injectors.Yes, label: "true", annotation: "false", want: injectors.Yes},
		"a value that is neither":       {policy: injectors.Yes, label: "yes", want: injectors.Yes},
		"neither, policy disabled":      {policy: injectors.No, label: "True", want: injectors.No},
		"host network":                  {policy: injectors.Yes, label: "true", hostNetwork: true, want: injectors.No},
		"kube-system":                   {policy: injectors.Yes, label: "true", namespace: "kube-system", want: injectors.No},
		"never selector":                {policy: injectors.Yes, more: map[string]string{"batch": "true"}, want: injectors.No},
		"never selector, label true":    {policy: injectors.Yes, label: "true", more: map[string]string{"batch": "true"}, want: injectors.Yes},
		"always selector":               {policy: injectors.No, more: map[string]string{"mesh": ""}, want: injectors.Yes},
		"never selector before always":  {policy: injectors.Yes, more: map[string]string{"batch": "true", "mesh": ""}, want: injectors.No},
		"always selector, label false":  {policy: injectors.Yes, label: "false", more: map[string]string{"mesh": ""}, want: injectors.No},
		"label of no meaning selecting": {policy: injectors.No, label: "x", more: map[string]string{"mesh": ""}, want: injectors.Yes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			meta := &metav1.ObjectMeta{Labels: map[string]string{}, Annotations: map[string]string{}}
			maps.Copy(meta.Labels, c.more)
			if c.label != "" {
				meta.Labels[inject] = c.label
			}
			if c.annotation != "" {
				meta.Annotations[inject] = c.annotation
			}
			namespace := &injectors.Namespace{Name: "shop"}
			if c.namespace != "" {
				namespace.Name = c.namespace
			}
			target := &injectors.Target{Kind: "Pod", Meta: meta, Spec: &corev1.PodSpec{HostNetwork: c.hostNetwork}, Namespace: namespace}
			settings := &injectors.Settings{Policy: c.policy, Never: []labels.Selector{never}, Always: []labels.Selector{always}}
			if got := injectors.Istio().Wants(target, settings); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestIstioOwns(t *testing.T) {
	for name, c := range map[string]struct {
		webhook string
		labels  map[string]string
		want    string
	}{
		"default":          {webhook: "namespace.sidecar-injector.istio.io", want: "default"},
		"revision":         {webhook: "rev.object.sidecar-injector.istio.io", labels: map[string]string{"istio.io/rev": "canary"}, want: "canary"},
		"tag":              {webhook: "rev.namespace.sidecar-injector.istio.io", labels: map[string]string{"istio.io/rev": "canary", "istio.io/tag": "prod"}, want: "canary"},
		"Traffic Director": {webhook: "sidecar-injector.istio.io", want: "none"},
		"another":          {webhook: "vault.hashicorp.com", want: "none"},
	} {
		got, ok := injectors.Istio().Owns(&injectors.Hook{Name: c.webhook, Labels: c.labels})
		if !ok {
			got = "none"
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// TestIstioObserve reads the capture where it takes effect: istio-init's arguments, or under CNI the final annotations and
// the proxy's ids.
func TestIstioObserve(t *testing.T) {
	const traffic = "traffic.sidecar.istio.io/"
	late := map[string]string{traffic + "excludeOutboundIPRanges": "198.51.100.0/24", traffic + "excludeOutboundPorts": "9000"}
	dns := []corev1.EnvVar{{Name: "ISTIO_META_DNS_CAPTURE", Value: "true"}}
	for name, c := range map[string]struct {
		args        string
		cni         bool
		annotations map[string]string
		env         []corev1.EnvVar // of istio-init
		proxyEnv    []corev1.EnvVar
		proxyArgs   []string
		uid, gid    int64
		want        string
	}{
		"defaults":              {args: "-p 15001 -u 1337 -i * -x _ -b *", uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"everything":            {args: "-u 1337 -i 10.0.0.0/8,fd00::/8 -x 10.1.0.0/16 -o 3306,8200 -q 80", uid: 1337, gid: 1337, want: "uid 1337 gid 1337 listed 10.0.0.0/8 fd00::/8 not 10.1.0.0/16 ports 80 not 3306 8200"},
		"nothing captured":      {args: "-u 1337 -i _", uid: 1337, gid: 1337, want: "uid 1337 gid 1337 listed"},
		"another uid":           {args: "-u 1000650001 -i *", uid: 1000650001, gid: 1000650001, want: "uid 1000650001 gid 1000650001"},
		"a group":               {args: "-u 2000 -g 3000 -i *", want: "uid 2000 gid 3000"},
		"proxy's are not asked": {args: "-u 1337 -i *", uid: 0, gid: 1337, want: "uid 1337 gid 1337"},
		"unparsable":            {args: "-u x -i * -x 10.0.0.1 -o a-b", uid: 5, gid: 5, want: "uid 1337 gid 1337"},
		"a flag at the end":     {args: "-u 1337 -i * -x", uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"late annotations":      {args: "-u 1337 -i *", annotations: late, uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"DNS in istio-init":     {args: "-u 1337 -i *", env: dns, uid: 1337, gid: 1337, want: "uid 1337 gid 1337 dns"},
		"DNS in the proxy":      {args: "-u 1337 -i *", proxyEnv: dns, uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"DNS, another spelling": {args: "-u 1337 -i *", env: variables("ISTIO_META_DNS_CAPTURE", "T"), uid: 1337, gid: 1337, want: "uid 1337 gid 1337 dns"},
		"DNS, the last counts":  {args: "-u 1337 -i *", env: append(dns, variables("ISTIO_META_DNS_CAPTURE", "0")...), uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"DNS, no boolean":       {args: "-u 1337 -i *", env: variables("ISTIO_META_DNS_CAPTURE", "yes"), uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"interfaces":            {args: "-u 1337 -i * -c net1,net2", uid: 1337, gid: 1337, want: "uid 1337 gid 1337 but by net1,net2"},
		"groups":                {args: "-u 1337 -i *", env: variables("ISTIO_OUTBOUND_OWNER_GROUPS", "2000,,3000"), uid: 1337, gid: 1337, want: "uid 1337 gid 1337 only groups [2000 3000]"},
		"no group":              {args: "-u 1337 -i *", env: variables("ISTIO_OUTBOUND_OWNER_GROUPS", ""), uid: 1337, gid: 1337, want: "uid 1337 gid 1337 only groups []"},
		"all groups":            {args: "-u 1337 -i *", env: variables("ISTIO_OUTBOUND_OWNER_GROUPS", "*"), uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"excluded groups":       {args: "-u 1337 -i *", env: variables("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "1000,java"), uid: 1337, gid: 1337, want: "uid 1337 gid 1337 but groups [1000] and named"},

		"CNI, no status":         {cni: true, annotations: map[string]string{"sidecar.istio.io/status": "none"}, uid: 1337, gid: 1337, want: "uid 1337 gid 1337 listed"},
		"CNI, no injection":      {cni: true, annotations: map[string]string{"sidecar.istio.io/inject": "F"}, uid: 1337, gid: 1337, want: "uid 1337 gid 1337 listed"},
		"CNI, some injection":    {cni: true, annotations: map[string]string{"sidecar.istio.io/inject": "no"}, uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"CNI, no Envoy":          {cni: true, proxyEnv: variables("DISABLE_ENVOY", "true"), uid: 1337, gid: 1337, want: "uid 1337 gid 1337 listed"},
		"CNI, a router":          {cni: true, proxyArgs: []string{"proxy", "router"}, uid: 1337, gid: 1337, want: "uid 1337 gid 1337 listed"},
		"CNI, a sidecar":         {cni: true, proxyArgs: []string{"proxy", "sidecar"}, uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"CNI, groups":            {cni: true, env: variables("ISTIO_OUTBOUND_OWNER_GROUPS", "2000"), proxyEnv: variables("ISTIO_OUTBOUND_OWNER_GROUPS", "2000"), uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"CNI, interfaces":        {cni: true, annotations: map[string]string{traffic + "excludeInterfaces": "eth0"}, uid: 1337, gid: 1337, want: "uid 1337 gid 1337 but by eth0"},
		"CNI":                    {cni: true, args: "-u 1337 -i * -x 192.0.2.0/24", annotations: late, uid: 1337, gid: 1337, want: "uid 1337 gid 1337 not 198.51.100.0/24 not 9000"},
		"CNI, no annotations":    {cni: true, args: "-u 1337 -i 10.0.0.0/8 -x 192.0.2.0/24", uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
		"CNI, a root proxy":      {cni: true, uid: 0, gid: 1337, want: "uid 1337 gid 1337"},
		"CNI, another uid":       {cni: true, uid: 2000, gid: 3000, want: "uid 2000 gid 3000"},
		"CNI, an included list":  {cni: true, annotations: map[string]string{traffic + "includeOutboundIPRanges": "10.0.0.0/8", traffic + "includeOutboundPorts": "80"}, uid: 1337, gid: 1337, want: "uid 1337 gid 1337 listed 10.0.0.0/8 ports 80"},
		"CNI, nothing included":  {cni: true, annotations: map[string]string{traffic + "includeOutboundIPRanges": ""}, uid: 1337, gid: 1337, want: "uid 1337 gid 1337 listed"},
		"CNI, DNS in the proxy":  {cni: true, proxyEnv: dns, uid: 1337, gid: 1337, want: "uid 1337 gid 1337 dns"},
		"CNI, an unusable value": {cni: true, annotations: map[string]string{traffic + "excludeOutboundIPRanges": "10.0.0.1"}, uid: 1337, gid: 1337, want: "uid 1337 gid 1337"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := corev1.Container{Name: "istio-init", Env: c.env}
			if c.cni {
				first.Name = "istio-validation"
			}
			for _, a := range append([]string{"istio-iptables"}, strings.Fields(c.args)...) {
				first.Args = append(first.Args, strings.TrimPrefix(a, "_"))
			}
			proxy := corev1.Container{Name: "istio-proxy", Args: c.proxyArgs, Env: c.proxyEnv, SecurityContext: &corev1.SecurityContext{RunAsUser: &c.uid, RunAsGroup: &c.gid}}
			annotations := map[string]string{"sidecar.istio.io/status": "{}"}
			maps.Copy(annotations, c.annotations)
			if annotations["sidecar.istio.io/status"] == "none" {
				delete(annotations, "sidecar.istio.io/status")
			}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}, Spec: corev1.PodSpec{
				InitContainers: []corev1.Container{first}, Containers: []corev1.Container{{Name: "app"}, proxy},
			}}
			p := injectors.New(injectors.PodTarget(pod, &injectors.Namespace{Name: "shop"}), env(), injectors.Fact)
			if diff := cmp.Diff(c.want, capture(&p.Meshes[0].Capture)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := p.Meshes[0].Late; got != c.cni {
				t.Errorf("late annotations take effect: got %v, want %v", got, c.cni)
			}
		})
	}
}

func variables(name, value string) []corev1.EnvVar {
	return []corev1.EnvVar{{Name: name, Value: value}}
}

func capture(c *injectors.Capture) string {
	out := fmt.Sprintf("uid %d gid %d", c.UIDs[0], c.GIDs[0])
	if c.Listed {
		out += " listed"
	}
	for _, p := range c.Include {
		out += " " + p.String()
	}
	for _, p := range c.Exclude {
		out += " not " + p.String()
	}
	for _, p := range c.IncludePorts {
		out += " ports " + p.String()
	}
	for i, p := range c.ExcludePorts {
		if i == 0 {
			out += " not"
		}
		out += " " + p.String()
	}
	if c.DNS {
		out += " dns"
	}
	if c.Interfaces != "" {
		out += " but by " + c.Interfaces
	}
	switch {
	case c.OnlyGroups:
		out += fmt.Sprint(" only groups ", c.Groups)
	case len(c.Groups) > 0:
		out += fmt.Sprint(" but groups ", c.Groups)
	}
	if c.NamedGroups {
		out += " and named"
	}
	return out
}

// TestIstioHold merges hold into the annotation as a user may have written it.
func TestIstioHold(t *testing.T) {
	const hold = `"holdApplicationUntilProxyStarts":true`
	for value, want := range map[string]string{
		"": `{` + hold + `}`, " ": `{` + hold + `}`, "{}": `{` + hold + `}`, "null": `{` + hold + `}`, "# nothing": `{` + hold + `}`,
		`{"concurrency":2}`: `{"concurrency":2,` + hold + `}`,
		"concurrency: 2":    `{"concurrency":2,` + hold + `}`,
		"concurrency: 2\ntracing:\n  sampling: 12.5\n":  `{"concurrency":2,` + hold + `,"tracing":{"sampling":12.5}}`,
		"proxyMetadata: {A: \"1\", B: yes it is}":       `{` + hold + `,"proxyMetadata":{"A":"1","B":"yes it is"}}`,
		"ids: [12345678901234567]":                      `{` + hold + `,"ids":[12345678901234567]}`,
		`{"holdApplicationUntilProxyStarts":false}`:     "decided",
		"holdApplicationUntilProxyStarts: true":         "decided",
		"hold_application_until_proxy_starts: false":    "decided",
		"holdApplicationUntilProxyStarts: null":         "decided",
		"HoldApplicationUntilProxyStarts: true":         `{"HoldApplicationUntilProxyStarts":true,` + hold + `}`,
		"{concurrency: 2":                               "it is neither YAML nor JSON",
		"[1, 2]":                                        "it is not a map of settings",
		"hold":                                          "it is not a map of settings",
		"holdApplicationUntilProxyStarts: 1":            "holdApplicationUntilProxyStarts must be true or false",
		`{"holdApplicationUntilProxyStarts":"true"}`:    "holdApplicationUntilProxyStarts must be true or false",
		"proxyMetadata: {A: 1}":                         "proxyMetadata must be a map of strings",
		"proxyMetadata: [A]":                            "proxyMetadata must be a map of strings",
		"proxyMetadata: {ISTIO_META_DNS_CAPTURE: true}": "proxyMetadata must be a map of strings",
		"proxyMetadata: null":                           `{` + hold + `,"proxyMetadata":null}`,
	} {
		got, decided, err := injectors.Istio().Hold.Merge(value)
		switch {
		case err != nil:
			got = strings.TrimPrefix(err.Error(), "proxy.istio.io/config: ")
		case decided:
			if got != value {
				t.Errorf("%q: got %s, want it as it was", value, got)
			}
			got = "decided"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
		if err == nil && !decided {
			if _, again, err := injectors.Istio().Hold.Merge(got); !again || err != nil {
				t.Errorf("%q merged again: got decided %v, %v", got, again, err)
			}
		}
	}
}

// TestIstioProxyConfig: what the annotation says goes over what the mesh says, but for the deprecated value.
func TestIstioProxyConfig(t *testing.T) {
	for name, c := range map[string]struct {
		mesh       injectors.Settings
		annotation string
		hold, dns  bool
	}{
		"nobody says anything": {},
		"the mesh":             {mesh: injectors.Settings{Hold: injectors.Yes, DNS: injectors.Yes}, hold: true, dns: true},
		"the pod":              {annotation: `{"holdApplicationUntilProxyStarts":true,"proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"true"}}`, hold: true, dns: true},
		"the pod in YAML":      {annotation: "hold_application_until_proxy_starts: true\nproxy_metadata:\n  ISTIO_META_DNS_CAPTURE: \"true\"", hold: true, dns: true},
		"the pod against":      {mesh: injectors.Settings{Hold: injectors.Yes, DNS: injectors.Yes}, annotation: `{"holdApplicationUntilProxyStarts":false,"proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"false"}}`},
		"fixed":                {mesh: injectors.Settings{Hold: injectors.Yes, HoldFixed: true}, annotation: `{"holdApplicationUntilProxyStarts":false}`, hold: true},
		"other metadata":       {mesh: injectors.Settings{DNS: injectors.Yes}, annotation: `{"proxyMetadata":{"A":"b"}}`, dns: true},
		"unreadable":           {mesh: injectors.Settings{Hold: injectors.Yes}, annotation: "{", hold: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := webPod(false)
			if c.annotation != "" {
				pod.Annotations["proxy.istio.io/config"] = c.annotation
			}
			e := env()
			settings := c.mesh
			settings.CNI, settings.Native, settings.Policy = injectors.No, injectors.No, injectors.Yes
			namespace := &injectors.Namespace{Name: "shop", Hooks: []*injectors.Hook{{
				Name: "namespace.sidecar-injector.istio.io", Namespaces: labels.Everything(), Objects: labels.Everything(), Injector: named(e, "istio"), Settings: &settings,
			}}}
			m := injectors.New(injectors.PodTarget(pod, namespace), e, injectors.All).Meshes[0]
			if m.Hold != injectors.TriOf(c.hold) || m.Capture.DNS != c.dns {
				t.Errorf("got hold %v, DNS capture %v, want %v and %v", m.Hold, m.Capture.DNS, c.hold, c.dns)
			}
		})
	}
}
