package injectors

import (
	"net/netip"
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
}

// Known tells that anything at all is known of the destination.
func (e Endpoint) Known() bool { return e.Host != "" || len(e.Addrs) > 0 }

// Named tells that the container must resolve a name before it can connect.
func (e Endpoint) Named() bool {
	if e.Host == "" {
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
