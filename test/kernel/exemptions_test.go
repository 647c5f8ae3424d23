//go:build linux

package kernel_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/test/kernel"
)

// TestExemptions plays what frees a container that comes after the installer and before the proxy, said to the injector
// in time, and said too late: after it was at the pod. Both letters are the agent's, the first to an address, the second
// to a name server.
func TestExemptions(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	var (
		byUser    = kernel.Exempt{UIDs: []string{"100"}}
		byAddress = kernel.Exempt{CIDRs: []string{"10.96.7.7/32"}}
		byPort    = kernel.Exempt{Ports: []string{"8200"}}
	)
	const both = "10.96.7.7/32,10.96.0.10/32"
	for _, tt := range []struct {
		name   string
		mode   string
		exempt kernel.Exempt
		late   func(*corev1.Pod)
		want   string
	}{
		{"address", "appmesh", byAddress, nil, "DD"},
		{"port", "appmesh", byPort, nil, "DD"},
		{"address, late", "appmesh", kernel.Exempt{}, annotate("appmesh.k8s.aws/egressIgnoredIPs", "10.96.7.7"), "XD"},
		{"address", "appmesh, cni", byAddress, nil, "DD"},
		{"address, late", "appmesh, cni", kernel.Exempt{}, annotate("appmesh.k8s.aws/egressIgnoredIPs", "10.96.7.7"), "DD"},
		{"port, late", "appmesh, cni", kernel.Exempt{}, annotate("appmesh.k8s.aws/egressIgnoredPorts", "8200"), "DD"},

		{"user", "consul", byUser, nil, "DD"},
		{"address", "consul", byAddress, nil, "DD"},
		{"port", "consul", byPort, nil, "DD"},
		{"user, late", "consul", kernel.Exempt{}, annotate("consul.hashicorp.com/transparent-proxy-exclude-uids", "100"), "XD"},
		{"user", "consul, cni", byUser, nil, "DD"},
		{"address", "consul, cni", byAddress, nil, "DD"},
		{"port", "consul, cni", byPort, nil, "DD"},
		{"user, late", "consul, cni", kernel.Exempt{}, annotate("consul.hashicorp.com/transparent-proxy-exclude-uids", "100"), "XD"},

		{"address", "istio", byAddress, nil, "DD"},
		{"port", "istio", byPort, nil, "DD"},
		{"port, late", "istio", kernel.Exempt{}, annotate("traffic.sidecar.istio.io/excludeOutboundPorts", "8200"), "XD"},
		{"port, late", "istio, cni", kernel.Exempt{}, annotate("traffic.sidecar.istio.io/excludeOutboundPorts", "8200"), "DD"},

		{"user", "kuma", byUser, nil, "DD"},
		{"user, TCP only", "kuma", kernel.Exempt{UIDs: []string{"tcp:8200:100"}}, nil, "DX"},
		{"users", "kuma", kernel.Exempt{UIDs: []string{"99-101"}}, nil, "DD"},
		{"address", "kuma", byAddress, nil, "DX"},
		{"address, and that of the name server", "kuma", kernel.Exempt{CIDRs: []string{both}}, nil, "DD"},
		{"port", "kuma", byPort, nil, "DX"},
		{"port, and 53", "kuma", kernel.Exempt{Ports: []string{"8200", "53"}}, nil, "DX"},
		{"user, late", "kuma", kernel.Exempt{}, annotate("traffic.kuma.io/exclude-outbound-ports-for-uids", "100"), "XX"},
		{"user", "kuma, cni", byUser, nil, "DD"},
		{"address", "kuma, cni", byAddress, nil, "DX"},
		{"port", "kuma, cni", byPort, nil, "DX"},
		{"user, late", "kuma, cni", kernel.Exempt{}, annotate("traffic.kuma.io/exclude-outbound-ports-for-uids", "100"), "XX"},

		{"port", "linkerd", byPort, nil, "DD"},
		{"range", "linkerd", kernel.Exempt{Ports: []string{"8000-8999"}}, nil, "DD"},
		{"subnet", "linkerd", kernel.Exempt{}, edit("linkerd-init", addArgs("--subnets-to-ignore", "10.96.7.7/32")), "XD"},
		{"port, late", "linkerd", kernel.Exempt{}, annotate("config.linkerd.io/skip-outbound-ports", "8200"), "XD"},
		{"port, late", "linkerd, cni", kernel.Exempt{}, annotate("config.linkerd.io/skip-outbound-ports", "4567,8000-8999"), "DD"},
		{"port with a space, late", "linkerd, cni", kernel.Exempt{}, annotate("config.linkerd.io/skip-outbound-ports", "4567, 8200"), "XD"},
		{"subnet, late", "linkerd, cni", kernel.Exempt{}, annotate("config.linkerd.io/skip-subnets", "10.96.7.7/32"), "XD"},

		{"address", "osm", byAddress, nil, "DD"},
		{"port", "osm", byPort, nil, "DD"},
		{"port, late", "osm", kernel.Exempt{}, annotate("openservicemesh.io/outbound-port-exclusion-list", "8200"), "XD"},
		{"another address included", "osm", kernel.Exempt{}, edit("osm-init", func(c *corev1.Container) {
			c.Args[1] = strings.Replace(c.Args[1], "-A OSM_PROXY_OUTBOUND -j OSM_PROXY_OUT_REDIRECT",
				"-A OSM_PROXY_OUTBOUND -d 10.0.0.0/16 -j OSM_PROXY_OUT_REDIRECT\n-A OSM_PROXY_OUTBOUND -j RETURN", 1)
		}), "DD"},

		{"address", "trafficdirector", byAddress, nil, "DD"},
		{"port", "trafficdirector", byPort, nil, "DD"},
		{"address, late", "trafficdirector", kernel.Exempt{}, annotate("cloud.google.com/excludeOutboundCIDRs", "10.96.7.7/32"), "XD"},
	} {
		t.Run(tt.mode+": "+tt.name, func(t *testing.T) {
			t.Parallel()
			pod := injected(t, tt.mode, tt.exempt)
			if tt.late != nil {
				tt.late(pod)
			}
			got := reach(t, rig, pod, vault, "agent") + reach(t, rig, pod, kernel.Nameserver(), "agent")
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestNamespace is Linkerd's node plugin, which reads the namespace's annotations where the pod has none.
func TestNamespace(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	const key = "config.linkerd.io/skip-outbound-ports"
	namespace := kernel.InNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{key: "8200"}}})
	for _, tt := range []struct {
		name, mode string
		apply      func(*corev1.Pod)
		want       string
	}{
		{"inherited", "linkerd, cni", nil, "D"},
		{"the pod's empty value is none", "linkerd, cni", annotate(key, ""), "D"},
		{"the pod's value replaces it", "linkerd, cni", annotate(key, "4567"), "X"},
		{"linkerd-init does not look", "linkerd", nil, "X"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pod := injected(t, tt.mode, kernel.Exempt{})
			if tt.apply != nil {
				tt.apply(pod)
			}
			results, err := rig.Play(t.Context(), pod, only(vault, "agent"), namespace)
			if err != nil {
				t.Fatal(err)
			}
			if got := verdicts(t, results, "agent"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestDefaults is what an injector lets past without being asked, and what is lost with a list of one's own.
func TestDefaults(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	metadata, ssh := to("169.254.169.254:80"), to("10.96.7.7:22")
	for _, tt := range []struct {
		name, mode string
		apply      func(*corev1.Pod)
		dest       kernel.Destination
		container  string
		want       string
	}{
		{"the metadata server", "trafficdirector", nil, metadata, "agent", "D"},
		{
			"a list without the metadata server", "trafficdirector", edit("istio-init", func(c *corev1.Container) {
				for i, arg := range c.Args {
					c.Args[i] = strings.Replace(arg, "169.254.169.254/32", "10.96.7.7/32", 1)
				}
			}), metadata, "agent", "X",
		},
		{"the metadata server", "appmesh", nil, metadata, "agent", "D"},
		{
			"a list without port 22", "appmesh", edit("proxyinit", func(c *corev1.Container) {
				c.Env = append(c.Env, corev1.EnvVar{Name: "APPMESH_EGRESS_IGNORED_PORTS", Value: "8200"})
			}), ssh, "agent", "D",
		},
		{"ports that speak first", "linkerd", nil, to("10.96.7.7:4567"), "agent", "D"},
		{"ports that speak first", "linkerd, cni", nil, to("10.96.7.7:4567"), "agent", "X"},
		{"the installer finds the network as it was", "consul", nil, vault, "consul-connect-inject-init", "D"},
		{"the init container's own user", "consul, cni", nil, vault, "consul-connect-inject-init", "D"},
	} {
		t.Run(tt.mode+": "+tt.name, func(t *testing.T) {
			t.Parallel()
			pod := injected(t, tt.mode, kernel.Exempt{})
			if tt.apply != nil {
				tt.apply(pod)
			}
			if got := reach(t, rig, pod, tt.dest, tt.container); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestUnredirected are pods that have a mesh's containers and none of its rules.
func TestUnredirected(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	for _, tt := range []struct {
		name, mode string
		apply      func(*corev1.Pod)
	}{
		{"no transparent proxy", "consul", edit("consul-connect-inject-init", func(c *corev1.Container) { c.Env = nil })},
		{"no transparent proxy", "consul, cni", remove("consul.hashicorp.com/transparent-proxy-status")},
		{"not injected", "consul, cni", remove("consul.hashicorp.com/connect-inject-status")},
		{"neither annotation nor Fargate", "appmesh, cni", remove("appmesh.k8s.aws/appmeshCNI")},
		{"switched off", "appmesh", edit("proxyinit", func(c *corev1.Container) { c.Env[0].Value = "0" })},
		{"no outbound redirect", "kuma", annotate("traffic.kuma.io/transparent-proxy-config", "redirect: {outbound: {enabled: false}}")},
	} {
		t.Run(tt.mode+": "+tt.name, func(t *testing.T) {
			t.Parallel()
			pod := injected(t, tt.mode, kernel.Exempt{})
			tt.apply(pod)
			if got, want := reach(t, rig, pod, vault, "agent", "app"), "DD"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// TestRelease2 are pods as Kuma's release 2 leaves them: nothing is rendered onto the pod, the init container has flags,
// and the node plugin reads annotations as they are by then.
func TestRelease2(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	plain := remove("traffic.kuma.io/transparent-proxy-config")
	some := func(args ...string) func(*corev1.Pod) {
		return all(plain, edit("kuma-init", func(c *corev1.Container) {
			c.Args = append([]string{"--redirect-outbound-port", "15001", "--kuma-dp-user", "5678", "--verbose"}, args...)
		}))
	}
	flags := func(args ...string) func(*corev1.Pod) {
		return some(append([]string{"--redirect-all-dns-traffic"}, args...)...)
	}
	capture := annotate("kuma.io/builtin-dns", "enabled")
	for _, tt := range []struct {
		name, mode string
		apply      func(*corev1.Pod)
		want       string
	}{
		{"flags", "kuma", flags(), "XX"},
		{"flags: no names", "kuma", some(), "XD"},
		{"flags: names at the pod's name server", "kuma", some("--redirect-dns"), "XX"},
		{"flags: users, names at the pod's name server", "kuma", some("--redirect-dns", "--exclude-outbound-ports-for-uids", "100"), "DD"},
		{"flags: ports", "kuma", flags("--exclude-outbound-ports", "22,8200"), "DX"},
		{"flags: users", "kuma", flags("--exclude-outbound-ports-for-uids", "100"), "DD"},
		{"flags: addresses", "kuma", flags("--exclude-outbound-ips=10.96.7.7"), "DX"},
		{"flags: late", "kuma", all(flags(), annotate("traffic.kuma.io/exclude-outbound-ports-for-uids", "100")), "XX"},
		{"annotations", "kuma, cni", plain, "XD"},
		{"annotations: names", "kuma, cni", all(plain, capture), "XX"},
		{"annotations: ports, late", "kuma, cni", all(plain, capture, annotate("traffic.kuma.io/exclude-outbound-ports", "8200")), "DX"},
		{"annotations: users, late", "kuma, cni", all(plain, capture, annotate("traffic.kuma.io/exclude-outbound-ports-for-uids", "tcp:8200:100;udp:53:100")), "DD"},
		{"annotations: addresses, late", "kuma, cni", all(plain, capture, annotate("traffic.kuma.io/exclude-outbound-ips", "10.96.0.0/16")), "DD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pod := injected(t, tt.mode, kernel.Exempt{})
			tt.apply(pod)
			got := reach(t, rig, pod, vault, "agent") + reach(t, rig, pod, kernel.Nameserver(), "agent")
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestMeshExits are containers of meshes that fail. Init containers take the turns of those after them.
func TestMeshExits(t *testing.T) {
	t.Parallel()
	rig := newRig(t)
	const skip = "config.linkerd.io/skip-outbound-ports"
	for _, tt := range []struct {
		name, mode string
		exempt     kernel.Exempt
		apply      func(*corev1.Pod)
		want       kernel.ExitError
		turns      string // Of first, agent, app.
	}{
		{
			"nobody redirected the pod", "linkerd, cni",
			kernel.Exempt{},
			// The node plugin leaves a pod alone that has linkerd-init.
			func(pod *corev1.Pod) {
				pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: "linkerd-init"})
			},
			kernel.ExitError{Container: "linkerd-network-validator", Code: 95},
			"D--",
		},
		{
			"nobody redirected the pod", "kuma, cni",
			kernel.Exempt{},
			remove("kuma.io/sidecar-injected"),
			kernel.ExitError{Container: "kuma-validation", Code: 1},
			"D--",
		},
		{
			"a configuration cut short", "consul, cni",
			kernel.Exempt{},
			annotate("consul.hashicorp.com/redirect-traffic-config", "{"),
			kernel.ExitError{Container: "sandbox", Code: 1},
			"---",
		},
		{
			"a name for an address", "consul",
			kernel.Exempt{CIDRs: []string{"vault.invalid"}},
			nil,
			kernel.ExitError{Container: "consul-connect-inject-init", Code: 1},
			"D--",
		},
		{
			"a name for a port", "consul, cni",
			kernel.Exempt{Ports: []string{"vault"}},
			nil,
			kernel.ExitError{Container: "sandbox", Code: 1},
			"---",
		},
		{
			"nothing but a bad port", "linkerd, cni",
			kernel.Exempt{},
			annotate(skip, "vault"),
			kernel.ExitError{Container: "sandbox", Code: 1},
			"---",
		},
		{
			"a subnet that is none", "linkerd, cni",
			kernel.Exempt{},
			annotate("config.linkerd.io/skip-subnets", "10.96.7.7"),
			kernel.ExitError{Container: "sandbox", Code: 1},
			"---",
		},
		{
			"a range of ports", "kuma",
			kernel.Exempt{},
			annotate("traffic.kuma.io/transparent-proxy-config",
				"redirect: {outbound: {enabled: true, port: 15001, excludePorts: 8000-8999}}"),
			kernel.ExitError{Container: "kuma-init", Code: 1},
			"D--",
		},
		{
			"no user to ignore", "appmesh",
			kernel.Exempt{},
			edit("proxyinit", func(c *corev1.Container) { c.Env = c.Env[:1] }),
			kernel.ExitError{Container: "proxyinit", Code: 1},
			"D--",
		},
		{
			"a name for an address", "appmesh",
			kernel.Exempt{CIDRs: []string{"vault.invalid"}},
			nil,
			kernel.ExitError{Container: "proxyinit", Code: 2},
			"D--",
		},
		{
			"a script that does something else", "osm",
			kernel.Exempt{},
			edit("osm-init", func(c *corev1.Container) { c.Args = []string{"-c", "true"} }),
			kernel.ExitError{Container: "osm-init", Code: 1},
			"D--",
		},
		{
			"an address with a space", "trafficdirector",
			kernel.Exempt{CIDRs: []string{" 10.96.7.7/32"}},
			nil,
			kernel.ExitError{Container: "istio-init", Code: 1},
			"D--",
		},
	} {
		t.Run(tt.mode+": "+tt.name, func(t *testing.T) {
			t.Parallel()
			pod := injected(t, tt.mode, tt.exempt)
			if tt.apply != nil {
				tt.apply(pod)
			}
			results, err := rig.Play(t.Context(), pod, only(vault, "first", "agent", "app"))
			var exit *kernel.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("got error %v, want an exit code", err)
			}
			if exit.Output == "" {
				t.Error("got no output")
			}
			t.Log(exit.Output)
			exit.Output = ""
			if diff := cmp.Diff(tt.want, *exit); diff != "" {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
			if got := verdicts(t, results, "first", "agent", "app"); got != tt.turns {
				t.Errorf("got turns %s, want %s", got, tt.turns)
			}
		})
	}
}

// remove takes an annotation off a pod.
func remove(key string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { delete(pod.Annotations, key) }
}

func addArgs(args ...string) func(*corev1.Container) {
	return func(c *corev1.Container) { c.Args = append(c.Args, args...) }
}
