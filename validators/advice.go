package validators

import (
	"net/netip"
	"strconv"
	"strings"

	"holdfast.dev/holdfast/injectors"
)

// where says why a dialer is cut: who cut the network, and which proxy serves too late.
func (i *inspection) cause(b injectors.Blocker) string {
	who := "the node's CNI plugin"
	if b.Installer != nil && b.Installer.Role == injectors.Installer {
		who = i.at(b.Installer)
	}
	late := "no proxy serves"
	if b.Proxy != nil {
		late = i.at(b.Proxy) + " serves only later"
	}
	return who + " cut the network before, " + late + "."
}

// advise returns the one line that cures a late dialer, the narrowest that will do.
func (i *inspection) advise(s *injectors.Step, to injectors.Endpoint, m *injectors.Mesh) string {
	if m == nil {
		return ""
	}
	if s.Injector != nil && s.Injector.First != "" {
		_, set := i.target.Meta.Annotations[s.Injector.First]
		switch {
		case set && m.Native == injectors.Yes:
			return "Remove the annotation " + s.Injector.First + "."
		case !set && m.CNI == injectors.No && m.Native == injectors.No:
			return i.annotate(s.Injector.First, "true")
		}
	}
	if fix, ok := i.exempt(to, m); ok {
		return fix
	}
	switch {
	case m.Native == injectors.Yes:
		return "Move it behind the proxy."
	case m.CNI == injectors.No:
		return "Move it before the container that redirects."
	}
	return "Exempt its destination from the mesh, or use native sidecars."
}

// exempt is the annotation that lets the destination pass, as the union with what is exempt already.
func (i *inspection) exempt(to injectors.Endpoint, m *injectors.Mesh) (string, bool) {
	if a := m.Injector.Annotation(injectors.ExcludeCIDRs); a != nil && len(to.Addrs) > 0 {
		list := i.list(a.Key)
		for _, addr := range to.Addrs {
			list = append(list, netip.PrefixFrom(addr, addr.BitLen()).String())
		}
		return i.annotate(a.Key, strings.Join(list, ",")), true
	}
	if a := m.Injector.Annotation(injectors.ExcludePorts); a != nil && to.Port != 0 && to.Port != 53 && to.Port != 80 && to.Port != 443 {
		return i.annotate(a.Key, strings.Join(append(i.list(a.Key), strconv.Itoa(int(to.Port))), ",")), true
	}
	return "", false
}

func (i *inspection) list(key string) []string {
	value := i.target.Annotation(key)
	if value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

// needs says what the container needs the network for.
func needs(to injectors.Endpoint) string {
	if !to.Known() {
		return "the network"
	}
	return to.String()
}
