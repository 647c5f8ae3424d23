//go:build linux

package kernel

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	istioInstaller = "istio-init"
	istioValidator = "istio-validation"
	istioProxy     = "istio-proxy"

	// istioNames is the variant in which the pod asks for names at the proxy (ISTIO_META_DNS_CAPTURE).
	istioNames = "capturing names"
)

// istio is played by its own program: pilot-agent, as the rig was given it.
func istio() mesh {
	run := func(_ *corev1.Pod, c corev1.Container) ([]act, error) { return []act{agent(c.Args, c.Env)}, nil }
	return mesh{
		name: "istio",
		present: func(pod *corev1.Pod) bool {
			return (has(pod, istioInstaller) || has(pod, istioValidator) || has(pod, istioProxy)) && !trafficDirector().present(pod)
		},
		proxy: istioProxy, outbound: 15001, dns: 15053,
		sandbox: func(pod *corev1.Pod, _ namespaceNotes) ([]act, error) {
			args, err := pluginArgs(pod)
			if args == nil || err != nil {
				return nil, err
			}
			return []act{agent(args, nil)}, nil
		},
		turns:    map[string]turn{istioInstaller: run, istioValidator: run},
		modes:    modes("istio", true, true),
		variants: []string{istioNames},
		inject:   injectIstio,
	}
}

// agent runs pilot-agent with a container's arguments and environment.
func agent(args []string, env []corev1.EnvVar) act {
	return func(ctx context.Context, s *stage, id identity) error {
		cmd := command(ctx, "/proc/self/fd/3", args...)
		cmd.Args[0] = "pilot-agent"
		cmd.ExtraFiles = []*os.File{s.rig.agent}
		for _, v := range env {
			if v.ValueFrom == nil {
				cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
			}
		}
		return s.program(id, cmd)
	}
}

// pluginArgs returns the arguments of istio-iptables that do what Istio's node plugin does when the pod's sandbox is
// made, and nil where the plugin leaves the pod alone. Only a pod with istio-validation is taken to be on a node that
// has the plugin; the pod itself says nothing else about its node.
//
// Source: istio.io/istio, cni/pkg/plugin: plugin.go (who is skipped), sidecar_redirect.go (defaults),
// sidecar_iptables_linux.go (which value goes where).
func pluginArgs(pod *corev1.Pod) ([]string, error) {
	containers := containers(pod)
	if _, ok := containers[istioValidator]; !ok {
		return nil, nil
	}
	proxy, ok := containers[istioProxy]
	if !ok || pluginSkips(pod, containers, proxy) {
		return nil, nil
	}
	mode := annotation(pod, "sidecar.istio.io/interceptionMode", "REDIRECT")
	if mode != "REDIRECT" && mode != "TPROXY" {
		return nil, fmt.Errorf("interception mode %q: the node plugin takes REDIRECT or TPROXY", mode)
	}
	const traffic = "traffic.sidecar.istio.io/"
	uid, gid := pluginIdentity(proxy)
	args := []string{
		"istio-iptables", "--cni-mode",
		"-p", "15001",
		"-u", uid,
		"-g", gid,
		"-m", mode,
		"-i", annotation(pod, traffic+"includeOutboundIPRanges", "*"),
		"-x", annotation(pod, traffic+"excludeOutboundIPRanges", ""),
		"-b", annotation(pod, traffic+"includeInboundPorts", "*"),
		"-d", inboundExclusions(annotation(pod, traffic+"excludeInboundPorts", "15020")),
		"-q", annotation(pod, traffic+"includeOutboundPorts", ""),
		"-o", annotation(pod, traffic+"excludeOutboundPorts", "15020"),
		"-c", annotation(pod, traffic+"excludeInterfaces", ""),
		"-k", annotation(pod, "istio.io/reroute-virtual-interfaces", annotation(pod, traffic+"kubevirtInterfaces", "")),
	}
	if enabled(proxy, "ISTIO_META_DNS_CAPTURE") {
		args = append(args, "--redirect-dns", "--capture-all-dns")
	}
	if enabled(proxy, "ISTIO_DUAL_STACK") {
		args = append(args, "--dual-stack")
	}
	if enabled(proxy, "INVALID_DROP") {
		args = append(args, "--drop-invalid")
	}
	return args, nil
}

// pluginSkips is whether the plugin leaves a pod alone that has a proxy.
func pluginSkips(pod *corev1.Pod, containers map[string]corev1.Container, proxy corev1.Container) bool {
	_, hasInstaller := containers[istioInstaller]
	_, hasStatus := pod.Annotations["sidecar.istio.io/status"]
	inject, labelled := pod.Labels["sidecar.istio.io/inject"]
	if !labelled {
		inject = pod.Annotations["sidecar.istio.io/inject"]
	}
	injectable, err := strconv.ParseBool(inject)
	forbidden := err == nil && !injectable
	otherType := len(proxy.Args) >= 2 && proxy.Args[0] == "proxy" && proxy.Args[1] != "sidecar" && proxy.Args[1] != ""
	return hasInstaller || !hasStatus || forbidden || otherType || enabled(proxy, "DISABLE_ENVOY") ||
		pod.Namespace == "kube-system" // The chart's default for excluded namespaces.
}

// pluginIdentity is whom the rules exempt. To the plugin, 0 is as good as unset.
func pluginIdentity(proxy corev1.Container) (uid, gid string) {
	uid, gid = "1337", "1337"
	if sc := proxy.SecurityContext; sc != nil {
		if sc.RunAsUser != nil && *sc.RunAsUser != 0 {
			uid = strconv.FormatInt(*sc.RunAsUser, 10)
		}
		if sc.RunAsGroup != nil && *sc.RunAsGroup != 0 {
			gid = strconv.FormatInt(*sc.RunAsGroup, 10)
		}
	}
	return uid, gid
}

// inboundExclusions adds the proxy's own ports to the list.
func inboundExclusions(list string) string {
	var ports []string
	seen := map[string]bool{}
	for port := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(list), ",")+",15020,15021,15090", ",") {
		if port != "" && !seen[port] {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	return strings.Join(ports, ",")
}

// annotation is the pod's annotation, or fallback where it has none; an empty value is a value.
func annotation(pod *corev1.Pod, key, fallback string) string {
	if value, ok := pod.Annotations[key]; ok {
		return value
	}
	return fallback
}

// enabled is whether a container's own environment sets name to a true value.
func enabled(c corev1.Container, name string) bool {
	on := false
	for _, v := range c.Env {
		if v.Name == name {
			on, _ = strconv.ParseBool(v.Value) // A value that is none counts as false there as well.
		}
	}
	return on
}

func containers(pod *corev1.Pod) map[string]corev1.Container {
	byName := map[string]corev1.Container{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			byName[c.Name] = c
		}
	}
	return byName
}

// injectIstio puts the installer last and the proxy last, or both first where the proxy is native.
// Source: istio.io/istio, manifests/charts/istio-control/istio-discovery/files/injection-template.yaml; the order is
// pkg/kube/inject/webhook.go, as recorded in test/vaultinjector/testdata/recorded.
func injectIstio(m Mode, pod *corev1.Pod, exempt Exempt) {
	const traffic = "traffic.sidecar.istio.io/"
	pod.Annotations["sidecar.istio.io/status"] = `{"initContainers":null,"containers":null,"revision":"default"}`
	if len(exempt.CIDRs) > 0 {
		pod.Annotations[traffic+"excludeOutboundIPRanges"] = list("", exempt.CIDRs)
	}
	args := []string{
		"istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*",
		"-x", list("", exempt.CIDRs), "-b", "*", "-d", "15090,15021,15020",
	}
	if len(exempt.Ports) > 0 {
		ports := list("", exempt.Ports)
		pod.Annotations[traffic+"excludeOutboundPorts"] = ports
		args = append(args, "-o", ports)
	}
	first := corev1.Container{Name: istioInstaller, Args: args, SecurityContext: administrator()}
	if m.CNI {
		first.Name, first.SecurityContext = istioValidator, user(1337, 1337)
		first.Args = slices.Concat(args, []string{"--run-validation", "--skip-rule-apply"})
	}
	proxy := corev1.Container{Name: istioProxy, Args: []string{"proxy", "sidecar"}, SecurityContext: user(1337, 1337)}
	if m.Variant == istioNames {
		capture := corev1.EnvVar{Name: "ISTIO_META_DNS_CAPTURE", Value: "true"}
		first.Env, proxy.Env = append(first.Env, capture), append(proxy.Env, capture)
	}
	if m.Native {
		prependInit(pod, first, native(proxy, "/healthz/ready", 15021))
		return
	}
	appendInit(pod, first)
	appendMain(pod, proxy)
}
