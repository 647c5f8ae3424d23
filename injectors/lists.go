package injectors

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Errors that the syntax checks below return, wrapped with the entry at fault.
var (
	errBareAddress = errors.New("an address needs a length, such as /32")
	errSpace       = errors.New("no spaces are allowed in the list")
	errEmptyEntry  = errors.New("an empty entry (a comma too many)")
	errNotPort     = errors.New("not a port number (ranges and * are not allowed)")
	errNotCIDR     = errors.New("not an address range such as 10.96.7.7/32")
	errNotAddress  = errors.New("not an address, or a range such as 10.96.7.0/24")
	errNotRange    = errors.New("not a port, or a range such as 8200-8210")

	errNotColonRange = errors.New("not a port, or a range such as 8200:8210")
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

// ParseAddresses reads a list of addresses and address ranges as lenient injectors do: entries are trimmed, a bare address is
// one of full length, empty entries are passed over.
func ParseAddresses(list string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		if a, err := netip.ParseAddr(entry); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(entry)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", entry, errNotAddress)
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

// ParsePortRanges reads a comma separated list of ports and of ranges (4567-4568), trimmed; empty entries are passed over.
func ParsePortRanges(list string) ([]Ports, error) {
	var out []Ports
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		first, last, ranged := strings.Cut(entry, "-")
		if !ranged {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a > b {
			return nil, fmt.Errorf("%q: %w", entry, errNotRange)
		}
		out = append(out, Ports{uint16(a), uint16(b)})
	}
	return out, nil
}

// ParseColonRanges reads a comma separated list of ports and of ranges as iptables takes them (8200:8210, 8200: and :8210),
// trimmed; empty entries are passed over.
func ParseColonRanges(list string) ([]Ports, error) {
	var out []Ports
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		first, last, ranged := strings.Cut(entry, ":")
		switch {
		case !ranged:
			last = first
		case first == "":
			first = "0"
		case last == "":
			last = "65535"
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a > b {
			return nil, fmt.Errorf("%q: %w", entry, errNotColonRange)
		}
		out = append(out, Ports{uint16(a), uint16(b)})
	}
	return out, nil
}

// ReadCIDRs reads the value of a list of addresses.
func (a *Annotation) ReadCIDRs(value string) ([]netip.Prefix, error) {
	if a.CIDRs != nil {
		return a.CIDRs(value)
	}
	return ParseCIDRs(value)
}

// ReadPorts reads the value of a list of ports.
func (a *Annotation) ReadPorts(value string) ([]Ports, error) {
	if a.Ports != nil {
		return a.Ports(value)
	}
	return ParsePorts(value)
}

// AddCIDRs returns the value with more ranges in it, canonical: sorted, each once, no spaces. A value that cannot be read is
// an error, and nobody's to replace.
func (a *Annotation) AddCIDRs(value string, more ...netip.Prefix) (string, error) {
	all, err := a.ReadCIDRs(value)
	if err != nil {
		return "", err
	}
	all = append(all, more...)
	slices.SortFunc(all, netip.Prefix.Compare)
	return strings.Join(texts(slices.Compact(all)), a.separator()), nil
}

// AddPorts does the same with ports.
func (a *Annotation) AddPorts(value string, more ...Ports) (string, error) {
	all, err := a.ReadPorts(value)
	if err != nil {
		return "", err
	}
	all = append(all, more...)
	slices.SortFunc(all, func(a, b Ports) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last)) })
	return a.ports(slices.Compact(all)), nil
}

// AddUID does the same with one user; the other entries stay as they are.
func (a *Annotation) AddUID(value string, uid int64) string {
	entry := strconv.FormatInt(uid, 10)
	if value == "" {
		return entry
	}
	for e := range strings.SplitSeq(value, a.separator()) {
		if strings.TrimSpace(e) == entry {
			return value
		}
	}
	return value + a.separator() + entry
}

// ReadUIDs returns the single users of a list of users.
func (a *Annotation) ReadUIDs(value string) []int64 {
	if value == "" {
		return nil
	}
	var out []int64
	for entry := range strings.SplitSeq(value, a.separator()) {
		if uid := parseID(strings.TrimSpace(entry)); uid >= 0 {
			out = append(out, uid)
		}
	}
	return out
}

func (a *Annotation) separator() string {
	if a.Separator == "" {
		return ","
	}
	return a.Separator
}

// ports writes a list of ports.
func (a *Annotation) ports(list []Ports) string {
	entries := texts(list)
	if a.Through != "" {
		for i := range entries {
			entries[i] = strings.Replace(entries[i], "-", a.Through, 1)
		}
	}
	return strings.Join(entries, a.separator())
}
