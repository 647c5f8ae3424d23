package injectors

import (
	"errors"
	"maps"
	"net/netip"
	"strconv"
	"strings"
)

// What can be wrong with a whole list.
var (
	ErrEmptyList = errors.New("the list is empty")
	ErrManyPorts = errors.New("more than 15 ports") // iptables' multiport match takes no more
)

// Whether a list that is wrong keeps the redirect from being made is certain of few values: iptables (tried with 1.8.9) passes
// space before a number over, and takes hexadecimal numbers, ranges with a colon, the names of services, users and hosts, and
// addresses cut short; nft takes ranges with a dash. What is below is refused by all that the injector in question may run.

func always(string) bool { return true }

func notEmpty(value string) bool { return value != "" }

// breaksPorts tells of a list whether an entry of it is no port and none of the ranges that are read so. Empty entries are passed
// over (istio, tools/common/config/types.go).
func breaksPorts(ranges ...func(string) ([]Ports, error)) func(list string) bool {
	return func(list string) bool {
		for entry := range strings.SplitSeq(list, ",") {
			if brokenPort(entry, ranges...) {
				return true
			}
		}
		return false
	}
}

// brokenPort: what has a letter in it may be a name, or hexadecimal.
func brokenPort(entry string, ranges ...func(string) ([]Ports, error)) bool {
	if strings.TrimSpace(entry) == "" || lettered(entry) {
		return false
	}
	for _, read := range ranges {
		if _, err := read(entry); err == nil {
			return false
		}
	}
	return true
}

// brokenAddress: what looks like nothing else may be a host, or a network cut short.
func brokenAddress(entry string) bool {
	entry = strings.TrimSpace(entry)
	address, bits, ranged := strings.Cut(entry, "/")
	addr, err := netip.ParseAddr(address)
	if err != nil || !ranged {
		return entry == "*"
	}
	n, err := strconv.ParseUint(bits, 10, 16)
	return err == nil && int(n) > addr.BitLen()
}

// brokenUser: a user may have a name, and iptables takes a range with a colon.
func brokenUser(entry string) bool {
	if lettered(entry) {
		return false
	}
	_, ok := consulUsers(strings.ReplaceAll(entry, ":", "-"))
	return !ok
}

func lettered(entry string) bool {
	return strings.ContainsFunc(entry, func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r > 0x7f })
}

// Without returns the plan of the same pod without some of its annotations: what is in doubt then is not for their sake.
func (p *Plan) Without(keys []string) *Plan {
	t, meta := *p.Target, *p.Target.Meta
	meta.Annotations = maps.Clone(meta.Annotations)
	for _, key := range keys {
		delete(meta.Annotations, key)
	}
	t.Meta = &meta
	return New(&t, p.Env, p.horizon)
}
