package injectors

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Endpoint is where a container connects to.
type Endpoint struct {
	Host string // as configured: a name or an address
	Port uint16 // 0 when not known

	// Addrs are the addresses that the container will see (for a Service its ClusterIPs: NAT rules in the pod's network
	// namespace see the address before kube-proxy replaces it). Empty when the name cannot be resolved here.
	Addrs []netip.Addr
	// Static tells that the pod itself knows the addresses (its /etc/hosts, or a socket that is a file): nobody is asked.
	Static bool
}

// Known tells that anything at all is known of the destination.
func (e Endpoint) Known() bool { return e.Host != "" || len(e.Addrs) > 0 }

// Named tells that the container must resolve a name before it can connect.
func (e Endpoint) Named() bool {
	switch {
	case e.Static:
		return false
	case e.Host == "":
		return len(e.Addrs) == 0
	}
	_, ok := literal(e.Host)
	return !ok
}

// literal reads an address. What cannot be one is not parsed: an error would be made for every name.
func literal(host string) (netip.Addr, bool) {
	if host == "" || (host[0] < '0' || host[0] > '9') && !strings.Contains(host, ":") {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(host)
	return a, err == nil
}

// String returns host:port.
func (e Endpoint) String() string {
	if e.Port == 0 {
		return e.Host
	}
	var port [5]byte
	return e.Host + ":" + string(strconv.AppendUint(port[:0], uint64(e.Port), 10))
}

// within is an endpoint that no redirect can reach: on the pod's loopback, or a socket that is a file.
func within(host string, port uint16) Endpoint {
	return Endpoint{Host: host, Port: port, Static: true, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}}
}

// ParseURL reads the destination out of a URL; without a port the scheme's own is meant. A socket that is a file
// (unix:///run/agent.sock) is on the machine itself. ok is false for what no client can connect to.
func ParseURL(address string) (to Endpoint, ok bool) {
	if strings.HasPrefix(address, "unix://") {
		return within(address, 0), true
	}
	u, err := url.Parse(address)
	if err != nil {
		return Endpoint{}, false
	}
	return endpointOf(u)
}

func endpointOf(u *url.URL) (Endpoint, bool) {
	to := Endpoint{Host: hostname(u.Hostname())}
	switch u.Scheme {
	case "http":
		to.Port = 80
	case "https":
		to.Port = 443
	case "socks5", "socks5h":
		to.Port = 1080
	default:
		return Endpoint{}, false
	}
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Endpoint{}, false
		}
		to.Port = uint16(n)
	}
	return to, to.Host != ""
}

// hostname is the canonical form of a name: resolvers ignore case, and a trailing dot only says that the name is whole.
func hostname(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }
