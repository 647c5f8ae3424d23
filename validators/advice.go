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
	if b.Mesh != nil {
		who = b.Mesh.Injector.Title + "'s CNI plugin"
	}
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

// advise returns the one line that cures a dialer which cannot reach its destination, or not resolve its name: the narrowest that
// will do.
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
		return i.addressNotName(s, to, m)
	}
	if fix := i.exempt(s, to, m); fix != "" {
		return fix
	}
	return i.elseDo(s, to, b)
}

// elseDo is what is left where nothing can be exempted.
func (i *inspection) elseDo(s *injectors.Step, to injectors.Endpoint, b injectors.Blocker) string {
	switch m := b.Mesh; {
	case m.Native == injectors.Yes && b.Proxy != nil:
		return "Move " + quoted(s) + " behind " + i.at(b.Proxy) + "."
	case m.CNI == injectors.No && b.Installer != nil:
		return "Move " + quoted(s) + " before " + i.at(b.Installer) + "."
	case i.nativeHelps(s, m):
		return i.annotate(m.Injector.Native, "true")
	case len(to.Addrs) > 0:
		return "Exempt " + to.Addrs[0].String() + " in " + m.Injector.Title + "'s own settings."
	default:
		return "Exempt its destination in " + m.Injector.Title + "'s own settings."
	}
}

// nativeHelps tells whether a native sidecar would serve before the container starts.
func (i *inspection) nativeHelps(s *injectors.Step, m *injectors.Mesh) bool {
	return m.Injector.Native != "" && m.Native == injectors.No && !i.goesFirst(s)
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
// starts from that; "" where that is not known. A list that its injector cannot read is put right on the way.
func (i *inspection) extend(a *injectors.Annotation, m *injectors.Mesh, entries ...string) string {
	value, known := m.List(a.Means, i.target)
	if !known {
		return ""
	}
	if value != "" && a.Check != nil && a.Check(value) != nil {
		value, _ = repaired(a, value)
	}
	var list []string
	if value != "" {
		list = strings.Split(value, ",")
	}
	for _, e := range entries {
		if !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	return i.annotate(a.Key, strings.Join(list, ","))
}

// first is what the dialer's own switch can do; "" where that is nothing.
func (i *inspection) first(s *injectors.Step, m *injectors.Mesh) string {
	if s.Injector == nil || s.Injector.First == nil || s.Wrapped {
		return ""
	}
	first := s.Injector.First(i.target)
	switch {
	case i.goesFirst(s):
		if m.Native == injectors.Yes && i.curedAt(s, i.appended(s, m)) {
			return "Remove the annotation " + first + "."
		}
	case m.CNI == injectors.No && m.Native == injectors.No && i.curedAt(s, i.prepended(s, m)):
		return i.annotate(first, "true")
	}
	return ""
}

// curedAt tells whether the container reaches its destination from another place among the init containers.
func (i *inspection) curedAt(s *injectors.Step, to int) bool {
	from := i.index(s)
	if from < 0 || to == from {
		return false
	}
	plan := i.plan.Moved(from, to)
	_, late, dns := plan.Late(&plan.Inits[to])
	return !late && !dns
}

func (i *inspection) index(s *injectors.Step) int {
	for k := range i.plan.Inits {
		if &i.plan.Inits[k] == s {
			return k
		}
	}
	return -1
}

// prepended and appended are where an injector puts its container with its switch and without: at either end of the list that it
// finds. The mesh's are in that list where its webhook is called before.
func (i *inspection) prepended(s *injectors.Step, m *injectors.Mesh) int {
	if i.calledBefore(m.Injector, s.Injector) {
		return 0
	}
	return max(0, slices.IndexFunc(i.plan.Inits, func(o injectors.Step) bool { return o.Injector != m.Injector }))
}

func (i *inspection) appended(s *injectors.Step, m *injectors.Mesh) int {
	last := len(i.plan.Inits) - 1
	if i.calledBefore(m.Injector, s.Injector) {
		return last
	}
	for k := range slices.Backward(i.plan.Inits) {
		if i.plan.Inits[k].Role == injectors.Own {
			return k
		}
	}
	return 0
}

// calledBefore tells whether a webhook of the one is called before the first of the other; where nothing is registered here the
// usual names decide, by which meshes come first.
func (i *inspection) calledBefore(one, other *injectors.Injector) bool {
	for _, h := range i.target.Namespace.Hooks {
		switch h.Injector {
		case one:
			return true
		case other:
			return false
		}
	}
	return true
}

// orNative adds to advice the annotation that makes the mesh's proxy a native sidecar, where there is one.
func (i *inspection) orNative(m *injectors.Mesh, advice string) string {
	if m.Injector.Native == "" {
		return advice + "."
	}
	return advice + ", or annotate " + i.annotated() + ": " + m.Injector.Native + `: "true"`
}

// goesFirst tells whether the dialer's own switch puts it before all others.
func (i *inspection) goesFirst(s *injectors.Step) bool {
	if s.Injector == nil || s.Injector.First == nil {
		return false
	}
	first, err := strconv.ParseBool(i.target.Meta.Annotations[s.Injector.First(i.target)])
	return err == nil && first
}

// addressNotName is what helps where names cannot be resolved either.
func (i *inspection) addressNotName(s *injectors.Step, to injectors.Endpoint, m *injectors.Mesh) string {
	if i.nativeHelps(s, m) {
		return i.annotate(m.Injector.Native, "true")
	}
	address := "Use an address, not a name"
	if len(to.Addrs) == 1 {
		address = "Use the address " + to.Addrs[0].String() + ", not the name"
	}
	if i.plan.Network(s, to) == injectors.Cut {
		if fix := i.exempt(s, to, m); fix != "" {
			return address + ". " + fix
		}
	}
	if len(m.Capture.GIDs) > 0 && s.Injector != nil && !s.Wrapped && !i.config.Remedy(config.ExemptIdentity) {
		return address + ", or switch on remedy exempt-identity."
	}
	return address + "."
}

// quoted is a container's name.
func quoted(s *injectors.Step) string { return `"` + report.Shorten(s.Name, 40) + `"` }

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

// repaired is the value as its author will have meant it, where that can be told: entries without spaces, addresses with their
// length, ranges as this injector spells them.
func repaired(a *injectors.Annotation, value string) (string, bool) {
	var list []string
	for entry := range strings.SplitSeq(value, ",") {
		entry = strings.TrimSpace(entry)
		if addr, err := netip.ParseAddr(entry); err == nil {
			entry = netip.PrefixFrom(addr, addr.BitLen()).String()
		}
		if a.Through != "" {
			entry = strings.Replace(entry, "-", a.Through, 1)
		}
		if entry != "" {
			list = append(list, entry)
		}
	}
	fixed := strings.Join(list, ",")
	if fixed == "" || a.Check(fixed) != nil {
		return "", false
	}
	return fixed, true
}
