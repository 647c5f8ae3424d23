package validators

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// cut says who keeps the network from a container, and until when: cut off by "istio-init" (initContainers[1]) until
// "istio-proxy" (containers[1]) serves.
func (i *inspection) cut(b injectors.Blocker) string {
	// Most often one blocker stands in the way of all.
	if i.cutText == "" || i.cutBy != b {
		i.cutText, i.cutBy = i.cutNow(b), b
	}
	return i.cutText
}

func (i *inspection) cutNow(b injectors.Blocker) string {
	who := "the CNI plugin"
	if b.Installer != nil && b.Installer.Role == injectors.Installer {
		who = i.at(b.Installer)
	}
	switch {
	case b.Proxy == nil:
		return "cut off by " + who + ", and no proxy serves."
	case b.Proxy.LostSidecar():
		return "cut off by " + who + ", and " + i.at(b.Proxy) + " lost its restartPolicy."
	}
	return "cut off by " + who + " until " + i.at(b.Proxy) + " serves."
}

// butCut says what a container needs (in the words given) and why it cannot have it.
func (i *inspection) butCut(s *injectors.Step, need string, to injectors.Endpoint, b injectors.Blocker) string {
	if !to.Known() {
		return i.at(s) + need + "the network, " + i.cut(b)
	}
	return i.at(s) + need + needs(to) + ", " + i.cut(b)
}

// advise returns the one line that cures a late dialer, the narrowest that will do.
func (i *inspection) advise(s *injectors.Step, to injectors.Endpoint, b injectors.Blocker) string {
	m := b.Mesh
	switch {
	case m == nil:
		return ""
	case b.Proxy != nil && b.Proxy.LostSidecar():
		return "Give " + i.at(b.Proxy) + " its restartPolicy: Always back."
	}
	if fix := i.first(s, m); fix != "" {
		return fix
	}
	if fix := i.exemptUser(s, m); fix != "" {
		return fix
	}
	if to.Named() && i.plan.Names(s) == injectors.No {
		// An exempt address alone leads to HF106, one refusal after the other.
		return addressNotName(i, s, m)
	}
	if fix := i.exempt(s, to, m); fix != "" {
		return fix
	}
	switch {
	case m.Native == injectors.Yes:
		return "Move it behind the proxy."
	case m.CNI == injectors.No:
		return "Move it before the container that redirects."
	case m.Injector.Native != "" && m.Native == injectors.No && !i.goesFirst(s):
		return i.annotate(m.Injector.Native, "true")
	}
	if m.Injector.Native == "" {
		return "Exempt its destination from the mesh."
	}
	return "Exempt its destination from the mesh, or use native sidecars."
}

// exempt is the annotation that lets the destination pass, as the union with what is exempt already; "" where there is none.
func (i *inspection) exempt(s *injectors.Step, to injectors.Endpoint, m *injectors.Mesh) string {
	var ranges []string
	for _, addr := range to.Addrs {
		var text [48]byte
		ranges = append(ranges, string(netip.PrefixFrom(addr, addr.BitLen()).AppendTo(text[:0])))
	}
	if len(ranges) == 0 && s.Injector != nil {
		for _, r := range i.config.Ranges(s.Injector.Name) {
			ranges = append(ranges, r.String())
		}
	}
	if a := m.Injector.Annotation(injectors.ExcludeCIDRs); a != nil && len(ranges) > 0 {
		return i.extend(a, m, ranges...)
	}
	switch to.Port {
	case 0, 53, 80, 443: // not for the sake of one container
		return ""
	}
	if a := m.Injector.Annotation(injectors.ExcludePorts); a != nil {
		return i.extend(a, m, strconv.Itoa(int(to.Port)))
	}
	return ""
}

// exemptUser is the annotation that lets the container's user pass, where the mesh keeps a list of users: the narrowest of
// all, and names work too; "" where there is none.
func (i *inspection) exemptUser(s *injectors.Step, m *injectors.Mesh) string {
	a := m.Injector.Annotation(injectors.ExcludeUIDs)
	if a == nil || s.UID == injectors.NoID {
		return ""
	}
	value, known := m.List(injectors.ExcludeUIDs, i.target)
	if !known {
		return ""
	}
	value = a.AddUID(value, s.UID)
	if a.Check != nil && a.Check(value) != nil {
		return "" // some know only so many users
	}
	return i.annotate(a.Key, value)
}

// extend is the fix that adds entries to a list that an annotation holds. The annotation replaces the mesh's own list, so it
// starts from that; "" where that is not known.
func (i *inspection) extend(a *injectors.Annotation, m *injectors.Mesh, entries ...string) string {
	value, known := m.List(a.Means, i.target)
	switch {
	case !known:
		return ""
	case value == "" || a.Check != nil && a.Check(value) != nil:
		return i.annotate(a.Key, strings.Join(entries, ","))
	}
	list := strings.Split(value, ",")
	for _, e := range entries {
		if !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	return i.annotate(a.Key, strings.Join(list, ","))
}

// first is what the dialer's own switch can do; "" where that is nothing.
func (i *inspection) first(s *injectors.Step, m *injectors.Mesh) string {
	if s.Injector == nil || s.Injector.First == nil {
		return ""
	}
	first := s.Injector.First(i.target)
	_, set := i.target.Meta.Annotations[first]
	switch {
	case set && m.Native == injectors.Yes:
		return "Remove the annotation " + first + "."
	case !set && m.CNI == injectors.No && m.Native == injectors.No:
		return i.annotate(first, "true")
	}
	return ""
}

// goNative adds to advice the annotation that makes the mesh's proxy a native sidecar, where there is one.
func (i *inspection) goNative(m *injectors.Mesh, advice string) string {
	if m.Injector.Native == "" {
		return advice + "."
	}
	return advice + ": annotate " + i.annotated() + ": " + m.Injector.Native + `: "true"`
}

// goesFirst tells whether the dialer's own switch puts it before every proxy.
func (i *inspection) goesFirst(s *injectors.Step) bool {
	if s.Injector == nil || s.Injector.First == nil {
		return false
	}
	_, set := i.target.Meta.Annotations[s.Injector.First(i.target)]
	return set
}

// addressNotName is what helps where names cannot be resolved either.
func addressNotName(i *inspection, s *injectors.Step, m *injectors.Mesh) string {
	const address = "Use an address, not a name"
	if m == nil {
		return address + "."
	}
	if fix := i.exemptUser(s, m); fix != "" {
		return fix
	}
	switch a := m.Injector.Annotation(injectors.ExcludeUIDs); {
	case a != nil && s.UID == injectors.NoID:
		return address + ", or give it a runAsUser and annotate " + i.annotated() + ": " + a.Key + `: "UID"`
	case len(m.Capture.GIDs) > 0 && s.Injector != nil && !s.Wrapped && !i.config.Remedy(config.ExemptIdentity):
		return address + ", or switch on remedy exempt-identity."
	}
	return address + "."
}

// needs names the destination; names of hosts can be as long as everything else that is said.
func needs(to injectors.Endpoint) string { return report.Shorten(to.String(), 60) }

// annotate is the fix that adds an annotation.
func (i *inspection) annotate(key, value string) string {
	return "Annotate " + i.annotated() + ": " + key + `: "` + value + `"`
}

// annotated is what a person annotates: a pod that has a controller is gone before anyone can.
func (i *inspection) annotated() string {
	if i.target.Template() || !strings.HasPrefix(i.name(), "Pod/") {
		return "the template"
	}
	return "the pod"
}
