package injectors

import (
	"errors"
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

	ExcludePorts []Ports
	Exclude      []netip.Prefix
	IncludePorts []Ports
	// Listed tells that only the addresses in Include (and IncludePorts) are taken; otherwise every address is.
	Listed  bool
	Include []netip.Prefix

	// Interfaces is the list of those whose traffic leaves unchanged, DNS included.
	Interfaces string
	// Groups are those whose processes alone are captured (OnlyGroups), or are not; by primary gid, as above.
	Groups     []int64
	OnlyGroups bool
	// NamedGroups tells that there are more of them, given by name.
	NamedGroups bool

	// DNS tells that queries for names go to the proxy too, which nobody answers before it serves.
	DNS bool
}

// identity tells whether a process with these ids is let through, whatever it connects to.
func (c *Capture) identity(uid, gid int64) bool {
	return uid != NoID && slices.Contains(c.UIDs, uid) || gid != NoID && slices.Contains(c.GIDs, gid)
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
	case group == Unknown || leaves == Unknown:
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
	passes := c.passes(uid, gid)
	if passes == Yes || portIn(c.ExcludePorts, to.Port) {
		return No
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

// list writes a list as the injector does.
func (c *Capture) list(means Meaning) string {
	var entries []string
	switch means {
	case ExcludeCIDRs:
		entries = texts(c.Exclude)
	case ExcludePorts:
		entries = texts(c.ExcludePorts)
	case IncludePorts:
		entries = texts(c.IncludePorts)
	case IncludeCIDRs:
		if !c.Listed {
			return "*"
		}
		entries = texts(c.Include)
	case Opaque:
	}
	return strings.Join(entries, ",")
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
		if a.IsLoopback() || prefixIn(c.Exclude, a) {
			return No
		}
		if c.Listed && !portIn(c.IncludePorts, to.Port) && !prefixIn(c.Include, a) {
			return No
		}
	}
	return Yes
}

// names tells whether a process with these ids can resolve names while the redirect is there and the proxy is not.
func (c *Capture) names(uid, gid int64) Tri {
	if !c.DNS || portIn(c.ExcludePorts, 53) {
		return Yes
	}
	return c.passes(uid, gid)
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

// Errors that the syntax checks below return, wrapped with the entry at fault.
var (
	errBareAddress = errors.New("an address needs a length, such as /32")
	errSpace       = errors.New("no spaces are allowed in the list")
	errEmptyEntry  = errors.New("an empty entry (a comma too many)")
	errNotPort     = errors.New("not a port number (ranges and * are not allowed)")
	errNotCIDR     = errors.New("not an address range such as 10.96.7.7/32")
)

// ParseCIDRs reads a comma separated list of address ranges as Istio's injector does (pkg/kube/inject/validate.go:
// netip.ParsePrefix on each entry, nothing trimmed). "" is an empty list.
func ParseCIDRs(list string) ([]netip.Prefix, error) {
	if list == "" {
		return nil, nil
	}
	out := make([]netip.Prefix, 0, strings.Count(list, ",")+1)
	for entry := range strings.SplitSeq(list, ",") {
		p, err := netip.ParsePrefix(entry)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", entry, cidrFault(entry))
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func cidrFault(entry string) error {
	trimmed := strings.TrimSpace(entry)
	switch {
	case trimmed == "":
		return errEmptyEntry
	case trimmed != entry:
		return errSpace
	}
	if _, err := netip.ParseAddr(entry); err == nil {
		return errBareAddress
	}
	return errNotCIDR
}

// ParsePorts reads a comma separated list of single ports as Istio does: entries are trimmed, ranges are not allowed.
func ParsePorts(list string) ([]Ports, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	out := make([]Ports, 0, strings.Count(list, ",")+1)
	for entry := range strings.SplitSeq(list, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(entry), 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", entry, errNotPort)
		}
		out = append(out, Ports{uint16(n), uint16(n)})
	}
	return out, nil
}
