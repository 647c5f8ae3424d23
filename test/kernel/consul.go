//go:build linux

package kernel

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/consul/sdk/iptables"
	corev1 "k8s.io/api/core/v1"
)

const (
	consulInstaller = "consul-connect-inject-init"
	consulProxy     = "consul-dataplane"

	consulRedirect = "CONSUL_REDIRECT_TRAFFIC_CONFIG"
	consulPrefix   = "consul.hashicorp.com/"

	// consulNoRedirect is the variant in which the pod is not in transparent proxy mode.
	consulNoRedirect = "not redirected"
)

// consul is played by its own package, which makes the rules for both its programs. The configuration was rendered by
// the webhook: what annotations say later has no effect, with or without the node plugin.
//
// It does not redirect a pod that is not in transparent proxy mode: its configuration is nowhere in the pod then.
//
// Source: hashicorp/consul, sdk/iptables, release sdk/v0.18.1 (from v0.19 on the same rules are made for nftables).
// hashicorp/consul-k8s at 00d7195: control-plane/cni/main.go (whom the node plugin redirects, what it reads);
// control-plane/connect-inject/webhook: container_init.go, redirect_traffic.go.
func consul() mesh {
	return mesh{
		name:    "consul",
		present: func(pod *corev1.Pod) bool { return has(pod, consulInstaller) || has(pod, consulProxy) },
		// Names are asked for at 127.0.0.1, and at the cluster's name server where nobody answers there: the rules leave
		// that one alone.
		proxy: consulProxy, outbound: 15001,
		sandbox: consulSandbox,
		turns: map[string]turn{
			consulInstaller: func(_ *corev1.Pod, c corev1.Container) ([]act, error) {
				config := environment(c, consulRedirect)
				if config == "" {
					return nil, nil
				}
				return consulRules(config)
			},
		},
		modes:    modes("consul", true, true),
		variants: []string{consulNoRedirect},
		inject:   injectConsul,
	}
}

// consulSandbox is what the node plugin does, which leaves a pod alone that does not say that it was injected for it. The
// configuration on the pod is taken as the sign that the node has the plugin.
func consulSandbox(pod *corev1.Pod, _ namespaceNotes) ([]act, error) {
	injected := pod.Annotations[consulPrefix+"connect-inject-status"] + pod.Annotations[consulPrefix+"mesh-inject-status"]
	config, ok := pod.Annotations[consulPrefix+"redirect-traffic-config"]
	if !ok || injected == "" || pod.Annotations[consulPrefix+"transparent-proxy-status"] == "" {
		return nil, nil
	}
	return consulRules(config)
}

// consulRules are the rules for a configuration as the webhook rendered it.
func consulRules(config string) ([]act, error) {
	var cfg iptables.Config
	var rules collector
	if err := json.Unmarshal([]byte(config), &cfg); err != nil {
		return nil, fmt.Errorf("redirect configuration: %w", err)
	}
	cfg.IptablesProvider = &rules
	if err := iptables.Setup(cfg, false); err != nil {
		return nil, fmt.Errorf("redirect configuration: %w", err)
	}
	return ending(1, rules.acts), nil
}

// collector takes the calls of iptables for later.
type collector struct{ acts []act }

var _ iptables.Provider = (*collector)(nil)

func (c *collector) AddRule(_ string, args ...string) { c.acts = append(c.acts, runIptables(args...)) }
func (c *collector) ApplyRules(string) error          { return nil }
func (c *collector) Rules() []string                  { return nil }
func (c *collector) ClearAllRules()                   { c.acts = nil }

// injectConsul puts the init container last, and the proxy first among the main containers or right after it.
// Source: consul-k8s at a507b1d1e, control-plane/connect-inject/webhook/mesh_webhook.go.
func injectConsul(m Mode, pod *corev1.Pod, exempt Exempt) {
	const uid, initUID = "5995", "5996"
	for key, value := range map[string]string{
		"connect-inject-status":    "injected",
		"transparent-proxy-status": "enabled",
	} {
		pod.Annotations[consulPrefix+key] = value
	}
	redirects := m.Variant != consulNoRedirect
	if !redirects {
		delete(pod.Annotations, consulPrefix+"transparent-proxy-status")
	}
	pod.Labels[consulPrefix+"connect-inject-status"] = "injected"
	for key, values := range map[string][]string{
		"uids": exempt.UIDs, "outbound-cidrs": exempt.CIDRs, "outbound-ports": exempt.Ports,
	} {
		if len(values) > 0 {
			pod.Annotations[consulPrefix+"transparent-proxy-exclude-"+key] = list("", values)
		}
	}
	config, err := json.Marshal(iptables.Config{
		ConsulDNSIP: "127.0.0.1", ConsulDNSPort: 8600,
		ProxyUserID: uid, ProxyInboundPort: 20000, ProxyOutboundPort: iptables.DefaultTProxyOutboundPort,
		ExcludeUIDs:          append([]string{initUID}, exempt.UIDs...),
		ExcludeOutboundCIDRs: exempt.CIDRs, ExcludeOutboundPorts: exempt.Ports,
	})
	if err != nil {
		panic(err) // Strings and numbers.
	}
	first := corev1.Container{Name: consulInstaller}
	switch {
	case !redirects:
	case m.CNI:
		first.SecurityContext = user(5996, 5996)
		pod.Annotations[consulPrefix+"redirect-traffic-config"] = string(config)
	default:
		first.SecurityContext = administrator()
		first.Env = []corev1.EnvVar{{Name: consulRedirect, Value: string(config)}}
	}
	appendInit(pod, first)
	proxy := corev1.Container{Name: consulProxy, SecurityContext: user(5995, 5995)}
	if m.Native {
		proxy = native(proxy, "", 0)
		proxy.StartupProbe.ProbeHandler = corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"consul-dataplane", "-check-proxy-health"}}}
		appendInit(pod, proxy)
		return
	}
	prependMain(pod, proxy)
}
