//go:build linux

package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	kumaInstaller = "kuma-init"
	kumaValidator = "kuma-validation"
	kumaProxy     = "kuma-sidecar"

	kumaTraffic  = "traffic.kuma.io/"
	kumaRendered = kumaTraffic + "transparent-proxy-config"

	// kumaNoNames is the variant in which names are asked for where they always were.
	kumaNoNames = "not capturing names"
)

// kuma is played by rules written out here.
//
// The webhook renders one configuration onto the pod, which the init container and the node plugin read alike. Without
// it, which is how release 2 works unless told otherwise, the init container has flags and the node plugin reads the
// annotations of the traffic that users write.
//
// Source: kumahq/kuma, pkg/transparentproxy at 8586483 and 99ce031 (release 2.9 to 3.0): iptables/builder (rules and
// their order), config (what is read, defaults), validate; app/cni/pkg/cni at c0b8f21 and 3b1a369: main_linux.go (whom
// the node plugin redirects), annotations_linux.go; pkg/plugins/runtime/k8s/webhooks/injector/testdata (names, arguments).
func kuma() mesh {
	return mesh{
		name: "kuma",
		present: func(pod *corev1.Pod) bool {
			return has(pod, kumaInstaller) || has(pod, kumaValidator) || has(pod, kumaProxy)
		},
		proxy: kumaProxy, outbound: 15001, dns: 15053,
		sandbox: kumaSandbox,
		turns: map[string]turn{
			kumaInstaller: func(pod *corev1.Pod, c corev1.Container) ([]act, error) {
				cfg := kumaFlags(c.Args)
				if rendered, ok := pod.Annotations[kumaRendered]; ok {
					if err := yaml.Unmarshal([]byte(rendered), &cfg); err != nil {
						return nil, fmt.Errorf("%s: %w", kumaRendered, err)
					}
				}
				return cfg.acts()
			},
			// It speaks to itself by an address that only the rules for inbound traffic lead to.
			kumaValidator: func(*corev1.Pod, corev1.Container) ([]act, error) {
				listen, connect := netip.MustParseAddrPort("127.0.0.1:15006"), netip.MustParseAddrPort("127.0.0.6:15006")
				return []act{redirected(listen, connect, 1)}, nil
			},
		},
		modes:    modes("kuma", true, true),
		variants: []string{kumaNoNames},
		inject:   injectKuma,
	}
}

// kumaSandbox is what the node plugin does. It leaves a pod alone that has kuma-init, or was not injected. The validator
// is taken as the sign that the node has the plugin.
func kumaSandbox(pod *corev1.Pod, _ namespaceNotes) ([]act, error) {
	if has(pod, kumaInstaller) || !has(pod, kumaValidator) || pod.Annotations["kuma.io/sidecar-injected"] != "true" {
		return nil, nil
	}
	cfg := kumaDefaults()
	if rendered, ok := pod.Annotations[kumaRendered]; ok {
		if err := yaml.Unmarshal([]byte(rendered), &cfg); err != nil {
			return nil, fmt.Errorf("%s: %w", kumaRendered, err)
		}
		return cfg.acts()
	}
	cfg.User = annotation(pod, "kuma.io/sidecar-uid", cfg.User)
	out := &cfg.Redirect.Outbound
	out.ExcludePorts = split(annotation(pod, kumaTraffic+"exclude-outbound-ports", "9901"))
	out.ExcludePortsForIPs = split(annotation(pod, kumaTraffic+"exclude-outbound-ips", ""))
	if uids := annotation(pod, kumaTraffic+"exclude-outbound-ports-for-uids", ""); uids != "" {
		out.ExcludePortsForUIDs = strings.Split(uids, ";")
	}
	dns := annotation(pod, "kuma.io/builtin-dns", "false")
	cfg.Redirect.DNS.Enabled = dns == "enabled" || dns == "true"
	cfg.Redirect.DNS.CaptureAll = cfg.Redirect.DNS.Enabled
	return cfg.acts()
}

// kumaConfig is what of Kuma's configuration decides about outbound traffic. Ports are as they are written.
type kumaConfig struct {
	User     string `json:"kumaDPUser"`
	Redirect struct {
		Outbound struct {
			Enabled             bool      `json:"enabled"`
			Port                uint16    `json:"port"`
			IncludePorts        kumaPorts `json:"includePorts,omitempty"`
			ExcludePorts        kumaPorts `json:"excludePorts,omitempty"`
			ExcludePortsForUIDs []string  `json:"excludePortsForUIDs,omitempty"`
			ExcludePortsForIPs  []string  `json:"excludePortsForIPs,omitempty"`
		} `json:"outbound"`
		Inbound struct {
			Enabled      bool      `json:"enabled"`
			Port         uint16    `json:"port"`
			ExcludePorts kumaPorts `json:"excludePorts,omitempty"`
		} `json:"inbound"`
		DNS struct {
			Enabled    bool   `json:"enabled"`
			Port       uint16 `json:"port"`
			CaptureAll bool   `json:"captureAll"`
			SkipZones  bool   `json:"skipConntrackZoneSplit"`
		} `json:"dns"`
	} `json:"redirect"`
}

func kumaDefaults() kumaConfig {
	var cfg kumaConfig
	cfg.User = "5678"
	cfg.Redirect.Outbound.Enabled, cfg.Redirect.Outbound.Port = true, 15001
	cfg.Redirect.Inbound.Enabled, cfg.Redirect.Inbound.Port = true, 15006
	cfg.Redirect.DNS.Port = 15053
	return cfg
}

// kumaFlags is the configuration that kuma-init has in its arguments.
func kumaFlags(args []string) kumaConfig {
	cfg, flags := kumaDefaults(), flags(args)
	cfg.User = last(flags["kuma-dp-user"], last(flags["kuma-dp-uid"], cfg.User))
	cfg.Redirect.Outbound.ExcludePorts = split(last(flags["exclude-outbound-ports"], ""))
	cfg.Redirect.Outbound.ExcludePortsForUIDs = flags["exclude-outbound-ports-for-uids"]
	for _, ips := range flags["exclude-outbound-ips"] {
		cfg.Redirect.Outbound.ExcludePortsForIPs = append(cfg.Redirect.Outbound.ExcludePortsForIPs, split(ips)...)
	}
	_, all := flags["redirect-all-dns-traffic"]
	_, some := flags["redirect-dns"]
	cfg.Redirect.DNS.Enabled, cfg.Redirect.DNS.CaptureAll = all || some, all
	return cfg
}

// kumaPorts is a list of ports, which may be written as a list of numbers, or as text with commas.
type kumaPorts []string

// MarshalJSON writes a list of numbers.
func (p kumaPorts) MarshalJSON() ([]byte, error) {
	numbers := []json.Number{}
	for _, port := range p {
		numbers = append(numbers, json.Number(port))
	}
	return json.Marshal(numbers)
}

// UnmarshalJSON takes every form.
func (p *kumaPorts) UnmarshalJSON(data []byte) error {
	var numbers []json.Number
	if err := json.Unmarshal(data, &numbers); err == nil {
		*p = nil
		for _, n := range numbers {
			*p = append(*p, n.String())
		}
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("ports %s: %w", data, err)
	}
	*p = split(text)
	return nil
}

// ports returns those that there are, and refuses what is no port.
func (p kumaPorts) ports() ([]string, error) {
	var ports []string
	for _, text := range p {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if n, err := strconv.ParseUint(text, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%q is not a port", text)
		}
		ports = append(ports, text)
	}
	return ports, nil
}

// acts writes the tables raw and nat, which go in at once.
func (c kumaConfig) acts() ([]act, error) {
	exclusions, err := c.exclusions()
	if err != nil {
		return nil, err
	}
	outbound, err := c.outbound()
	if err != nil {
		return nil, err
	}
	inbound, err := c.inbound()
	if err != nil {
		return nil, err
	}
	lines := []string{
		"*nat", ":KUMA_MESH_INBOUND - [0:0]", ":KUMA_MESH_INBOUND_REDIRECT - [0:0]",
		":KUMA_MESH_OUTBOUND - [0:0]", ":KUMA_MESH_OUTBOUND_REDIRECT - [0:0]",
	}
	// Exclusions of users and addresses come before names are captured, those of ports after.
	for i, rule := range append(exclusions, c.names("-p udp --dport 53 -m owner --uid-owner "+c.User+" -j RETURN", "udp")...) {
		lines = append(lines, fmt.Sprintf("-I OUTPUT %d %s", i+1, rule))
	}
	lines = append(lines, "-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND", "-A PREROUTING -p tcp -j KUMA_MESH_INBOUND")
	lines = append(lines, inbound...)
	lines = append(lines, outbound...)
	lines = append(lines,
		fmt.Sprintf("-A KUMA_MESH_INBOUND_REDIRECT -p tcp -j REDIRECT --to-ports %d", c.Redirect.Inbound.Port),
		fmt.Sprintf("-A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports %d", c.Redirect.Outbound.Port),
		"COMMIT", "")
	acts := []act{restore(strings.Join(lines, "\n"))}
	if zones := c.zones(); zones != "" {
		acts = append(acts, restore(zones))
	}
	return ending(1, acts), nil
}

// names returns rules that redirect names asked for by protocol, after first. There are none where names are not captured.
func (c kumaConfig) names(first, protocol string) []string {
	dns := c.Redirect.DNS
	if !dns.Enabled {
		return nil
	}
	to := ""
	if !dns.CaptureAll {
		to = "-d " + Nameserver().Addr.String() + " "
	}
	capture := fmt.Sprintf("%s-p %s --dport 53 -j REDIRECT --to-ports %d", to, protocol, dns.Port)
	if first == "" {
		return []string{capture}
	}
	return []string{first, capture}
}

// zones keeps both halves of a captured name's connection apart.
func (c kumaConfig) zones() string {
	dns := c.Redirect.DNS
	if !dns.Enabled || dns.SkipZones {
		return ""
	}
	to, from := "", ""
	if !dns.CaptureAll {
		to = "-d " + Nameserver().Addr.String() + " "
		from = to // As the source has it, though it is where replies come from.
	}
	owner := " -m owner --uid-owner " + c.User + " -j CT --zone "
	return strings.Join([]string{
		"*raw",
		"-A OUTPUT -p udp --dport 53" + owner + "1",
		fmt.Sprintf("-A OUTPUT -p udp --sport %d%s2", dns.Port, owner),
		"-A OUTPUT " + to + "-p udp --dport 53 -j CT --zone 2",
		"-A PREROUTING " + from + "-p udp --sport 53 -j CT --zone 1",
		"COMMIT", "",
	}, "\n")
}

func (c kumaConfig) inbound() ([]string, error) {
	const chain = "-A KUMA_MESH_INBOUND -p tcp "
	if !c.Redirect.Inbound.Enabled {
		return []string{chain + "-j RETURN"}, nil
	}
	ports, err := c.Redirect.Inbound.ExcludePorts.ports()
	if err != nil {
		return nil, fmt.Errorf("inbound ports: %w", err)
	}
	var rules []string
	for _, port := range ports {
		rules = append(rules, chain+"--dport "+port+" -j RETURN")
	}
	return append(rules, chain+"-j KUMA_MESH_INBOUND_REDIRECT"), nil
}

func (c kumaConfig) outbound() ([]string, error) {
	const chain, redirect = "-A KUMA_MESH_OUTBOUND ", "-j KUMA_MESH_OUTBOUND_REDIRECT"
	out := c.Redirect.Outbound
	if !out.Enabled {
		return []string{chain + "-p tcp -j RETURN"}, nil
	}
	include, err := out.IncludePorts.ports()
	if err != nil {
		return nil, fmt.Errorf("included outbound ports: %w", err)
	}
	exclude, err := out.ExcludePorts.ports()
	if err != nil {
		return nil, fmt.Errorf("excluded outbound ports: %w", err)
	}
	var rules []string
	if len(include) == 0 {
		for _, port := range exclude {
			rules = append(rules, chain+"-p tcp --dport "+port+" -j RETURN")
		}
	}
	notNames := ""
	if c.Redirect.DNS.Enabled {
		notNames = "! --dport 53 "
	}
	rules = append(rules,
		chain+"-s 127.0.0.6/32 -o lo -j RETURN",
		chain+"-p tcp "+notNames+"-o lo ! -d 127.0.0.1/32 -m owner --uid-owner "+c.User+" -j KUMA_MESH_INBOUND_REDIRECT",
		chain+"-p tcp "+notNames+"-o lo -m owner ! --uid-owner "+c.User+" -j RETURN",
		chain+"-m owner --uid-owner "+c.User+" -j RETURN",
	)
	for _, capture := range c.names("", "tcp") {
		rules = append(rules, chain+capture)
	}
	rules = append(rules, chain+"-d 127.0.0.1/32 -j RETURN")
	for _, port := range include {
		rules = append(rules, chain+"-p tcp --dport "+port+" "+redirect)
	}
	if len(include) == 0 {
		rules = append(rules, chain+redirect)
	}
	return rules, nil
}

// exclusions are those by user and those by address, which have neither port nor protocol.
func (c kumaConfig) exclusions() ([]string, error) {
	var rules []string
	for _, text := range c.Redirect.Outbound.ExcludePortsForUIDs {
		byUser, err := kumaByUser(text)
		if err != nil {
			return nil, fmt.Errorf("exclusion by user %q: %w", text, err)
		}
		rules = append(rules, byUser...)
	}
	for _, text := range c.Redirect.Outbound.ExcludePortsForIPs {
		for address := range strings.SplitSeq(text, ",") {
			ip, err := netip.ParseAddr(address)
			if prefix, prefixErr := netip.ParsePrefix(address); prefixErr == nil {
				ip, err = prefix.Addr(), nil
			}
			if err != nil {
				return nil, fmt.Errorf("exclusion by address: %w", err)
			}
			if ip.Is4() {
				rules = append(rules, "-d "+address+" -j RETURN")
			}
		}
	}
	return rules, nil
}

// kumaByUser reads [[protocols:]ports:]user, where the user may be a range.
func kumaByUser(text string) ([]string, error) {
	parts := strings.Split(text, ":")
	if len(parts) > 3 {
		return nil, errors.New("want protocols:ports:user")
	}
	parts = append([]string{"", "", ""}[len(parts):], parts...)
	protocols, ports, users := parts[0], parts[1], parts[2]
	if users == "" || strings.ContainsAny(users, "*,") {
		return nil, errors.New("want one user, or a range")
	}
	if ports == "" || ports == "*" {
		ports = "1-65535"
	}
	if protocols == "" || protocols == "*" {
		protocols = "tcp,udp"
	}
	var rules []string
	for protocol := range strings.SplitSeq(protocols, ",") {
		rules = append(rules, fmt.Sprintf("-m multiport -p %s --dports %s -m owner --uid-owner %s -j RETURN",
			strings.ToLower(strings.TrimSpace(protocol)), strings.ReplaceAll(ports, "-", ":"), strings.ReplaceAll(users, "-", ":")))
	}
	return rules, nil
}

// injectKuma puts the init container last and the proxy first; native, both first.
// Source: kumahq/kuma, pkg/plugins/runtime/k8s/webhooks/injector: testdata/inject.45.golden.yaml at 00c6087.
func injectKuma(m Mode, pod *corev1.Pod, exempt Exempt) {
	pod.Annotations["kuma.io/sidecar-injected"] = "true"
	pod.Labels["kuma.io/mesh"] = "default"
	cfg := kumaDefaults()
	cfg.Redirect.DNS.Enabled = m.Variant != kumaNoNames
	cfg.Redirect.DNS.CaptureAll = cfg.Redirect.DNS.Enabled
	out := &cfg.Redirect.Outbound
	out.ExcludePortsForUIDs, out.ExcludePortsForIPs = exempt.UIDs, exempt.CIDRs
	out.ExcludePorts = exempt.Ports
	for key, value := range map[string]string{
		"ports": list("", exempt.Ports), "ips": list("", exempt.CIDRs), "ports-for-uids": strings.Join(exempt.UIDs, ";"),
	} {
		if value != "" {
			pod.Annotations[kumaTraffic+"exclude-outbound-"+key] = value
		}
	}
	rendered, err := yaml.Marshal(cfg)
	if err != nil {
		panic(err) // Strings and numbers.
	}
	pod.Annotations[kumaRendered] = string(rendered)

	first := corev1.Container{
		Name: kumaInstaller, Args: []string{"--config=/tmp/transparent-proxy/base/config.yaml"}, SecurityContext: administrator(),
	}
	if m.CNI {
		first = corev1.Container{Name: kumaValidator, SecurityContext: user(5678, 5678)}
	}
	proxy := corev1.Container{Name: kumaProxy, SecurityContext: user(5678, 5678)}
	if m.Native {
		prependInit(pod, first, native(proxy, "/ready", 9902))
		return
	}
	appendInit(pod, first)
	prependMain(pod, proxy)
}
