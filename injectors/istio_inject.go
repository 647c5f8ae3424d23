package injectors

import (
	"slices"
	"strings"
)

// istioInjects does what one run of the webhook does: render, merge with a container of the user's that bears the proxy's
// name, then reorderPod (pkg/kube/inject/webhook.go):
//
//	native    istio-init or istio-validation first, istio-proxy behind it, then everything else in its order
//	classic   istio-validation first, or istio-init last; istio-proxy the first container where it holds, else the last
func istioInjects(p *Plan, i *Injector, s *Settings) {
	t := p.Target
	proxied := istioProxied(t, s)
	switch istioRedirects(t, s, proxied.mode) {
	case No:
		return
	case Unknown:
		p.Doubt("template " + strings.Join(istioTemplatesOf(t, s), ",") + " is not known")
	case Yes:
	}
	m := Mesh{Injector: i, CNI: s.CNI, Native: istioWillBeNative(t, s), Hold: No}
	old := p.Mesh(i)
	if old != nil {
		m.CNI, m.Native = m.CNI.Or(old.CNI), m.Native.Or(old.Native)
		if !s.ListsKnown() {
			m.Capture = old.Capture // rendered from the same lists
		}
	}
	m.Late = m.CNI == Yes
	if m.Native == No && !s.Lifecycle && proxied.hold == Yes {
		m.Hold = Yes
	}

	proxy := p.takeOwn(i, Step{Name: "istio-proxy", Role: Proxy, Injector: i, Index: -1, UID: NoID, GID: NoID})
	m.istioIDs(p, &proxy, s, proxied.mode == "TPROXY", old)
	istioCaptures(&m, t, s, &proxied)
	first := p.takeOwn(i, Step{Name: "istio-init", Role: Installer, Injector: i, Index: -1})
	if m.CNI == Yes {
		first.Name, first.Role, first.UID, first.GID = "istio-validation", Validator, m.ProxyUID, m.ProxyGID
	}
	proxy.Phase, proxy.Gated = Main, m.Hold == Yes
	if m.Native == Yes {
		proxy.Phase, proxy.Gated = Native, !s.Ungated && t.Annotation(istioStatusPort) != "0"
		p.Add(proxy, true)
		p.beforeProxy(t.Annotation(istioBeforeProxy))
	} else {
		p.Add(proxy, m.Hold == Yes)
	}
	p.Add(first, m.Native == Yes || m.CNI == Yes)
	p.set(m)
}

// beforeProxy puts the init containers that the pod names in front of all others, in the order in which it names them: behind the
// redirect then, and before the native proxy (reorderPod, as of 011dc326e9). Which release is the first to do so is not known.
func (p *Plan) beforeProxy(names string) {
	if names == "" {
		return
	}
	at := 0
	for name := range strings.SplitSeq(names, ",") {
		from := slices.IndexFunc(p.Inits, func(s Step) bool { return s.Name == name && s.Role != Proxy })
		if from < at {
			continue // not there, or named twice
		}
		s := p.Inits[from]
		p.Inits = slices.Insert(slices.Delete(p.Inits, from, from+1), at, s)
		at++
		p.Doubt("whether this Istio reads " + istioBeforeProxy + " is not known")
	}
}

// istioCaptures sets what the redirect takes. Owner groups reach istio-init alone: the node plugin has an environment of its
// own.
func istioCaptures(m *Mesh, t *Target, s *Settings, proxied *istioProxy) {
	c := &m.Capture
	c.UIDs = []int64{m.ProxyUID}
	c.GIDs = c.UIDs
	if m.ProxyGID != m.ProxyUID {
		c.GIDs = []int64{m.ProxyGID}
	}
	c.DNS = proxied.dns == Yes
	istioAnnotated(c, t, s, m.CNI)
	switch m.CNI {
	case No:
		c.Groups, c.NamedGroups = nil, false
		c.owners(proxied.metadata(istioGroups, "*"), proxied.metadata(istioNoGroups, ""))
	case Yes:
		if istioPluginSkips(t) || truthy(proxied.metadata(istioNoEnvoy, ""), false) || istioIsRouter(istioTemplatesOf(t, s)) {
			c.nothing()
		}
	case Unknown:
	}
}

// istioRedirects tells whether the injection that the pod asks for redirects traffic at all: gateways and proxyless gRPC
// have templates of their own, interception mode NONE renders no installer.
func istioRedirects(t *Target, s *Settings, mode string) Tri {
	if mode == "NONE" {
		return No
	}
	templates := istioTemplatesOf(t, s)
	if len(templates) == 0 {
		return Yes
	}
	answer := No
	for _, name := range templates {
		switch name {
		case "sidecar":
			return Yes
		case "gateway", "grpc-agent", "grpc-simple", "waypoint", "kube-gateway", "agentgateway", "agentgateway-waypoint":
		default:
			answer = Unknown
		}
	}
	return answer
}

// istioIsRouter tells that a gateway's template is laid over a sidecar's: the proxy is then told to be a router.
func istioIsRouter(templates []string) bool {
	return slices.Index(templates, "gateway") > slices.Index(templates, "sidecar")
}

// istioTemplatesOf returns the names of the templates that the pod is rendered from, aliases resolved; none where it is
// the usual one (pkg/kube/inject/inject.go, selectTemplates).
func istioTemplatesOf(t *Target, s *Settings) []string {
	names := s.Templates
	if asked, ok := t.Meta.Annotations[istioTemplates]; ok {
		names = strings.Split(asked, ",")
		for i := range names {
			names[i] = strings.TrimSpace(names[i])
		}
	}
	if len(s.Aliases) == 0 {
		return names
	}
	var out []string
	for _, name := range names {
		if behind, ok := s.Aliases[name]; ok {
			out = append(out, behind...)
		} else {
			out = append(out, name)
		}
	}
	return out
}

// takeOwn removes the injector's container of that role from the plan (or the user's container of that name, which the
// injection will be merged with) and returns it, or the one given where there is none.
func (p *Plan) takeOwn(i *Injector, made Step) Step {
	for _, list := range [...]*[]Step{&p.Inits, &p.Mains} {
		for k := range *list {
			s := (*list)[k]
			if s.Injector == i && (s.Role == made.Role || s.Role == Validator && made.Role == Installer) || s.Injector == nil && s.Name == made.Name {
				*list = slices.Delete(*list, k, k+1)
				s.Injector, s.Role = i, made.Role
				return s
			}
		}
	}
	return made
}

// set puts the mesh into the plan, in the place of what was known of it. Which of its hooks come is not the injector's to say.
func (p *Plan) set(m Mesh) {
	if old := p.Mesh(m.Injector); old != nil {
		m.Settings, m.Coming, m.Again = old.Settings, old.Coming, old.Again
		*old = m
		return
	}
	p.Meshes = append(p.Meshes, m)
}

// istioWillBeNative: the annotation decides over the mesh; any value but "false" means native
// (files/injection-template.yaml since 1.27).
func istioWillBeNative(t *Target, s *Settings) Tri {
	if v := t.Annotation(istioNative); v != "" {
		return TriOf(v != "false")
	}
	return s.Native
}

// istioIDs finds the ids that the proxy will run with, and those that the redirect will let through. Under TPROXY the proxy
// is root, and istio-init is told 1337 all the same (files/injection-template.yaml).
//
// A container of the user's that bears the proxy's name keeps its ids, and istio-init is told its uid
// (adjustInitContainerUser in pkg/kube/inject/webhook.go). At a later run the proxy gets the template's ids back, and
// istio-init is told those that the proxy had before: then the proxy's own traffic is redirected to itself.
func (m *Mesh) istioIDs(p *Plan, proxy *Step, s *Settings, tproxy bool, old *Mesh) {
	hadUID, hadGID := proxy.UID, proxy.GID
	if c := p.Container(proxy); c != nil { // the pod's own ids do not count
		hadUID, hadGID = NoID, NoID
		if sc := c.SecurityContext; sc != nil {
			hadUID, hadGID = orID(sc.RunAsUser, NoID), orID(sc.RunAsGroup, NoID)
		}
	}
	proxy.UID, proxy.GID = istioTemplateIDs(p.Target, s)
	owner := proxy.UID
	if tproxy {
		proxy.UID, proxy.GID, owner = 0, istioUID, istioUID
	}
	if hadUID > 0 {
		owner = hadUID
	}
	if old == nil || !old.Coming && p.Target.Annotation(istioOverrides) == "" {
		if hadUID != NoID && !tproxy {
			proxy.UID = hadUID
		}
		if hadGID != NoID {
			proxy.GID = hadGID
		}
	}
	m.ProxyUID, m.ProxyGID = owner, owner
	if m.CNI == Yes {
		m.ProxyUID, m.ProxyGID = istioID(proxy.UID), istioID(proxy.GID)
	}
}

// istioTemplateIDs are the ids that the template gives the proxy: on OpenShift the last uid and gid of the namespace's
// ranges (GetProxyIDs, pkg/kube/inject/inject.go).
func istioTemplateIDs(t *Target, s *Settings) (uid, gid int64) {
	uid, gid = istioUID, istioUID
	if s.ProxyUID != 0 {
		uid, gid = s.ProxyUID, s.ProxyUID
	}
	if uids, ok := t.Namespace.Annotations["openshift.io/sa.scc.uid-range"]; ok {
		groups, ok := t.Namespace.Annotations["openshift.io/sa.scc.supplemental-groups"]
		if !ok {
			groups = uids
		}
		uid, gid = lastOfRange(uids, uid), lastOfRange(groups, gid)
	}
	return uid, gid
}

// lastOfRange reads OpenShift's ranges, written first/size or first-last; the first of a comma separated list counts.
func lastOfRange(value string, otherwise int64) int64 {
	value, _, _ = strings.Cut(value, ",")
	if first, size, ok := strings.Cut(value, "/"); ok {
		if a, n := parseID(first), parseID(size); a >= 0 && n > 0 {
			return a + n - 1
		}
	}
	if _, last, ok := strings.Cut(value, "-"); ok && parseID(last) >= 0 {
		return parseID(last)
	}
	return otherwise
}
