package injectors

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

var errKumaUsers = errors.New("want 100 or tcp:8200:100 (a user up to 65535, or a range), semicolons between")

// kumaConfig is the configuration of a redirect, as the webhook renders it onto the pod and an installation keeps it in a
// ConfigMap (pkg/transparentproxy/config/config.go). What is not there is on, but for DNS.
type kumaConfig struct {
	User     kumaList `json:"kumaDPUser"`
	Family   string   `json:"ipFamilyMode"`
	CNI      bool     `json:"cniMode"`
	Redirect struct {
		DNS struct {
			Enabled bool `json:"enabled"`
		} `json:"dns"`
		Inbound  kumaFlow `json:"inbound"`
		Outbound kumaFlow `json:"outbound"`
	} `json:"redirect"`
	EBPF struct {
		Enabled bool `json:"enabled"`
	} `json:"ebpf"`
}

type kumaFlow struct {
	Enabled      *bool    `json:"enabled"`
	IncludePorts kumaList `json:"includePorts"`
	ExcludePorts kumaList `json:"excludePorts"`
	ExcludeUsers []string `json:"excludePortsForUIDs"`
	ExcludeIPs   kumaList `json:"excludePortsForIPs"`
}

// kumaList is a value, or a list that may be written as a list of numbers or texts, as one number, or as text with commas; it is
// kept as the last.
type kumaList string

// UnmarshalJSON reads any of them.
func (l *kumaList) UnmarshalJSON(data []byte) error {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	entries, ok := value.([]any)
	if !ok {
		entries = []any{value}
	}
	var texts []string
	for _, e := range entries {
		switch e := e.(type) {
		case nil:
		case string:
			texts = append(texts, e)
		case bool:
			texts = append(texts, strconv.FormatBool(e))
		case float64:
			texts = append(texts, strconv.FormatFloat(e, 'f', -1, 64))
		default:
			return fmt.Errorf("%s: neither a value nor a list of values", data)
		}
	}
	*l = kumaList(strings.Join(texts, ","))
	return nil
}

// kumaObserve reads the capture of an injected pod: from what kuma-init was given, under CNI from what was rendered onto the pod.
// Where nothing was, release 2 gave kuma-init flags, and the node plugin reads the annotations that users write, as they are by
// then (app/cni/pkg/cni, main_linux.go and annotations_linux.go).
func kumaObserve(p *Plan, m *Mesh, installer, proxy *Step) bool {
	t := p.Target
	m.ProxyUID, m.ProxyGID = kumaUID, NoID
	var k kumaConfig
	rendered := t.Annotation(kumaRendered)
	switch {
	case m.CNI == No:
		k.initialised(p, rendered, p.Container(installer).Args)
	case rendered != "":
		k.read(p, rendered)
	default:
		k.annotated(t)
		m.Late = true
	}
	if installer == nil && !k.CNI && !strings.Contains(t.Annotation(kumaNetworks), "kuma-cni") {
		return false
	}
	if k.EBPF.Enabled || kumaSays(t.Annotation(kumaEBPF)) == Yes {
		p.Doubt("what Kuma redirects by eBPF is not known")
	}
	if id := parseID(string(k.User)); id != NoID {
		m.ProxyUID = id
	} else if proxy != nil && proxy.UID != NoID {
		m.ProxyUID = proxy.UID // kumaDPUser may be a name
	}
	m.Capture.UIDs = []int64{m.ProxyUID}
	k.capture(&m.Capture)
	if m.CNI == Yes && t.Annotation(kumaInjected) != "true" {
		m.Capture.nothing() // the node plugin leaves it alone
	}
	return true
}

// read reads a rendered configuration. One that cannot be read redirects nobody knows what.
func (k *kumaConfig) read(p *Plan, text string) {
	if err := yaml.Unmarshal([]byte(text), k); err != nil {
		*k = kumaConfig{}
		p.Doubt("what Kuma redirects cannot be read: annotation " + kumaRendered)
	}
}

// initialised reads the command line of kuma-init: --config with the configuration or the file that the rendered annotation is
// mounted as, or, in release 2, a flag for everything that is not the default
// (pkg/transparentproxy/kubernetes/kubernetes.go, AsKumactlCommandLine).
func (k *kumaConfig) initialised(p *Plan, rendered string, args []string) {
	for i := range args {
		flag, value, set := strings.Cut(args[i], "=")
		if !set && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
			value = args[i+1]
		}
		switch flag {
		case "--config":
			k.file(p, rendered, value)
		case "--redirect-inbound":
			k.Redirect.Inbound.Enabled = new(value != "false")
		case "--redirect-all-dns-traffic", "--redirect-dns":
			k.Redirect.DNS.Enabled = !set || value != "false"
		case "--ebpf-enabled":
			k.EBPF.Enabled = !set || value != "false"
		case "--kuma-dp-uid":
			p.Doubt("the flags of a kuma-init this old are not known") // before 2.6
			k.User = kumaList(value)
		default:
			k.flag(flag, value)
		}
	}
}

func (k *kumaConfig) flag(flag, value string) {
	out, in := &k.Redirect.Outbound, &k.Redirect.Inbound
	switch flag {
	case "--kuma-dp-user":
		k.User = kumaList(value)
	case "--ip-family-mode":
		k.Family = value
	case "--exclude-outbound-ports":
		out.ExcludePorts = kumaList(value)
	case "--exclude-outbound-ips":
		out.ExcludeIPs = kumaList(value)
	case "--exclude-outbound-ports-for-uids":
		out.ExcludeUsers = append(out.ExcludeUsers, value)
	case "--exclude-inbound-ports":
		in.ExcludePorts = kumaList(value)
	}
}

func (k *kumaConfig) file(p *Plan, rendered, value string) {
	switch {
	case !strings.HasPrefix(value, "/"):
		k.read(p, value)
	case rendered == "" || !strings.HasPrefix(value, "/tmp/transparent-proxy/base/"):
		p.Doubt("what Kuma redirects is in a file that cannot be read: " + value)
	default:
		k.read(p, rendered)
	}
}

// annotated reads what the node plugin of release 2 does.
func (k *kumaConfig) annotated(t *Target) {
	out, in := &k.Redirect.Outbound, &k.Redirect.Inbound
	k.User = kumaList(t.Annotation(kumaSidecarID))
	k.Family = t.Annotation(kumaFamily)
	out.ExcludePorts = kumaList(t.Annotation(kumaExcludePorts))
	out.ExcludeIPs = kumaList(t.Annotation(kumaExcludeIPs))
	out.ExcludeUsers = kumaEntries(t.Annotation(kumaExcludeUsers))
	in.ExcludePorts = kumaList(t.Annotation(kumaExcludeInbound))
	in.Enabled = new(kumaSays(t.Annotation(kumaGateway)) != Yes)
	// Before 2.0 the key had no dash.
	k.Redirect.DNS.Enabled = kumaSays(t.Annotation(kumaDNS)) == Yes || kumaSays(t.Annotation("kuma.io/builtindns")) == Yes
}

// capture sets what the configuration takes. The order of the chains is (pkg/transparentproxy/iptables/builder): exempt users and
// addresses, DNS, exempt ports, the proxy's user; ports to include leave no room for those to exempt. An entry that cannot be
// read makes whoever writes the rules fail, and exempts nothing.
func (k *kumaConfig) capture(c *Capture) {
	out, in := &k.Redirect.Outbound, &k.Redirect.Inbound
	c.DNS, c.DNSFirst = k.Redirect.DNS.Enabled, true
	c.OnlyIPv4 = k.Family == kumaIPv4
	c.Exclude, _ = ParseAddresses(string(out.ExcludeIPs))
	for _, entry := range out.ExcludeUsers {
		if users, err := kumaUsers(entry); err == nil {
			c.Users = append(c.Users, users)
		}
	}
	c.IncludePorts, _ = kumaParsePorts(string(out.IncludePorts))
	if c.Listed = len(c.IncludePorts) > 0; !c.Listed {
		c.ExcludePorts, _ = kumaParsePorts(string(out.ExcludePorts))
	}
	if out.Enabled != nil && !*out.Enabled {
		c.Listed, c.IncludePorts = true, nil
	}
	c.Inbound.Known = true
	c.Inbound.Include, _ = kumaParsePorts(string(in.IncludePorts))
	if c.Inbound.Listed = len(c.Inbound.Include) > 0; !c.Inbound.Listed {
		c.Inbound.Exclude, _ = kumaParsePorts(string(in.ExcludePorts))
	}
	if in.Enabled != nil && !*in.Enabled {
		c.Inbound.Listed, c.Inbound.Include = true, nil
	}
}

// kumaParsePorts reads a list of ports: trimmed, empty entries passed over, no ranges, and none of them 0.
func kumaParsePorts(list string) ([]Ports, error) {
	var out []Ports
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		n, err := strconv.ParseUint(entry, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q: %w", entry, errNotPort)
		}
		out = append(out, Ports{uint16(n), uint16(n)})
	}
	return out, nil
}

func kumaEntries(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, kumaUsersSeparator)
}

func checkKumaUsers(value string) error {
	for entry := range strings.SplitSeq(value, kumaUsersSeparator) {
		if _, err := kumaUsers(entry); err != nil {
			return err
		}
	}
	return nil
}

// kumaUsers reads one rule for users, PROTOCOL:PORTS:USERS, of which the first two may be left out from the left, or be empty or *;
// nothing is trimmed (pkg/transparentproxy/config/utils.go, parseExcludePortsForUIDs).
func kumaUsers(entry string) (Users, error) {
	parts := strings.Split(entry, ":")
	if len(parts) > 3 {
		return Users{}, fmt.Errorf("%q: %w", entry, errKumaUsers)
	}
	parts = append(make([]string, 3-len(parts)), parts...)
	protocols, ports, users := parts[0], parts[1], parts[2]
	var u Users
	first, last, ok := kumaRange(users)
	if !ok {
		return Users{}, fmt.Errorf("%q: %w", entry, errKumaUsers)
	}
	u.First, u.Last = int64(first), int64(last)
	if ports != "" && ports != "*" {
		for part := range strings.SplitSeq(ports, ",") {
			first, last, ok := kumaRange(part)
			if !ok {
				return Users{}, fmt.Errorf("%q: %w", entry, errKumaUsers)
			}
			u.Ports = append(u.Ports, Ports{first, last})
		}
	}
	if protocols != "" && protocols != "*" {
		named := strings.Split(strings.ToLower(protocols), ",")
		u.NoTCP, u.NoUDP = !slices.Contains(named, "tcp"), !slices.Contains(named, "udp")
		if slices.ContainsFunc(named, func(p string) bool { return p != "tcp" && p != "udp" }) {
			return Users{}, fmt.Errorf("%q: %w", entry, errKumaUsers)
		}
	}
	return u, nil
}

// kumaRange reads a number, or two with a dash between them.
func kumaRange(text string) (first, last uint16, ok bool) {
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	a, errA := strconv.ParseUint(from, 10, 16)
	b, errB := strconv.ParseUint(to, 10, 16)
	return uint16(a), uint16(b), errA == nil && errB == nil && a <= b
}
