//go:build linux

package kernel

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	linkerdInstaller = "linkerd-init"
	linkerdValidator = "linkerd-network-validator"
	linkerdProxy     = "linkerd-proxy"

	// linkerdNoAwait is the variant in which nobody waits for the proxy (proxy.await: false).
	linkerdNoAwait = "not awaited"
)

// linkerd is played by rules written out here.
//
// Source: linkerd/linkerd2-proxy-init at 13138e5 (after release proxy-init/v2.4): pkg/iptables/iptables.go (the rules
// and their order), pkg/util (port ranges), cni-plugin/main.go (whom the node plugin redirects, what it reads),
// validator/src/main.rs. linkerd/linkerd2, charts/partials/templates/_proxy-init.tpl and _network-validator.tpl: names
// and arguments.
func linkerd() mesh {
	return mesh{
		name: "linkerd",
		present: func(pod *corev1.Pod) bool {
			return has(pod, linkerdInstaller) || has(pod, linkerdValidator) || has(pod, linkerdProxy)
		},
		proxy: linkerdProxy, outbound: 4140, // It answers no names: UDP is never redirected.
		sandbox: linkerdSandbox,
		turns: map[string]turn{
			linkerdInstaller: func(_ *corev1.Pod, c corev1.Container) ([]act, error) { return linkerdInstall(c.Args) },
			linkerdValidator: func(_ *corev1.Pod, c corev1.Container) ([]act, error) { return linkerdValidate(c.Args) },
		},
		modes:    modes("linkerd", true, true),
		variants: []string{linkerdNoAwait},
		inject:   injectLinkerd,
	}
}

// linkerdRules are what both ways of installing them read.
type linkerdRules struct {
	uid, gid                  string   // The proxy's; 0 and below is none.
	outbound, inbound         string   // The proxy's ports.
	skipOutbound, skipInbound []string // Ports and ranges.
	skipSubnets               []string // Of sources, never of destinations.
}

// linkerdSandbox is what the node plugin does. It leaves a pod alone that has linkerd-init, or no proxy. The validator is
// taken as the sign that the node has the plugin.
func linkerdSandbox(pod *corev1.Pod, namespace namespaceNotes) ([]act, error) {
	if has(pod, linkerdInstaller) || !has(pod, linkerdProxy) || !has(pod, linkerdValidator) {
		return nil, nil
	}
	const config = "config.linkerd.io/"
	note := func(name, fallback string) string {
		if value := pod.Annotations[config+name]; value != "" {
			return value
		}
		if value := namespace[config+name]; value != "" {
			return value
		}
		return fallback
	}
	// Defaults: linkerd/linkerd2, charts/linkerd2-cni/values.yaml. Unlike those of linkerd-init they skip no port.
	rules := linkerdRules{
		uid: note("proxy-uid", "2102"), gid: note("proxy-gid", "0"),
		outbound: "4140", inbound: "4143",
		skipOutbound: split(note("skip-outbound-ports", "")),
		skipInbound:  split(note("skip-inbound-ports", "4191,4190")),
		skipSubnets:  split(note("skip-subnets", "")),
	}
	return rules.acts()
}

// linkerdInstall is what linkerd-init does with its arguments.
func linkerdInstall(args []string) ([]act, error) {
	flags := flags(args)
	var rules linkerdRules
	rules.uid, rules.gid = last(flags["proxy-uid"], "-1"), last(flags["proxy-gid"], "-1")
	rules.outbound, rules.inbound = last(flags["outgoing-proxy-port"], ""), last(flags["incoming-proxy-port"], "")
	for _, ports := range flags["outbound-ports-to-ignore"] {
		rules.skipOutbound = append(rules.skipOutbound, split(ports)...)
	}
	for _, ports := range flags["inbound-ports-to-ignore"] {
		rules.skipInbound = append(rules.skipInbound, split(ports)...)
	}
	for _, subnets := range flags["subnets-to-ignore"] {
		rules.skipSubnets = append(rules.skipSubnets, split(subnets)...)
	}
	return rules.acts()
}

func (r linkerdRules) acts() ([]act, error) {
	for _, port := range []string{r.outbound, r.inbound} {
		if _, ok := linkerdPort(port); !ok {
			return nil, fmt.Errorf("the proxy's ports: %q is not a port", port)
		}
	}
	for _, subnet := range r.skipSubnets {
		if _, err := netip.ParsePrefix(strings.TrimSpace(subnet)); err != nil {
			return nil, fmt.Errorf("subnets to ignore: %w", err)
		}
	}
	const in, out = "PROXY_INIT_REDIRECT", "PROXY_INIT_OUTPUT"
	var acts []act
	rule := func(args ...string) { acts = append(acts, runIptables(append([]string{"-t", "nat"}, args...)...)) }
	skip := func(chain string, ports []string) {
		for _, ports := range linkerdMultiports(ports) {
			rule("-A", chain, "-p", "tcp", "--match", "multiport", "--dports", ports, "-j", "RETURN")
		}
	}

	rule("-N", in)
	skip(in, r.skipInbound)
	for _, subnet := range r.skipSubnets {
		rule("-A", in, "-p", "all", "-j", "RETURN", "-s", strings.TrimSpace(subnet))
	}
	rule("-A", in, "-p", "tcp", "-j", "REDIRECT", "--to-port", r.inbound)
	rule("-A", "PREROUTING", "-j", in)

	rule("-N", out)
	if id, err := strconv.Atoi(r.uid); err != nil {
		return nil, fmt.Errorf("the proxy's user: %w", err)
	} else if id > 0 {
		rule("-A", out, "-m", "owner", "--uid-owner", r.uid, "-j", "RETURN")
	}
	if id, err := strconv.Atoi(r.gid); err != nil {
		return nil, fmt.Errorf("the proxy's group: %w", err)
	} else if id > 0 {
		rule("-A", out, "-m", "owner", "--gid-owner", r.gid, "-j", "RETURN")
	}
	rule("-A", out, "-o", "lo", "-j", "RETURN")
	skip(out, r.skipOutbound)
	rule("-A", out, "-p", "tcp", "-j", "REDIRECT", "--to-port", r.outbound)
	rule("-A", "OUTPUT", "-j", out)
	return ending(1, acts), nil
}

// linkerdMultiports packs ports and ranges for rules, 15 numbers at most in each. What is neither is left out; a list of
// nothing else is left as one empty pack, which iptables refuses.
func linkerdMultiports(ports []string) []string {
	if len(ports) == 0 {
		return nil
	}
	var packs, pack []string
	size := 0
	for _, port := range ports {
		match, n, ok := linkerdRange(port)
		if !ok {
			continue
		}
		if size+n > 15 {
			packs = append(packs, strings.Join(pack, ","))
			pack, size = nil, 0
		}
		pack = append(pack, match)
		size += n
	}
	return append(packs, strings.Join(pack, ","))
}

// linkerdRange returns a port, or a range from-to, as iptables has it, and how many numbers it takes.
func linkerdRange(text string) (match string, n int, ok bool) {
	from, to, isRange := strings.Cut(text, "-")
	lower, ok := linkerdPort(from)
	if !isRange || !ok {
		return from, 1, ok
	}
	upper, ok := linkerdPort(to)
	switch {
	case !ok || upper < lower:
		return "", 0, false
	case upper == lower:
		return from, 1, true
	}
	return from + ":" + to, 2, true
}

func linkerdPort(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n <= 65535
}

// linkerdValidate is what the validator does with its arguments. It has 10 seconds; where a connection is refused it
// does not wait for them. Code 95 is "operation not supported".
func linkerdValidate(args []string) ([]act, error) {
	flags := flags(args)
	listen, err := netip.ParseAddrPort(last(flags["listen-addr"], "0.0.0.0:4140"))
	if err != nil {
		return nil, fmt.Errorf("listen address: %w", err)
	}
	connect, err := netip.ParseAddrPort(last(flags["connect-addr"], "192.0.2.2:1404"))
	if err != nil {
		return nil, fmt.Errorf("connect address: %w", err)
	}
	const notSupported = 95
	return []act{redirected(listen, connect, notSupported)}, nil
}

// injectLinkerd puts the installer last and the proxy first, which is where await has it; native, both first.
// Source: linkerd/linkerd2 edge-26.8.3, charts/patch/templates/patch.json.
func injectLinkerd(m Mode, pod *corev1.Pod, exempt Exempt) {
	pod.Annotations["linkerd.io/proxy-version"] = "edge-26.8.3"
	pod.Annotations["linkerd.io/created-by"] = "linkerd/proxy-injector edge-26.8.3"
	pod.Labels["linkerd.io/control-plane-ns"] = "linkerd"
	skip := "4567,4568" // The chart's proxyInit.ignoreOutboundPorts.
	if len(exempt.Ports) > 0 {
		skip = list(skip, exempt.Ports)
		pod.Annotations["config.linkerd.io/skip-outbound-ports"] = skip
	}
	first := corev1.Container{
		Name: linkerdInstaller,
		Args: []string{
			"--ipv6=false", "--incoming-proxy-port", "4143", "--outgoing-proxy-port", "4140", "--proxy-uid", "2102",
			"--inbound-ports-to-ignore", "4190,4191", "--outbound-ports-to-ignore", skip,
		},
		SecurityContext: administrator(),
	}
	first.SecurityContext.RunAsUser, first.SecurityContext.RunAsGroup = new(int64(65534)), new(int64(65534))
	if m.CNI {
		first = corev1.Container{
			Name:            linkerdValidator,
			Args:            []string{"--connect-addr", "1.1.1.1:20001", "--listen-addr", "0.0.0.0:4140", "--timeout", "10s"},
			SecurityContext: user(65534, 65534),
		}
	}
	proxy := corev1.Container{Name: linkerdProxy, SecurityContext: user(2102, -1)}
	awaited := m.Variant != linkerdNoAwait
	if m.Native {
		proxy = native(proxy, "/ready", 4191)
		if !awaited {
			proxy.StartupProbe = nil
		}
		prependInit(pod, first, proxy)
		return
	}
	appendInit(pod, first)
	if !awaited {
		appendMain(pod, proxy)
		return
	}
	proxy.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
		Command: []string{"/usr/lib/linkerd/linkerd-await", "--timeout=2m", "--port=4191"},
	}}}
	prependMain(pod, proxy)
}
