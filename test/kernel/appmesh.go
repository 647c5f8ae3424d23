//go:build linux

package kernel

import (
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	appMeshInstaller = "proxyinit"
	appMeshProxy     = "envoy"
	appMeshPrefix    = "appmesh.k8s.aws/"
)

// appMesh is played by rules written out here.
//
// Source: aws-appmesh-proxy-route-manager, the script of the init container, as copies of it are published: what it
// exempts, in this order, and that it always lets port 22 past. aws/aws-app-mesh-controller-for-k8s at 89b8c95,
// pkg/inject: proxy.go, init_proxy.go (names, environment, who has a node plugin), cni_proxy.go (annotations). The source
// of the node plugin on Fargate is not public: it is taken to make the same rules from the annotations.
func appMesh() mesh {
	return mesh{
		name:    "appmesh",
		present: func(pod *corev1.Pod) bool { return has(pod, appMeshInstaller) || appMeshPlugin(pod) },
		proxy:   appMeshProxy, outbound: 15001,
		sandbox: func(pod *corev1.Pod, _ namespaceNotes) ([]act, error) {
			if !appMeshPlugin(pod) {
				return nil, nil
			}
			note := func(key string) string { return pod.Annotations[appMeshPrefix+key] }
			return appMeshRules{
				uid: note("ignoredUID"), gid: note("ignoredGID"),
				egress: note("proxyEgressPort"), ingress: note("proxyIngressPort"), appPorts: note("ports"),
				skipPorts: note("egressIgnoredPorts"), skipAddresses: note("egressIgnoredIPs"),
			}.acts()
		},
		turns: map[string]turn{appMeshInstaller: func(_ *corev1.Pod, c corev1.Container) ([]act, error) {
			if environment(c, "APPMESH_START_ENABLED") != "1" {
				return nil, nil
			}
			return appMeshRules{
				uid: environment(c, "APPMESH_IGNORE_UID"), gid: environment(c, "APPMESH_IGNORE_GID"),
				egress: environment(c, "APPMESH_ENVOY_EGRESS_PORT"), ingress: environment(c, "APPMESH_ENVOY_INGRESS_PORT"),
				appPorts:      environment(c, "APPMESH_APP_PORTS"),
				skipPorts:     environment(c, "APPMESH_EGRESS_IGNORED_PORTS"),
				skipAddresses: environment(c, "APPMESH_EGRESS_IGNORED_IP"),
			}.acts()
		}},
		modes:  modes("appmesh", true, false),
		inject: injectAppMesh,
	}
}

// appMeshPlugin is whether a node plugin redirects the pod: the annotation decides, and where there is none the label of
// Fargate. The plugin leaves pods alone that were not injected.
func appMeshPlugin(pod *corev1.Pod) bool {
	if has(pod, appMeshInstaller) || !has(pod, appMeshProxy) || pod.Annotations[appMeshPrefix+"sidecarInjectorWebhook"] != "enabled" {
		return false
	}
	if value, ok := pod.Annotations[appMeshPrefix+"appmeshCNI"]; ok {
		return strings.EqualFold(value, "enabled")
	}
	return pod.Labels["eks.amazonaws.com/fargate-profile"] != ""
}

// appMeshRules are what both ways of installing them read, as it is written.
type appMeshRules struct {
	uid, gid                 string
	egress, ingress          string // The proxy's ports.
	appPorts                 string
	skipPorts, skipAddresses string
}

func (r appMeshRules) acts() ([]act, error) {
	switch {
	case r.uid == "" && r.gid == "":
		return nil, errors.New("neither user nor group to ignore")
	case r.egress == "" || r.appPorts != "" && r.ingress == "":
		return nil, errors.New("no port of the proxy")
	}
	const in, out = "APPMESH_INGRESS", "APPMESH_EGRESS"
	var acts []act
	rule := func(args ...string) { acts = append(acts, runIptables(append([]string{"-t", "nat"}, args...)...)) }
	rule("-N", out)
	if r.uid != "" {
		rule("-A", out, "-m", "owner", "--uid-owner", r.uid, "-j", "RETURN")
	}
	if r.gid != "" {
		rule("-A", out, "-m", "owner", "--gid-owner", r.gid, "-j", "RETURN")
	}
	// The script makes words of both lists, so that spaces do no harm.
	for port := range strings.FieldsSeq(strings.ReplaceAll(r.skipPorts+",22", ",", " ")) {
		rule("-A", out, "-p", "tcp", "-m", "multiport", "--dports", port, "-j", "RETURN")
	}
	for address := range strings.FieldsSeq(strings.ReplaceAll(r.skipAddresses, ",", " ")) {
		if !strings.Contains(address, ":") {
			rule("-A", out, "-p", "tcp", "-d", address, "-j", "RETURN")
		}
	}
	rule("-A", out, "-p", "tcp", "-j", "REDIRECT", "--to", r.egress)
	rule("-A", "OUTPUT", "-p", "tcp", "-m", "addrtype", "!", "--dst-type", "LOCAL", "-j", out)
	if r.appPorts != "" {
		rule("-N", in)
		rule("-A", in, "-p", "tcp", "-m", "multiport", "--dports", r.appPorts, "-j", "REDIRECT", "--to-port", r.ingress)
		rule("-A", "PREROUTING", "-p", "tcp", "-m", "addrtype", "!", "--src-type", "LOCAL", "-j", in)
	}
	return acts, nil
}

// injectAppMesh puts both containers last. Addresses are the controller's to exempt: it does not read them from the pod,
// and writes its own over what the pod says. Ports are read from the pod.
func injectAppMesh(m Mode, pod *corev1.Pod, exempt Exempt) {
	ports, addresses := "22", list("169.254.169.254", exempt.CIDRs)
	if len(exempt.Ports) > 0 {
		ports = list("22", exempt.Ports)
		pod.Annotations[appMeshPrefix+"egressIgnoredPorts"] = ports
	}
	if m.CNI {
		for key, value := range map[string]string{
			"appmeshCNI": "enabled", "sidecarInjectorWebhook": "enabled", "ports": "8080", "ignoredUID": "1337",
			"egressIgnoredIPs": addresses, "egressIgnoredPorts": ports, "proxyEgressPort": "15001", "proxyIngressPort": "15000",
		} {
			pod.Annotations[appMeshPrefix+key] = value
		}
	} else {
		appendInit(pod, corev1.Container{
			Name: appMeshInstaller,
			Env: []corev1.EnvVar{
				{Name: "APPMESH_START_ENABLED", Value: "1"},
				{Name: "APPMESH_IGNORE_UID", Value: "1337"},
				{Name: "APPMESH_ENVOY_INGRESS_PORT", Value: "15000"},
				{Name: "APPMESH_ENVOY_EGRESS_PORT", Value: "15001"},
				{Name: "APPMESH_APP_PORTS", Value: "8080"},
				{Name: "APPMESH_EGRESS_IGNORED_IP", Value: addresses},
				{Name: "APPMESH_EGRESS_IGNORED_PORTS", Value: ports},
			},
			SecurityContext: administrator(),
		})
	}
	appendMain(pod, corev1.Container{Name: appMeshProxy, SecurityContext: user(1337, -1)})
}
