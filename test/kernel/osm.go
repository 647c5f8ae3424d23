//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	osmInstaller = "osm-init"
	osmProxy     = "envoy"
)

// osm is played by the rules that its webhook rendered into osm-init: the container's shell hands them to
// iptables-restore, and so does the play, without a shell. Open Service Mesh has no node plugin and no native sidecar.
//
// Source: openservicemesh/osm at 0316f69 and 1db1d9c (release v1.2), pkg/injector: iptables.go, init_container.go.
func osm() mesh {
	return mesh{
		name:    "osm",
		present: func(pod *corev1.Pod) bool { return has(pod, osmInstaller) },
		proxy:   osmProxy, outbound: 15001,
		turns: map[string]turn{osmInstaller: func(_ *corev1.Pod, c corev1.Container) ([]act, error) {
			rules, err := osmRules(c.Args)
			if err != nil {
				return nil, err
			}
			return []act{restore(rules)}, nil
		}},
		modes:  modes("osm", false, false),
		inject: injectOSM,
	}
}

// osmRules takes the rules out of the shell's arguments: -c, and one call of iptables-restore that reads a document.
func osmRules(args []string) (string, error) {
	const start, end = "iptables-restore --noflush <<EOF\n", "\nEOF\n"
	if len(args) != 2 || args[0] != "-c" {
		return "", fmt.Errorf("arguments %q: want -c and a script", args)
	}
	script, ok := strings.CutPrefix(args[1], start)
	if !ok {
		return "", errors.New("the script does not begin with iptables-restore")
	}
	rules, rest, ok := strings.Cut(script, end)
	if !ok || strings.TrimSpace(rest) != "" {
		return "", errors.New("the script does more than iptables-restore")
	}
	rules = os.Expand(rules, func(name string) string {
		if name == "POD_IP" {
			return podAddress
		}
		return ""
	})
	return rules + "\n", nil
}

// injectOSM puts both containers last. Its exemptions are addresses and ports; nobody is exempt but the proxy.
func injectOSM(_ Mode, pod *corev1.Pod, exempt Exempt) {
	pod.Labels["osm-proxy-uuid"] = "b7a1c9ae-5a0d-4e8f-8a52-0c1d5e6f7a8b"
	const out = "-A OSM_PROXY_OUTBOUND "
	rules := []string{
		"# OSM sidecar interception rules",
		"*nat",
		":OSM_PROXY_INBOUND - [0:0]",
		":OSM_PROXY_IN_REDIRECT - [0:0]",
		":OSM_PROXY_OUTBOUND - [0:0]",
		":OSM_PROXY_OUT_REDIRECT - [0:0]",
		"-A OSM_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-port 15003",
		"-A PREROUTING -p tcp -j OSM_PROXY_INBOUND",
		"-A OSM_PROXY_INBOUND -p tcp --dport 15010 -j RETURN",
		"-A OSM_PROXY_INBOUND -p tcp -j OSM_PROXY_IN_REDIRECT",
		"-A OSM_PROXY_OUT_REDIRECT -p tcp -j REDIRECT --to-port 15001",
		"-A OSM_PROXY_OUT_REDIRECT -p tcp --dport 15000 -j ACCEPT",
		"-A OUTPUT -p tcp -j OSM_PROXY_OUTBOUND",
		out + "-o lo ! -d 127.0.0.1/32 -m owner --uid-owner 1500 -j OSM_PROXY_IN_REDIRECT",
		out + "-o lo -m owner ! --uid-owner 1500 -j RETURN",
		out + "-m owner --uid-owner 1500 -j RETURN",
		out + "-d 127.0.0.1/32 -j RETURN",
	}
	for _, cidr := range exempt.CIDRs {
		rules = append(rules, out+"-d "+cidr+" -j RETURN")
	}
	if len(exempt.CIDRs) > 0 {
		pod.Annotations["openservicemesh.io/outbound-ip-range-exclusion-list"] = list("", exempt.CIDRs)
	}
	if len(exempt.Ports) > 0 {
		ports := list("", exempt.Ports)
		pod.Annotations["openservicemesh.io/outbound-port-exclusion-list"] = ports
		rules = append(rules, out+"-p tcp --match multiport --dports "+ports+" -j RETURN")
	}
	rules = append(rules, out+"-j OSM_PROXY_OUT_REDIRECT", "COMMIT")
	appendInit(pod, corev1.Container{
		Name:            osmInstaller,
		Command:         []string{"/bin/sh"},
		Args:            []string{"-c", "iptables-restore --noflush <<EOF\n" + strings.Join(rules, "\n") + "\nEOF\n"},
		SecurityContext: administrator(),
	})
	appendMain(pod, corev1.Container{Name: osmProxy, SecurityContext: user(1500, -1)})
}
