package injectors

import (
	"encoding/json"
	"errors"
	"strings"

	"sigs.k8s.io/yaml"
)

// Traffic Director's annotations and names, in the bundle td-sidecar-injector-xdsv3 (specs/01-configmap.yaml, 02-injector.yaml).
const (
	tdDomain        = "cloud.google.com/"
	tdExcludeCIDRs  = tdDomain + "excludeOutboundCIDRs"
	tdIncludeCIDRs  = tdDomain + "includeOutboundCIDRs"
	tdExcludePorts  = tdDomain + "excludeOutboundPorts"
	tdIncludeIn     = tdDomain + "includeInboundPorts"
	tdExcludeIn     = tdDomain + "excludeInboundPorts"
	tdProxyMetadata = tdDomain + "proxyMetadata"
	tdInjection     = "td-injection"
	tdWebhook       = "sidecar-injector.istio.io"
	tdBootstrap     = "td-bootstrap-writer"
	tdInjectorMesh  = "injector-mesh"
	tdAddress       = "trafficdirector.googleapis.com:443"

	// tdMetadataServer is what the template exempts where the pod says nothing: the machine's own metadata server, without which
	// the proxy has no identity. An annotation replaces it.
	tdMetadataServer = "169.254.169.254/32"

	tdBootstrapUID = 1323
)

var errTDMetadata = errors.New("not JSON")

// TrafficDirector is the injector of Google's Traffic Director: Istio's of release 1.5 with a template of its own. It marks pods
// as Istio's does, and redirects them with a container of the same name; the container that writes the proxy's bootstrap, which
// the mark names, tells them apart.
//
// Whether that container needs the network to end is not known; where it stands, nothing redirects it yet.
func TrafficDirector() *Injector {
	i := &Injector{
		Name:  "traffic-director",
		Title: "Traffic Director",
		Facts: "td-sidecar-injector-xdsv3 as of 2023 (istio/sidecar_injector 1.5.8, envoy 1.24.0), one copy of it; which build reads td-injection is not known",
		Containers: map[string]Role{
			tdBootstrap: Helper,
		},
		Common: map[string]Role{
			"istio-init": Installer,
			"envoy":      Proxy,
		},
		Owns: tdOwns,
		Read: readTD,
		Reads: Reads{
			ConfigMaps: []string{tdInjectorMesh, "istio-sidecar-injector"}, Keys: []string{"mesh", "config"},
		},
		Marked:      tdMarked,
		Wants:       tdWants,
		Asked:       tdAsked,
		Decline:     Decline{Key: istioInject, Value: "false"},
		Muddle:      tdMuddle,
		Rerenders:   true,
		Observe:     tdObserve,
		Annotations: tdAnnotations(),
		Discovery:   tdDiscovery,
		// Its proxies wait for the client's first bytes, whatever the port (Traffic Director's documentation, on protocols in which
		// the server speaks first).
		ServerFirst: func(*Target, uint16) Tri { return No },
	}
	i.Inject = func(p *Plan, s *Settings) { tdInjects(p, i, s) }
	return i
}

// tdMarked: the container that writes the bootstrap is no one else's, where somebody has taken the annotation away.
func tdMarked(t *Target) bool {
	if status := t.Annotation(istioStatus); status != "" {
		return tdMark(status)
	}
	for i := range t.Spec.InitContainers {
		if t.Spec.InitContainers[i].Name == tdBootstrap {
			return true
		}
	}
	return false
}

// tdMark tells Traffic Director's status annotation from Istio's.
func tdMark(status string) bool { return strings.Contains(status, `"`+tdBootstrap+`"`) }

// tdOwns: the entry has no prefix, as Istio's had none before it had revisions; the Service tells it from one that is left over
// in istio-system.
func tdOwns(h *Hook) (string, bool) {
	return defaultRevision, h.Name == tdWebhook && strings.HasSuffix(h.Service, "/istio-sidecar-injector") && !strings.HasPrefix(h.Service, "istio-system/")
}

// tdWants is injectRequired of release 1.5 (pkg/kube/inject/inject.go): the annotation goes over the injector's own selectors, and
// is read more kindly than today. A build that reads td-injection instead is told by nothing.
func tdWants(t *Target, s *Settings) Tri {
	switch {
	case t.Spec.HostNetwork:
		return No
	case t.Namespace.Name == "kube-system" || t.Namespace.Name == "kube-public":
		return No
	}
	if asked := t.Annotation(istioInject); asked != "" {
		return TriOf(tdYes(asked))
	}
	answer := s.Policy.Or(Yes)
	switch {
	case matchesAny(s.Never, t.Meta.Labels):
		answer = No
	case matchesAny(s.Always, t.Meta.Labels):
		answer = Yes
	}
	if asked := t.Annotation(tdInjection); asked != "" && TriOf(tdYes(asked)) != answer {
		return Unknown
	}
	return answer
}

func tdYes(value string) bool {
	switch strings.ToLower(value) {
	case "y", "yes", "true", "on":
		return true
	}
	return false
}

// tdAsked: the namespace's label and the pod's annotation are Istio's too. They ask for this injector where it is the one that is
// registered.
func tdAsked(t *Target) Tri {
	if asked := t.Annotation(tdInjection); asked != "" {
		return TriOf(tdYes(asked))
	}
	if !tdRegistered(t) {
		return Unknown
	}
	if asked := t.Annotation(istioInject); asked != "" {
		return TriOf(tdYes(asked))
	}
	return Yes // its webhook is called in namespaces that are labelled for it, and in no others
}

// tdRegistered tells whether Traffic Director's webhook is called in the pod's namespace.
func tdRegistered(t *Target) bool {
	for _, h := range t.Namespace.Hooks {
		if _, ok := tdOwns(h); ok {
			return true
		}
	}
	return false
}

func tdMuddle(t *Target) []Muddle {
	if !tdRegistered(t) {
		return nil
	}
	// The webhook has no selector for pods: a label does nothing.
	if said, ok := t.Meta.Labels[istioInject]; ok && t.Annotation(istioInject) == "" && !istioRegistered(t) {
		return []Muddle{{
			What: "label " + istioInject + "=" + said + " on the pod is not read",
			Fix:  "Make it an annotation: " + istioInject + `: "` + said + `"`,
		}}
	}
	return nil
}

// tdInjects appends the three containers of the template (addContainer of release 1.5). A later call first removes what an
// earlier one has put there.
func tdInjects(p *Plan, i *Injector, s *Settings) {
	p.Inits = without(p.Inits, i)
	p.Mains = without(p.Mains, i)
	for k := range p.Meshes {
		if other := &p.Meshes[k]; other.Injector != i {
			// Of two that mark a pod alike, the later one removes what the mark of the earlier one names.
			p.Doubt("what is left of " + other.Injector.Title + "'s containers behind Traffic Director's injector is not known")
		}
	}
	m := Mesh{Injector: i, CNI: No, Native: No, Hold: No, ProxyUID: istioUID, ProxyGID: istioUID}
	c := &m.Capture
	c.UIDs = []int64{istioUID}
	c.GIDs = c.UIDs
	t := p.Target
	c.include(annotated(t, tdIncludeCIDRs, "*"))
	c.Exclude, _ = ParseCIDRs(annotated(t, tdExcludeCIDRs, s.ExcludeCIDRs))
	c.ExcludePorts, _ = ParsePorts(t.Annotation(tdExcludePorts))
	c.inbound(annotated(t, tdIncludeIn, ""), t.Annotation(tdExcludeIn))
	p.Add(Step{Name: tdBootstrap, Role: Helper, Injector: i, UID: tdBootstrapUID, GID: tdBootstrapUID}, false)
	p.Add(Step{Name: "istio-init", Role: Installer, Injector: i}, false)
	p.Add(Step{Name: "envoy", Phase: Main, Role: Proxy, Injector: i, UID: istioUID, GID: istioUID}, false)
	p.set(m)
}

func without(steps []Step, i *Injector) []Step {
	out := steps[:0]
	for k := range steps {
		if steps[k].Injector != i {
			out = append(out, steps[k])
		}
	}
	return out
}

func annotated(t *Target, key, otherwise string) string {
	if v, ok := t.Meta.Annotations[key]; ok {
		return v
	}
	return otherwise
}

// tdObserve reads the arguments that the annotations were rendered into. There is no other mode than this.
func tdObserve(p *Plan, m *Mesh, installer, _ *Step) bool {
	first := p.Container(installer)
	if first == nil || installer.Role != Installer {
		return false
	}
	m.Native, m.Hold = No, No
	istioArguments(&m.Capture, m, first.Args)
	m.Capture.UIDs, m.Capture.GIDs = []int64{m.ProxyUID}, []int64{m.ProxyGID}
	return true
}

// readTD reads the injector's own selectors, and the address that its proxies are told, in its own namespace: Istio's ConfigMaps
// have the same names. The lists are the template's, which is the same everywhere.
func readTD(src *Sources, _ string) *Settings {
	s := &Settings{Missing: src.Missing, CNI: No, Native: No, Hold: No, DNS: No, Lists: true, ExcludeCIDRs: tdMetadataServer}
	if len(src.Namespaces) == 0 {
		return s
	}
	if config := src.ConfigMaps[src.Namespaces[0]+"/istio-sidecar-injector"]["config"]; config != "" {
		s.istioPolicy(config, "")
	}
	var mesh struct {
		DefaultConfig struct {
			Address string `json:"discoveryAddress"`
		} `json:"defaultConfig"`
	}
	if err := yaml.Unmarshal([]byte(src.ConfigMaps[src.Namespaces[0]+"/"+tdInjectorMesh]["mesh"]), &mesh); err != nil {
		s.missing("ConfigMap %s, key mesh: %v", tdInjectorMesh, err)
	}
	s.Discovery = mesh.DefaultConfig.Address
	return s
}

// tdDiscovery: the address stands in the template, as an argument of the container that writes the bootstrap; what the mesh's
// settings say was handed to proxies before that.
func tdDiscovery(t *Target, s *Settings) (said, want string) {
	for i := range t.Spec.InitContainers {
		if c := &t.Spec.InitContainers[i]; c.Name == tdBootstrap {
			for _, arg := range c.Args {
				if address, ok := strings.CutPrefix(arg, "--traffic_director_url="); ok {
					return address, tdAddress
				}
			}
		}
	}
	if s != nil {
		said = s.Discovery
	}
	return said, tdAddress
}

func tdAnnotations() []Annotation {
	// Nothing is checked when the pod is admitted. istio-init passes ranges of addresses over that it cannot read, and fails on
	// ports; which ports to leave out it reads only where all others that come in are taken (istio,
	// tools/istio-iptables/pkg/capture/run.go at 1.12).
	broken := breaksPorts(ParseColonRanges)
	cidrs := func(v string) error { _, err := ParseCIDRs(v); return err }
	ports := func(v string) error { _, err := ParsePorts(v); return err }
	return []Annotation{
		{Key: tdExcludeCIDRs, Means: ExcludeCIDRs, Check: cidrs},
		{Key: tdIncludeCIDRs, Means: IncludeCIDRs, Check: orAll(cidrs)},
		{Key: tdExcludePorts, Means: ExcludePorts, Check: ports, Breaks: broken},
		{Key: tdExcludeIn, Means: ExcludeInbound, Check: ports},
		{Key: tdIncludeIn, Means: IncludeInbound, Check: orAll(ports), Breaks: broken},
		{Key: tdProxyMetadata, Check: func(v string) error {
			if !json.Valid([]byte(v)) {
				return errTDMetadata
			}
			return nil
		}},
		{Key: tdDomain + "forwardPodLabels"},
		{Key: tdDomain + "enableManagedCerts"},
		{Key: tdInjection},
	}
}

// orAll is a check that * passes too.
func orAll(check func(string) error) func(string) error {
	return func(v string) error {
		if v == "*" {
			return nil
		}
		return check(v)
	}
}
