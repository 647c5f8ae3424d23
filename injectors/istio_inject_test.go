package injectors_test

import (
	"net/netip"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/injectors"
)

// hooked returns a namespace in which Istio's webhook, with the given settings, is all there is.
func hooked(e *injectors.Env, s *injectors.Settings, reinvoked bool) *injectors.Namespace {
	return &injectors.Namespace{Name: "shop", Hooks: []*injectors.Hook{{
		Name: "namespace.sidecar-injector.istio.io", Namespaces: labels.Everything(), Objects: labels.Everything(), Injector: named(e, "istio"), Settings: s, Reinvoked: reinvoked,
	}}}
}

// TestIstioUsersProxy: the ids of a container of the user's that bears the proxy's name. The second run of the webhook gives the
// proxy its own back and leaves istio-init the user's: what is behind the proxy is then not said to be meshed.
func TestIstioUsersProxy(t *testing.T) {
	for name, c := range map[string]struct {
		context          corev1.SecurityContext
		cni, tproxy      bool
		reinvoked        bool
		proxy, let, letG int64
		want             injectors.State
	}{
		"no ids":                 {proxy: 1337, let: 1337, letG: 1337, want: injectors.Meshed},
		"a uid":                  {context: corev1.SecurityContext{RunAsUser: new(int64(2000))}, proxy: 2000, let: 2000, letG: 2000, want: injectors.Meshed},
		"a uid and a gid":        {context: corev1.SecurityContext{RunAsUser: new(int64(2000)), RunAsGroup: new(int64(3000))}, proxy: 2000, let: 2000, letG: 2000, want: injectors.Meshed},
		"root":                   {context: corev1.SecurityContext{RunAsUser: new(int64(0))}, proxy: 0, let: 1337, letG: 1337, want: injectors.Meshed},
		"no ids, twice":          {reinvoked: true, proxy: 1337, let: 1337, letG: 1337, want: injectors.Meshed},
		"a uid, twice":           {context: corev1.SecurityContext{RunAsUser: new(int64(2000))}, reinvoked: true, proxy: 1337, let: 2000, letG: 2000, want: injectors.Unclear},
		"CNI":                    {context: corev1.SecurityContext{RunAsUser: new(int64(2000)), RunAsGroup: new(int64(3000))}, cni: true, proxy: 2000, let: 2000, letG: 3000, want: injectors.Meshed},
		"CNI, twice":             {context: corev1.SecurityContext{RunAsUser: new(int64(2000)), RunAsGroup: new(int64(3000))}, cni: true, reinvoked: true, proxy: 1337, let: 1337, letG: 1337, want: injectors.Meshed},
		"TPROXY":                 {tproxy: true, proxy: 0, let: 1337, letG: 1337, want: injectors.Meshed},
		"TPROXY, a uid":          {context: corev1.SecurityContext{RunAsUser: new(int64(2000))}, tproxy: true, proxy: 0, let: 2000, letG: 2000, want: injectors.Unclear},
		"TPROXY under CNI":       {cni: true, tproxy: true, proxy: 0, let: 1337, letG: 1337, want: injectors.Meshed},
		"TPROXY under CNI, uids": {context: corev1.SecurityContext{RunAsUser: new(int64(2000))}, cni: true, tproxy: true, proxy: 0, let: 1337, letG: 1337, want: injectors.Meshed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := env()
			pod := &corev1.Pod{Spec: corev1.PodSpec{
				InitContainers: []corev1.Container{{Name: "migrate"}},
				Containers:     []corev1.Container{{Name: "app"}, {Name: "istio-proxy", SecurityContext: &c.context}},
			}}
			s := &injectors.Settings{CNI: injectors.TriOf(c.cni), Native: injectors.Yes, Lists: true}
			if c.tproxy {
				s.Interception = "TPROXY"
			}
			p := injectors.New(injectors.PodTarget(pod, hooked(e, s, c.reinvoked)), e, injectors.Rest)
			m, proxy := &p.Meshes[0], &p.Inits[1]
			if proxy.Name != "istio-proxy" || proxy.UID != c.proxy {
				t.Errorf("proxy: got %s with uid %d, want uid %d", proxy.Name, proxy.UID, c.proxy)
			}
			if m.ProxyUID != c.let || m.ProxyGID != c.letG {
				t.Errorf("let through: got %d and %d, want %d and %d", m.ProxyUID, m.ProxyGID, c.let, c.letG)
			}
			if got := p.Network(&p.Inits[step(p, "migrate")], injectors.Endpoint{}); got != c.want {
				t.Errorf("migrate: got %s, want %s", got, c.want)
			}
		})
	}
}

// TestIstioProxyLoops: the same, in a finished pod.
func TestIstioProxyLoops(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	for uid, want := range map[string]injectors.State{"1337": injectors.Meshed, "2000": injectors.Unclear} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{
			{Name: "istio-init", Args: []string{"istio-iptables", "-u", uid, "-i", "*"}},
			{Name: "istio-proxy", RestartPolicy: &always, SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(1337)), RunAsGroup: new(int64(1337))}},
			{Name: "migrate"},
		}}}
		pod.Annotations = map[string]string{"sidecar.istio.io/status": "{}"}
		p := injectors.New(injectors.PodTarget(pod, &injectors.Namespace{Name: "shop"}), env(), injectors.Fact)
		if got := p.Network(&p.Inits[2], injectors.Endpoint{}); got != want {
			t.Errorf("-u %s: got %s, want %s", uid, got, want)
		}
	}
}

// TestMarks: a mark is believed beside a container of the injector's own, and on pods alone.
func TestMarks(t *testing.T) {
	injected := []corev1.Container{{Name: "istio-init", Args: []string{"-u", "1337", "-i", "*"}}}
	for name, c := range map[string]struct {
		inits   []corev1.Container
		horizon injectors.Horizon
		coming  bool
	}{
		"copied":               {horizon: injectors.Rest, coming: true},
		"injected":             {inits: injected, horizon: injectors.Rest},
		"template":             {horizon: injectors.All, coming: true},
		"template, by kubectl": {inits: injected, horizon: injectors.All, coming: true},
	} {
		e := env()
		pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: c.inits, Containers: []corev1.Container{{Name: "app"}}}}
		pod.Annotations = map[string]string{"sidecar.istio.io/status": "{}"}
		p := injectors.New(injectors.PodTarget(pod, hooked(e, &injectors.Settings{CNI: injectors.No, Native: injectors.No, Lists: true}, false)), e, c.horizon)
		if p.Coming != c.coming || len(p.Meshes) != 1 {
			t.Errorf("%s: got coming %v, %d meshes, want %v and one", name, p.Coming, len(p.Meshes), c.coming)
		}
	}
}

// TestMeshList: which list an annotation would replace.
func TestMeshList(t *testing.T) {
	installer := []corev1.Container{{Name: "istio-init", Args: []string{"-u", "1337", "-i", "*", "-x", "192.0.2.0/24,198.51.100.7/32", "-o", "3306,8200"}}}
	known := &injectors.Settings{CNI: injectors.No, Native: injectors.No, Lists: true, ExcludeCIDRs: "203.0.113.0/24"}
	unknown := &injectors.Settings{CNI: injectors.No, Native: injectors.No}
	for name, c := range map[string]struct {
		annotation string
		settings   *injectors.Settings
		inits      []corev1.Container
		reinvoked  bool
		cidrs      string
		ports      string
	}{
		"the mesh's":                     {settings: known, cidrs: "203.0.113.0/24"},
		"the pod's":                      {settings: known, annotation: "10.0.0.0/8", cidrs: "10.0.0.0/8"},
		"the pod's, the mesh not known":  {settings: unknown, annotation: "10.0.0.0/8", cidrs: "10.0.0.0/8", ports: "unknown"},
		"not known":                      {settings: unknown, cidrs: "unknown", ports: "unknown"},
		"rendered":                       {settings: unknown, inits: installer, cidrs: "192.0.2.0/24,198.51.100.7/32", ports: "3306,8200"},
		"rendered, and will be again":    {settings: unknown, inits: installer, reinvoked: true, cidrs: "192.0.2.0/24,198.51.100.7/32", ports: "3306,8200"},
		"rendered, the mesh not read":    {inits: installer, cidrs: "192.0.2.0/24,198.51.100.7/32", ports: "3306,8200"},
		"under CNI it is the annotation": {inits: []corev1.Container{{Name: "istio-validation"}}},
	} {
		e := env()
		pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: c.inits, Containers: []corev1.Container{{Name: "app"}, {Name: "istio-proxy"}}}}
		pod.Annotations = map[string]string{}
		if c.inits != nil {
			pod.Annotations["sidecar.istio.io/status"] = "{}"
		}
		if c.annotation != "" {
			pod.Annotations["traffic.sidecar.istio.io/excludeOutboundIPRanges"] = c.annotation
		}
		p := injectors.New(injectors.PodTarget(pod, hooked(e, c.settings, c.reinvoked)), e, injectors.Rest)
		for means, want := range map[injectors.Meaning]string{injectors.ExcludeCIDRs: c.cidrs, injectors.ExcludePorts: c.ports} {
			got, known := p.Meshes[0].List(means, p.Target)
			if !known {
				got = "unknown"
			}
			if got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		if certain := c.settings != unknown || c.inits != nil; p.Certain() != certain {
			t.Errorf("%s: got doubts %v, want certain %v", name, p.Doubts, certain)
		}
	}
}

// TestIdentify: two control planes of one revision, in two namespaces, have settings of their own.
func TestIdentify(t *testing.T) {
	e := env()
	of := func(cni string) map[string]string {
		return map[string]string{"values": `{"global":{"tag":"1.26.0"},"pilot":{"cni":{"enabled":` + cni + `}}}`}
	}
	src := &injectors.Sources{
		Namespaces: []string{"istio-system", "istio-two"},
		ConfigMaps: map[string]map[string]string{"istio-system/istio-sidecar-injector": of("false"), "istio-two/istio-sidecar-injector": of("true")},
		Deployments: []injectors.Deployment{
			{Namespace: "istio-system", Labels: map[string]string{"app": "istiod", "istio.io/rev": "default"}, Env: map[string]string{"ENABLE_NATIVE_SIDECARS": "true"}},
			{Namespace: "istio-two", Labels: map[string]string{"app": "istiod", "istio.io/rev": "default"}},
		},
	}
	var all []*admissionregistrationv1.MutatingWebhookConfiguration
	for _, namespace := range []string{"istio-system", "istio-two", ""} {
		c := configuration("in-"+namespace, "namespace.sidecar-injector.istio.io", admissionregistrationv1.NeverReinvocationPolicy)
		if namespace != "" {
			c.Webhooks[0].ClientConfig.Service = &admissionregistrationv1.ServiceReference{Namespace: namespace, Name: "istiod"}
		}
		all = append(all, c)
	}
	hooks := injectors.CallOrder(all)
	e.Catalogue.Identify(hooks, src, nil)
	for _, h := range hooks {
		s := h.Settings
		if two := h.Service == "istio-two/istiod"; s.CNI != injectors.TriOf(two) || s.Native != injectors.TriOf(!two) {
			t.Errorf("%s: got CNI %s, native %s", h.Configuration, s.CNI, s.Native)
		}
	}
}

// TestGroups: who is captured by group. The dialer's is 1000; an own container has none that is known.
func TestGroups(t *testing.T) {
	for name, c := range map[string]struct {
		env        []corev1.EnvVar
		interfaces string
		agent, own injectors.State
		names      injectors.Tri
	}{
		"all":               {agent: injectors.Cut, own: injectors.Cut, names: injectors.No},
		"all but its own":   {env: variables("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "1000"), agent: injectors.Open, own: injectors.Unclear, names: injectors.Yes},
		"all but another":   {env: variables("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "7"), agent: injectors.Cut, own: injectors.Unclear, names: injectors.No},
		"its own":           {env: variables("ISTIO_OUTBOUND_OWNER_GROUPS", "1000"), agent: injectors.Cut, own: injectors.Unclear, names: injectors.No},
		"another":           {env: variables("ISTIO_OUTBOUND_OWNER_GROUPS", "7"), agent: injectors.Open, own: injectors.Unclear, names: injectors.Yes},
		"none":              {env: variables("ISTIO_OUTBOUND_OWNER_GROUPS", ""), agent: injectors.Open, own: injectors.Open, names: injectors.Yes},
		"by name":           {env: variables("ISTIO_OUTBOUND_OWNER_GROUPS", "7,vault"), agent: injectors.Unclear, own: injectors.Unclear, names: injectors.Unknown},
		"another interface": {interfaces: "net1", agent: injectors.Unclear, own: injectors.Unclear, names: injectors.Unknown},
		"the interface":     {interfaces: "net1,eth0", agent: injectors.Open, own: injectors.Open, names: injectors.Yes},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{
			{
				Name: "istio-init", Args: []string{"-u", "1337", "-i", "*", "-c", c.interfaces},
				Env: append(variables("ISTIO_META_DNS_CAPTURE", "true"), c.env...),
			},
			{Name: "vault-agent-init", SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(100)), RunAsGroup: new(int64(1000))}},
			{Name: "migrate"},
		}}}
		p := injectors.New(injectors.PodTarget(pod, &injectors.Namespace{Name: "shop"}), env(), injectors.Fact)
		to := injectors.Endpoint{Port: 8200, Addrs: []netip.Addr{netip.MustParseAddr("10.96.7.7")}}
		if agent, own, names := p.Network(&p.Inits[1], to), p.Network(&p.Inits[2], to), p.Names(&p.Inits[1]); agent != c.agent || own != c.own || names != c.names {
			t.Errorf("%s: got %s, %s, names %s; want %s, %s, %s", name, agent, own, names, c.agent, c.own, c.names)
		}
	}
}
