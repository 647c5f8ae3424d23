//go:build linux

package kernel

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const trafficDirectorProxy = "envoy"

// trafficDirector is played by Istio's program: its installer has the name, and takes the arguments, of Istio's. What
// tells its pods from Istio's is the proxy: envoy, and not istio-proxy. It has no node plugin and no native sidecar.
//
// Source: Google's bundle td-sidecar-injector-xdsv3, as published by a user (shrishrimalm/TrafficDirector at a3d972c45e,
// specs/01-configmap.yaml): the template, its order and the arguments.
func trafficDirector() mesh {
	return mesh{
		name: "trafficdirector",
		present: func(pod *corev1.Pod) bool {
			return has(pod, istioInstaller) && has(pod, trafficDirectorProxy) && !has(pod, istioProxy) &&
				!has(pod, appMeshInstaller) && !has(pod, osmInstaller)
		},
		proxy: trafficDirectorProxy, outbound: 15001,
		turns: map[string]turn{istioInstaller: func(_ *corev1.Pod, c corev1.Container) ([]act, error) {
			args := c.Args
			if len(args) == 0 || strings.HasPrefix(args[0], "-") { // The image's program of its own.
				args = slices.Concat([]string{"istio-iptables"}, args)
			}
			return []act{agent(args, c.Env)}, nil
		}},
		modes:  modes("trafficdirector", false, false),
		inject: injectTrafficDirector,
	}
}

// injectTrafficDirector puts its containers last. A list of its own replaces the injector's, which lets the metadata
// server past.
func injectTrafficDirector(_ Mode, pod *corev1.Pod, exempt Exempt) {
	cidrs, ports := list("169.254.169.254/32", exempt.CIDRs), list("", exempt.Ports)
	if len(exempt.CIDRs) > 0 {
		pod.Annotations["cloud.google.com/excludeOutboundCIDRs"] = cidrs
	}
	args := []string{"-p", "15001", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", cidrs, "-b", "", "-d", ""}
	if ports != "" {
		pod.Annotations["cloud.google.com/excludeOutboundPorts"] = ports
		args = append(args, "-o", ports)
	}
	appendInit(pod,
		corev1.Container{Name: "td-bootstrap-writer", SecurityContext: user(1323, 1323)},
		corev1.Container{Name: istioInstaller, Args: args, SecurityContext: administrator()},
	)
	appendMain(pod, corev1.Container{Name: trafficDirectorProxy, SecurityContext: user(1337, -1)})
}
