package injectors

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// istioObserve reads the capture of an injected pod where it takes effect: the arguments and the environment of istio-init,
// which were rendered when the webhook ran; under CNI the final annotations and the proxy's container, which the node plugin
// reads (cni/pkg/plugin/sidecar_redirect.go).
func istioObserve(p *Plan, m *Mesh, first, last *Step) bool {
	if first == nil {
		return false
	}
	c := &m.Capture
	if m.CNI == No {
		installer := p.Container(first)
		istioArguments(c, m, installer.Args)
		c.DNS = truthy(envOr(installer.Env, istioDNSCapture, ""), false)
		c.owners(envOr(installer.Env, istioGroups, "*"), envOr(installer.Env, istioNoGroups, ""))
		c.UIDs, c.GIDs = []int64{m.ProxyUID}, []int64{m.ProxyGID}
		return true
	}
	proxy := p.Container(last)
	m.Late = true
	m.ProxyUID, m.ProxyGID = istioUID, istioUID
	if proxy != nil {
		m.ProxyUID, m.ProxyGID = istioPluginIDs(proxy)
		c.DNS = truthy(envOr(proxy.Env, istioDNSCapture, ""), false)
	}
	c.UIDs, c.GIDs = []int64{m.ProxyUID}, []int64{m.ProxyGID}
	istioAnnotated(c, p.Target, &Settings{Lists: true}, Yes)
	if _, injected := p.Target.Meta.Annotations[istioStatus]; !injected || istioPluginSkips(p.Target) || istioPluginSkipsProxy(proxy) {
		c.nothing()
	}
	return true
}

// istioPluginIDs are the ids that the node plugin lets through: those of the proxy's own container, and 1337 where they are
// unset or 0.
func istioPluginIDs(proxy *corev1.Container) (uid, gid int64) {
	uid, gid = istioUID, istioUID
	if sc := proxy.SecurityContext; sc != nil {
		uid, gid = istioID(orID(sc.RunAsUser, uid)), istioID(orID(sc.RunAsGroup, gid))
	}
	return uid, gid
}

func istioID(id int64) int64 {
	if id <= 0 {
		return istioUID
	}
	return id
}

// istioPluginSkips tells whether the node plugin leaves a pod alone for what its metadata says: the namespace that the chart
// excludes, and a pod that asked for no injection, in any spelling of false (cni/pkg/plugin/plugin.go, doAddRun).
func istioPluginSkips(t *Target) bool {
	if t.Namespace.Name == "kube-system" {
		return true
	}
	asked := istioAsked(t)
	return asked != "" && !truthy(asked, true) && parses(asked)
}

// istioPluginSkipsProxy tells whether it does for what the proxy is told.
func istioPluginSkipsProxy(proxy *corev1.Container) bool {
	if proxy == nil || truthy(envOr(proxy.Env, istioNoEnvoy, ""), false) {
		return true
	}
	return len(proxy.Args) >= 2 && proxy.Args[0] == "proxy" && proxy.Args[1] != "sidecar" && proxy.Args[1] != ""
}

func parses(boolean string) bool {
	_, err := strconv.ParseBool(boolean)
	return err == nil
}

// envOr returns the value that a container's environment gives the name; the last entry counts.
func envOr(env []corev1.EnvVar, name, otherwise string) string {
	for i := range slices.Backward(env) {
		if env[i].Name == name {
			return env[i].Value
		}
	}
	return otherwise
}

// istioArguments reads the command line of istio-iptables. The gid defaults to the uid; a value that does not parse makes
// istio-init fail, which is not for the plan to say, so it counts as empty.
func istioArguments(c *Capture, m *Mesh, args []string) {
	c.Listed = true
	m.ProxyUID = istioUID
	gid, in, out := NoID, "", ""
	for i := 0; i+1 < len(args); i++ {
		value := args[i+1]
		switch args[i] {
		case "-u":
			m.ProxyUID = parseID(value)
		case "-g":
			gid = parseID(value)
		case "-i":
			c.include(value)
		case "-x":
			c.Exclude, _ = ParseCIDRs(value)
		case "-o":
			c.ExcludePorts, _ = ParsePorts(value)
		case "-q":
			c.IncludePorts, _ = ParsePorts(value)
		case "-c":
			c.Interfaces = value
		case "-b":
			in = value
		case "-d":
			out = value
		default:
			continue
		}
		i++
	}
	if m.ProxyUID == NoID {
		m.ProxyUID = istioUID
	}
	m.ProxyGID = gid
	if gid == NoID {
		m.ProxyGID = m.ProxyUID
	}
	c.inbound(in, out)
}

// inbound sets the ports of the pod that are captured, "*" being all of them, but for those to leave alone.
func (c *Capture) inbound(include, exclude string) {
	c.Inbound = Inbound{Known: true, Listed: include != "*"}
	if c.Inbound.Listed {
		c.Inbound.Include, _ = ParsePorts(include)
	}
	c.Inbound.Exclude, _ = ParsePorts(exclude)
}

func parseID(s string) int64 {
	if s == "" {
		return NoID
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return NoID
	}
	return n
}

// include sets the list of captured addresses; "*" is all of them.
func (c *Capture) include(list string) {
	c.Listed = list != "*"
	c.Include = nil
	if c.Listed {
		c.Include, _ = ParseCIDRs(list)
	}
}

// nothing makes the capture one that takes nothing.
func (c *Capture) nothing() {
	*c = Capture{UIDs: c.UIDs, GIDs: c.GIDs, Listed: true, Inbound: Inbound{Known: true, Listed: true}}
}

// owners sets the groups whose traffic alone is taken, or all but whose: the list of those to take goes over the other one
// (tools/common/config/types.go, ParseInterceptFilter). The kernel resolves names of groups, which nobody else can.
func (c *Capture) owners(include, exclude string) {
	list := exclude
	if c.OnlyGroups = include != "*"; c.OnlyGroups {
		list = include
	}
	if list == "" {
		return
	}
	for group := range strings.SplitSeq(list, ",") {
		if group == "" {
			continue
		}
		if id := parseID(group); id >= 0 {
			c.Groups = append(c.Groups, id)
		} else {
			c.NamedGroups = true
		}
	}
}

// istioAnnotated reads the capture from the pod's annotations; each replaces the mesh's value, nothing is merged. Where the
// mesh's lists are not known either, the capture keeps what is in it. A mesh-wide list of captured addresses that is empty
// is handed to istio-init, which then captures nothing, and not to the node plugin, which then captures everything.
func istioAnnotated(c *Capture, t *Target, s *Settings, cni Tri) {
	known := s.ListsKnown()
	include, said := t.Meta.Annotations[istioIncludeCIDRs]
	switch {
	case said:
		c.include(include)
	case s.IncludeCIDRs != "":
		c.include(s.IncludeCIDRs)
	case s.IncludeNone && cni == No:
		c.include("")
	case known:
		c.include("*")
	}
	if list, ok := annotationOr(t, istioExcludeCIDRs, s.ExcludeCIDRs, known); ok {
		c.Exclude, _ = ParseCIDRs(list)
	}
	if list, ok := annotationOr(t, istioExcludePorts, s.ExcludePorts, known); ok {
		c.ExcludePorts, _ = ParsePorts(list)
	}
	if list, ok := annotationOr(t, istioIncludePorts, s.IncludePorts, known); ok {
		c.IncludePorts, _ = ParsePorts(list)
	}
	c.Interfaces = t.Annotation(istioInterfaces)
	in, inKnown := annotationOr(t, istioIncludeIn, cmp.Or(s.IncludeInbound, "*"), known)
	out, outKnown := annotationOr(t, istioExcludeIn, s.ExcludeInbound, known)
	if inKnown && outKnown {
		c.inbound(in, out)
		// The proxy's own ports, which the template and the node plugin add to whatever is said.
		c.Inbound.Exclude = append(c.Inbound.Exclude, Ports{15020, 15021}, Ports{15090, 15090})
	}
}

func annotationOr(t *Target, key, otherwise string, known bool) (string, bool) {
	if v, ok := t.Meta.Annotations[key]; ok {
		return v, true
	}
	return otherwise, known
}
