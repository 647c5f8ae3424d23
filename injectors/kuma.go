package injectors

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Kuma's labels and annotations, at 2.9 to 2.14 and on the way to 3.0 (kuma, pkg/plugins/runtime/k8s/metadata/annotations.go).
const (
	kumaInjection = "kuma.io/sidecar-injection" // a label
	kumaInjected  = "kuma.io/sidecar-injected"
	kumaSidecar   = "kuma-sidecar"
	kumaGateway   = "kuma.io/gateway"
	kumaInitFirst = "kuma.io/init-first"
	kumaWait      = "kuma.io/wait-for-dataplane-ready"
	kumaPatches   = "kuma.io/container-patches"
	kumaFamily    = "kuma.io/transparent-proxying-ip-family-mode"
	kumaSidecarID = "kuma.io/sidecar-uid"
	kumaDNS       = "kuma.io/builtin-dns"
	kumaEBPF      = "kuma.io/transparent-proxying-ebpf"
	kumaNetworks  = "k8s.v1.cni.cncf.io/networks"

	kumaTraffic        = "traffic.kuma.io/"
	kumaRendered       = kumaTraffic + "transparent-proxy-config"
	kumaOwnConfigMap   = kumaTraffic + "transparent-proxy-configmap-name"
	kumaExcludeIPs     = kumaTraffic + "exclude-outbound-ips"
	kumaExcludePorts   = kumaTraffic + "exclude-outbound-ports"
	kumaExcludeUsers   = kumaTraffic + "exclude-outbound-ports-for-uids"
	kumaExcludeInbound = kumaTraffic + "exclude-inbound-ports"
	kumaUID            = 5678 // of the proxy; its gid is the same, and not exempt
	kumaUsersSeparator = ";"
	kumaIPv4           = "ipv4"
)

var errKumaFamily = errors.New("not dualstack, ipv4 or ipv6")

// Kuma is the injector of Kuma, and of Kong Mesh, which is the same under another name.
//
// It redirects queries for names too, before it looks at exempt ports: until its proxy serves, only a process that is exempt by
// its user, and one that connects to an address, can connect at all.
func Kuma() *Injector {
	i := &Injector{
		Name:  "kuma",
		Title: "Kuma",
		Facts: "kuma 2.9 to 2.14, and 3.0 as developed (348b6528bc, 0064c8e4d9); flags of kuma-init before 2.6 are not read",
		Containers: map[string]Role{
			"kuma-init":       Installer,
			"kuma-validation": Validator,
			kumaSidecar:       Proxy,
		},
		Owns: kumaOwns,
		Read: readKuma,
		Reads: Reads{
			Deployments: kumaDeployments(), Environment: kumaEnvironment(),
			ConfigMaps: []string{"kuma-transparent-proxy-config", "kuma-control-plane-config", "kong-mesh-control-plane-config"},
			Keys:       []string{kumaKey},
		},
		Port:        5443,                                       // deployments/charts/kuma
		CA:          CA{Secret: "kuma-tls-cert", Key: "ca.crt"}, //nolint:gosec // a name: .../templates/cp-webhooks-and-secrets.yaml
		Marked:      func(t *Target) bool { return t.Annotation(kumaInjected) == "true" },
		Wants:       kumaWants,
		Asked:       kumaAsked,
		Decline:     Decline{Key: kumaInjection, Value: "disabled", Label: true},
		Muddle:      kumaMuddle,
		Observe:     kumaObserve,
		Hold:        &Hold{Key: kumaWait, Merge: mergeKumaHold},
		Annotations: kumaAnnotations(),
		Discovery:   kumaDiscovery,
		Quits:       true, // of Jobs: pkg/plugins/runtime/k8s/controllers/pod_status_controller.go
	}
	i.Inject = func(p *Plan, s *Settings) { kumaInjects(p, i, s) }
	return i
}

// kumaOwns: namespace-kuma-injector.kuma.io, pods-kuma-injector.kuma.io and, for zone proxies, mesh-zoneproxy-kuma-injector.kuma.io
// (deployments/charts/kuma/templates/cp-webhooks-and-secrets.yaml).
func kumaOwns(h *Hook) (string, bool) {
	return defaultRevision, strings.HasSuffix(h.Name, "kuma-injector.kuma.io")
}

// defaultRevision is the revision of an injector that has only one.
const defaultRevision = "default"

// kumaSays reads a switch as Kuma does (Annotations.GetEnabled); Unknown is what makes it deny the pod.
func kumaSays(value string) Tri {
	switch value {
	case "true", "yes", "enabled":
		return Yes
	case "false", "no", "disabled":
		return No
	}
	return Unknown
}

// kumaWants is needToInject (pkg/plugins/runtime/k8s/webhooks/injector/precheck.go): the pod's label goes over the namespace's,
// an annotation says nothing. A pod on the host's network is not skipped. The labels of OpenShift's builds are the exceptions
// that are configured by default.
func kumaWants(t *Target, _ *Settings) Tri {
	for _, key := range [...]string{"openshift.io/build.name", "openshift.io/deployer-pod-for.name"} {
		if _, build := t.Meta.Labels[key]; build {
			return No
		}
	}
	if kumaPresent(t) {
		return No
	}
	if said, ok := t.Meta.Labels[kumaInjection]; ok {
		return TriOf(kumaSays(said) == Yes)
	}
	return TriOf(kumaSays(t.Namespace.Labels[kumaInjection]) == Yes)
}

// kumaPresent tells whether the pod has the sidecar already, whoever put it there.
func kumaPresent(t *Target) bool {
	for i := range t.Spec.InitContainers {
		if t.Spec.InitContainers[i].Name == kumaSidecar {
			return true
		}
	}
	for i := range t.Spec.Containers {
		if t.Spec.Containers[i].Name == kumaSidecar {
			return true
		}
	}
	return false
}

func kumaAsked(t *Target) Tri {
	if said, ok := t.Meta.Labels[kumaInjection]; ok {
		return kumaSays(said)
	}
	return kumaSays(t.Namespace.Labels[kumaInjection])
}

// kumaMuddle finds what has no effect. The webhook for namespaces is called where the namespace's label is enabled or true; the
// one for pods where the namespace has the label, whatever its value, and the pod's is enabled.
func kumaMuddle(t *Target) []Muddle {
	var out []Muddle
	if value, ok := t.Meta.Annotations[kumaInjection]; ok && t.Meta.Labels[kumaInjection] == "" {
		out = append(out, Muddle{
			What: "annotation " + kumaInjection + " on the pod is not read",
			Fix:  "Make it a label: " + kumaInjection + `: "` + value + `"`,
		})
	}
	value, labelled := t.Namespace.Labels[kumaInjection]
	namespace := "namespace " + t.Namespace.Name
	if value, ok := t.Namespace.Annotations[kumaInjection]; ok && !labelled {
		out = append(out, Muddle{
			What: "annotation " + kumaInjection + " on " + namespace + " is not read",
			Fix:  "Make it a label: kubectl label " + namespace + " " + kumaInjection + "=" + value,
		})
	}
	switch {
	case value == "enabled" || value == "true":
		return out
	case labelled && kumaSays(value) != No && kumaSays(t.Meta.Labels[kumaInjection]) != Yes: // the pod's own goes over it
		what := " is neither enabled nor disabled"
		if kumaSays(value) == Yes {
			what = " selects no webhook"
		}
		out = append(out, Muddle{
			What: "label " + kumaInjection + "=" + value + " on " + namespace + what + ": nothing is injected",
			Fix:  "kubectl label --overwrite " + namespace + " " + kumaInjection + "=enabled",
			Away: true,
		})
	}
	if m, ok := kumaMuddledPod(t, labelled); ok {
		out = append(out, m)
	}
	return out
}

// kumaMuddledPod finds a pod that asks for nothing in a namespace that does not ask itself.
func kumaMuddledPod(t *Target, labelled bool) (Muddle, bool) {
	pod := t.Meta.Labels[kumaInjection]
	switch {
	case kumaSays(pod) != Yes:
	case !labelled:
		return Muddle{
			What: "label " + kumaInjection + "=" + pod + " on the pod has no effect: namespace " + t.Namespace.Name + " has no such label",
			Fix:  "kubectl label namespace " + t.Namespace.Name + " " + kumaInjection + "=disabled # the pod's label goes over it",
			Away: true,
		}, true
	case pod != "enabled":
		return Muddle{
			What: "label " + kumaInjection + "=" + pod + " on the pod selects no webhook: nothing is injected",
			Fix:  "Label the pod: " + kumaInjection + ": enabled",
			Away: true,
		}, true
	}
	return Muddle{}, false
}

// mergeKumaHold: a switch that is there is the user's word.
func mergeKumaHold(value string) (merged string, decided bool, err error) {
	if value != "" {
		return value, true, nil
	}
	return "true", false, nil
}

func kumaAnnotations() []Annotation {
	addresses := func(v string) error { _, err := ParseAddresses(v); return err }
	ports := func(v string) error { _, err := kumaParsePorts(v); return err }
	enabled := func(v string) error {
		if kumaSays(v) == Unknown {
			return fmt.Errorf("%q: %w", v, errNotBoolean)
		}
		return nil
	}
	boolean := func(v string) error {
		if v == "enabled" || v == "disabled" {
			return fmt.Errorf("%q: %w", v, errNotBoolean)
		}
		return enabled(v)
	}
	known := []Annotation{
		// An address that is none is found out when kuma-init, or the node plugin, writes the rules; so is a user. The plugin of
		// release 2 passes an empty list of users over.
		{Key: kumaExcludeIPs, Means: ExcludeCIDRs, CIDRs: ParseAddresses, Check: addresses, Breaks: always},
		{Key: kumaExcludePorts, Means: ExcludePorts, Ports: kumaParsePorts, Check: ports, Denied: true},
		{Key: kumaExcludeUsers, Means: ExcludeUIDs, Separator: kumaUsersSeparator, Check: checkKumaUsers, Breaks: notEmpty},
		{Key: kumaExcludeInbound, Means: ExcludeInbound, Ports: kumaParsePorts, Check: ports, Denied: true},
		{Key: kumaTraffic + "exclude-inbound-ips", Check: addresses},
		{Key: kumaInitFirst, Check: enabled, Denied: true},
		{Key: kumaWait, Check: enabled, Denied: true},
		{Key: kumaTraffic + "drop-invalid-packets", Check: boolean, Denied: true},
		{Key: kumaTraffic + "iptables-logs", Check: boolean, Denied: true},
		{Key: kumaFamily, Denied: true, Check: func(v string) error {
			if !slices.Contains([]string{"dualstack", kumaIPv4, "ipv6"}, v) {
				return fmt.Errorf("%q: %w", v, errKumaFamily)
			}
			return nil
		}},
	}
	for _, key := range [...]string{
		kumaRendered, kumaOwnConfigMap, kumaInjected, kumaGateway, kumaPatches, kumaSidecarID, kumaDNS, kumaDNS + "-port", kumaEBPF,
		"kuma.io/mesh", "kuma.io/tags", "kuma.io/ignore", "kuma.io/workload", "kuma.io/direct-access-services", "kuma.io/reachable-backends",
		"kuma.io/sidecar-env-vars", "kuma.io/sidecar-proxy-concurrency", "kuma.io/sidecar-drain-time", "kuma.io/service-account-token-volume",
		"kuma.io/virtual-probes", "kuma.io/virtual-probes-port", "kuma.io/application-probe-proxy-port", "kuma.io/envoy-admin-port",
		"kuma.io/envoy-log-level", "kuma.io/envoy-component-log-level", "kuma.io/transparent-proxying",
		"kuma.io/transparent-proxying-inbound-port", "kuma.io/transparent-proxying-outbound-port",
		"kuma.io/transparent-proxying-reachable-services", "k8s.kuma.io/spire-support",
	} {
		known = append(known, Annotation{Key: key})
	}
	return known
}

// kumaDiscovery is the address that an injected sidecar was told. Which one it should be is not known: the control plane's
// configuration names its own.
func kumaDiscovery(t *Target, _ *Settings) (said, want string) {
	for _, list := range [...][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for i := range list {
			if list[i].Name != kumaSidecar {
				continue
			}
			if to, ok := ParseURL(envOr(list[i].Env, "KUMA_CONTROL_PLANE_URL", "")); ok {
				return to.String(), ""
			}
		}
	}
	return "", ""
}
