package injectors

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Tri is an answer that may be missing. The zero value is Unknown: what was not read is not guessed.
type Tri uint8

// Unknown never refuses a pod.
const (
	Unknown Tri = iota
	No
	Yes
)

// String returns yes, no or unknown.
func (t Tri) String() string { return [...]string{"unknown", "no", "yes"}[t] }

// TriOf returns Yes for true and No for false.
func TriOf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// Or returns t, or other where t is Unknown.
func (t Tri) Or(other Tri) Tri {
	if t == Unknown {
		return other
	}
	return t
}

// NoID is a uid or gid that the pod does not say (the image decides).
const NoID int64 = -1

// Ports is an inclusive range of ports.
type Ports struct{ First, Last uint16 }

// Contains tells whether the port lies in the range.
func (p Ports) Contains(port uint16) bool { return port != 0 && p.First <= port && port <= p.Last }

// String returns 8200 or 4567-4568.
func (p Ports) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return strconv.Itoa(int(p.First)) + "-" + strconv.Itoa(int(p.Last))
}

// Capture is what a redirect takes and what it lets pass, as it takes effect in the pod's network namespace.
type Capture struct {
	// UIDs and GIDs are those of the proxy: traffic of a process that has one of them (as its effective uid or its
	// primary gid; supplemental groups do not count) leaves unchanged, DNS included.
	UIDs, GIDs []int64
	// Users are further users whose traffic leaves unchanged, DNS included, as far as a rule of theirs goes.
	Users []Users

	ExcludePorts []Ports
	Exclude      []netip.Prefix
	IncludePorts []Ports
	// Listed tells that only the addresses in Include (and IncludePorts) are taken; otherwise every address is.
	Listed  bool
	Include []netip.Prefix

	// OnlyIPv4 tells that nothing redirects IPv6.
	OnlyIPv4 bool

	// Interfaces is the list of those whose traffic leaves unchanged, DNS included.
	Interfaces string
	// Groups are those whose processes alone are captured (OnlyGroups), or are not; by primary gid, as above.
	Groups     []int64
	OnlyGroups bool
	// NamedGroups tells that there are more of them, given by name.
	NamedGroups bool

	// DNS tells that queries for names go to the proxy too, which nobody answers before it serves.
	DNS bool
	// DNSFirst tells that they are taken before the exempt ports are looked at; what is exempt by address or by user has left
	// by then, queries to an exempt name server with it.
	DNSFirst bool

	// Inbound is what others cannot reach but through the proxy.
	Inbound Inbound
}

// Users lets the processes of a range of users pass: to some ports, or wherever they connect.
type Users struct {
	First, Last int64
	Ports       []Ports // all of them where empty
	// NoTCP and NoUDP tell that the rule is about the other protocol alone. Names are asked for by UDP.
	NoTCP, NoUDP bool
}

// let tells whether the rule lets a process of the user pass on its way to the port; port 0 asks about all of them.
func (u *Users) let(uid int64, port uint16) bool {
	return uid != NoID && u.First <= uid && uid <= u.Last && (len(u.Ports) == 0 || portIn(u.Ports, port))
}

// plain tells that the rule lets its users pass wherever they connect.
func (u *Users) plain() bool { return len(u.Ports) == 0 && !u.NoTCP && !u.NoUDP }

// String returns 100 or 100-199, without the ports.
func (u *Users) String() string {
	if u.First == u.Last {
		return strconv.FormatInt(u.First, 10)
	}
	return strconv.FormatInt(u.First, 10) + "-" + strconv.FormatInt(u.Last, 10)
}

// Inbound is the traffic into the pod that a redirect takes.
type Inbound struct {
	Known   bool    // it was read
	Listed  bool    // only Include is taken; otherwise every port is
	Include []Ports // taken
	Exclude []Ports // reaches its container directly
}

// Takes tells whether connections to a port of the pod end at the proxy.
func (i *Inbound) Takes(port uint16) Tri {
	switch {
	case !i.Known:
		return Unknown
	case portIn(i.Exclude, port):
		return No
	}
	return TriOf(!i.Listed || portIn(i.Include, port))
}

// identity tells whether a process with these ids is let through, whatever it connects to.
func (c *Capture) identity(uid, gid int64) bool {
	if uid != NoID && slices.Contains(c.UIDs, uid) || gid != NoID && slices.Contains(c.GIDs, gid) {
		return true
	}
	return slices.ContainsFunc(c.Users, func(u Users) bool { return u.plain() && u.let(uid, 0) })
}

// LetsUser tells whether the redirect lets all processes of the user pass.
func (c *Capture) LetsUser(uid int64) bool { return c.identity(uid, NoID) }

// connects tells whether a rule for users lets a process connect to the port: who its user is only the image may know.
func (c *Capture) connects(uid int64, port uint16) Tri {
	return c.rules(uid, port, func(u *Users) bool { return !u.NoTCP })
}

// asks tells whether a rule for users lets a process ask for names.
func (c *Capture) asks(uid int64) Tri {
	return c.rules(uid, 53, func(u *Users) bool { return !u.NoUDP })
}

func (c *Capture) rules(uid int64, port uint16, about func(*Users) bool) Tri {
	answer := No
	for i := range c.Users {
		switch u := &c.Users[i]; {
		case !about(u):
		case uid == NoID && u.let(u.First, port):
			answer = Unknown
		case u.let(uid, port):
			return Yes
		}
	}
	return answer
}

// passes tells whether a process with these ids is let through, whatever it connects to: by the interface that it would leave
// by, by its identity, or by its group.
func (c *Capture) passes(uid, gid int64) Tri {
	if c.identity(uid, gid) {
		return Yes
	}
	group, leaves := c.outside(gid), c.leaves()
	switch {
	case group == Yes || leaves == Yes:
		return Yes
	case group == Unknown || leaves == Unknown || uid == NoID && slices.ContainsFunc(c.Users, func(u Users) bool { return u.plain() }):
		return Unknown
	}
	return No
}

// leaves tells whether traffic goes by an interface that is let through. A pod's default route is by eth0; what routes it has
// by others is not known.
func (c *Capture) leaves() Tri {
	if c.Interfaces == "" {
		return No
	}
	for name := range strings.SplitSeq(c.Interfaces, ",") {
		if name == "eth0" {
			return Yes
		}
	}
	return Unknown
}

// outside tells whether processes of the group are let through as such.
func (c *Capture) outside(gid int64) Tri {
	if len(c.Groups) == 0 && !c.NamedGroups {
		return TriOf(c.OnlyGroups)
	}
	switch {
	case gid == NoID:
		return Unknown
	case slices.Contains(c.Groups, gid):
		return TriOf(!c.OnlyGroups)
	case c.NamedGroups:
		return Unknown
	}
	return TriOf(c.OnlyGroups)
}

// takes tells whether a connection is redirected. The order is that of the nat OUTPUT chain which istio-iptables writes
// (istio, tools/istio-iptables/pkg/capture/run.go at 1.31): excluded interfaces, excluded ports, identities, groups, excluded
// addresses, included ports, included addresses.
func (c *Capture) takes(uid, gid int64, to Endpoint) Tri {
	passes, connects := c.passes(uid, gid), c.connects(uid, to.Port)
	if passes == Yes || portIn(c.ExcludePorts, to.Port) || connects == Yes {
		return No
	}
	if connects == Unknown {
		passes = Unknown
	}
	if taken := c.takesTo(to); taken != Yes || passes == No {
		return taken
	}
	return Unknown
}

// takesTo tells whether connections to the endpoint are redirected by those who do not pass.
func (c *Capture) takesTo(to Endpoint) Tri {
	if len(to.Addrs) > 0 {
		return c.takesAny(to)
	}
	switch {
	case !to.Known():
		// Where the container goes is not known: the answer is about the network at large.
		return TriOf(!c.Listed || len(c.Include) > 0 || len(c.IncludePorts) > 0)
	case slices.ContainsFunc(c.Exclude, named):
		return Unknown
	case portIn(c.IncludePorts, to.Port) || !c.Listed:
		return Yes
	case len(c.Include) > 0:
		return Unknown
	}
	return No
}

// list writes a list as the annotation of that meaning holds it.
func (c *Capture) list(a *Annotation) string {
	var entries []string
	switch a.Means {
	case ExcludeCIDRs:
		entries = texts(c.Exclude)
	case ExcludePorts:
		return a.ports(c.ExcludePorts)
	case IncludePorts:
		return a.ports(c.IncludePorts)
	case IncludeCIDRs:
		if !c.Listed {
			return "*"
		}
		entries = texts(c.Include)
	case ExcludeUIDs:
		for i := range c.Users {
			entries = append(entries, c.Users[i].String())
		}
	case ExcludeInbound:
		return a.ports(c.Inbound.Exclude)
	case IncludeInbound:
		if !c.Inbound.Listed {
			return "*"
		}
		return a.ports(c.Inbound.Include)
	case Opaque:
	}
	return strings.Join(entries, a.separator())
}

func texts[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = e.String()
	}
	return out
}

// named tells whether addresses of the range may stand behind a name that is not resolved here. Those of the machine itself
// (169.254.169.254, which many meshes exempt) do not.
func named(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsLoopback() }

// takesAny judges known addresses. A client that has several tries them all: one that passes is enough.
func (c *Capture) takesAny(to Endpoint) Tri {
	for _, a := range to.Addrs {
		if a.IsLoopback() || prefixIn(c.Exclude, a) || c.OnlyIPv4 && !a.Unmap().Is4() {
			return No
		}
		if c.Listed && !portIn(c.IncludePorts, to.Port) && !prefixIn(c.Include, a) {
			return No
		}
	}
	return Yes
}

// names tells whether a process with these ids can resolve names while the redirect is there and the proxy is not.
func (c *Capture) names(uid, gid int64, p *Plan) Tri {
	asks := c.asks(uid)
	if !c.DNS || portIn(c.ExcludePorts, 53) && !c.DNSFirst || asks == Yes {
		return Yes
	}
	passes := c.passes(uid, gid)
	if passes == No && (asks == Unknown || c.DNSFirst && slices.ContainsFunc(c.Exclude, p.servesNames)) {
		return Unknown
	}
	return passes
}

// servesNames tells whether the name server of a pod may stand in an exempt range: anywhere but on the loopback, and where a
// container of the pod is known to connect to something else.
func (p *Plan) servesNames(r netip.Prefix) bool {
	if r.Addr().IsLoopback() {
		return false
	}
	return !r.IsSingleIP() || !slices.ContainsFunc(p.Inits, func(s Step) bool {
		return slices.ContainsFunc(s.To, func(e Endpoint) bool { return e.Port != 53 && slices.Contains(e.Addrs, r.Addr()) })
	})
}

func portIn(ranges []Ports, port uint16) bool {
	for _, r := range ranges {
		if r.Contains(port) {
			return true
		}
	}
	return false
}

func prefixIn(prefixes []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap()
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
