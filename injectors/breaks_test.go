package injectors_test

import (
	"testing"

	"holdfast.dev/holdfast/injectors"
)

// TestBreaks: what certainly keeps a pod from starting is wrong, and not all that is wrong is that bad.
func TestBreaks(t *testing.T) {
	istio, kuma, linkerd, consul, director := injectors.Istio(), injectors.Kuma(), injectors.Linkerd(), injectors.Consul(), injectors.TrafficDirector()
	for _, c := range []struct {
		injector     *injectors.Injector
		key          string
		worst, wrong []string
	}{
		// Istio may run nft, which takes a dash; iptables takes a colon, and names.
		{istio, "traffic.sidecar.istio.io/includeOutboundPorts", []string{"65536", "*", "80,8200;3306", "210-200"}, []string{"http", "8200-8210", "8200:8210", "80,", "0x50"}},
		{istio, "traffic.sidecar.istio.io/excludeOutboundPorts", nil, []string{"65536"}}, // the webhook denies the pod
		{director, "cloud.google.com/excludeOutboundPorts", []string{"65536", "*", "8200-8210"}, []string{"http", "8200:8210", "80,"}},
		{director, "cloud.google.com/includeInboundPorts", []string{"8200-8210"}, []string{"http"}},
		{director, "cloud.google.com/excludeInboundPorts", nil, []string{"8200-8210"}},
		{director, "cloud.google.com/excludeOutboundCIDRs", nil, []string{"10.96.7.7", "*"}},
		{linkerd, "config.linkerd.io/skip-subnets", []string{"10.0.0.1", "10.0.0.0/8,"}, nil},
		{linkerd, "config.linkerd.io/skip-outbound-ports", nil, []string{"http", "4567, 8200"}},
		{kuma, "traffic.kuma.io/exclude-outbound-ips", []string{"vault", "10.0.0.0/33"}, nil},
		{kuma, "traffic.kuma.io/exclude-outbound-ports-for-uids", []string{"100,101", "*"}, []string{""}},
		{kuma, "traffic.kuma.io/exclude-outbound-ports", nil, []string{"8200-8210"}}, // the webhook denies the pod
		{consul, "consul.hashicorp.com/transparent-proxy-exclude-uids", []string{"", "100,", "-1", "100;200"}, []string{"vault", "100 "}},
		{consul, "consul.hashicorp.com/transparent-proxy-exclude-outbound-cidrs", []string{"", "10.96.7.7/33", "*", "10.96.7.7,"}, []string{"vault.vault.svc", "10.96/16", "10.96.7.7/255.255.255.0", "10.96.7.7 "}},
		{consul, "consul.hashicorp.com/transparent-proxy-exclude-outbound-ports", []string{"", "70000", "*", "80,,81"}, []string{"8000-8010", "8200 "}},
		{consul, "consul.hashicorp.com/transparent-proxy-exclude-inbound-ports", []string{"70000"}, []string{"8000-8010"}},
	} {
		a, ok := injectors.NewCatalogue(c.injector).Annotation(c.key)
		if !ok {
			t.Fatalf("%s: got no such annotation of %s", c.key, c.injector.Title)
		}
		for _, value := range c.worst {
			if a.Check(value) == nil || a.Breaks == nil || !a.Breaks(value) {
				t.Errorf("%s: %q: got a pod that may start, want one that certainly does not", c.key, value)
			}
		}
		for _, value := range c.wrong {
			if a.Check(value) == nil || a.Breaks != nil && a.Breaks(value) {
				t.Errorf("%s: %q: got nothing wrong, or a pod that certainly does not start, want something in between", c.key, value)
			}
		}
	}
}
