package injectors

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// What Settings.Metadata holds of Linkerd, in the words of its charts.
const (
	linkerdToken       = "identity.serviceAccountTokenProjection"
	linkerdNoIPv6      = "disableIPv6"
	linkerdSubnets     = "proxyInit.skipSubnets"
	linkerdOpaquePorts = "proxy.opaquePorts"

	// Of the node plugin.
	linkerdPluginUID    = "proxy-uid"
	linkerdPluginGID    = "proxy-gid"
	linkerdPluginNoIPv6 = "no-ipv6"
)

// linkerdValues is the part that matters of the chart's values, which the ConfigMap linkerd-config holds as a whole
// (charts/linkerd-control-plane/templates/config.yaml). Lists may have been written as a number.
type linkerdValues struct {
	CNI      bool  `json:"cniEnabled"`
	NoIPv6   *bool `json:"disableIPv6"`
	Identity struct {
		Token bool `json:"serviceAccountTokenProjection"`
	} `json:"identity"`
	Proxy struct {
		Await  bool  `json:"await"`
		Native bool  `json:"nativeSidecar"`
		UID    int64 `json:"uid"`
		GID    int64 `json:"gid"`
		Opaque any   `json:"opaquePorts"`
	} `json:"proxy"`
	Init struct {
		Inbound  any    `json:"ignoreInboundPorts"`
		Outbound any    `json:"ignoreOutboundPorts"`
		Subnets  string `json:"skipSubnets"`
	} `json:"proxyInit"`
}

// linkerdPluginConfig is the part that matters of the node plugin's configuration (charts/linkerd2-cni/templates/cni-plugin.yaml).
type linkerdPluginConfig struct {
	Linkerd struct {
		UID      int64    `json:"proxy-uid"`
		GID      int64    `json:"proxy-gid"`
		Inbound  []string `json:"inbound-ports-to-ignore"`
		Outbound []string `json:"outbound-ports-to-ignore"`
		IPv6     bool     `json:"ipv6"`
	} `json:"linkerd"`
}

// readLinkerd reads the values of the installation, and under CNI those of the plugin, which has lists of its own. A release
// that does not know a switch does not have what it switches.
func readLinkerd(src *Sources, _ string) *Settings {
	s := &Settings{Missing: src.Missing}
	data, ok := src.ConfigMap("linkerd-config")
	if !ok {
		s.missing("no ConfigMap linkerd-config")
		return s
	}
	var v linkerdValues
	if err := yaml.Unmarshal([]byte(data["values"]), &v); err != nil || data["values"] == "" {
		s.missing("ConfigMap linkerd-config, key values: %v", err)
		return s
	}
	s.CNI, s.Native, s.Hold = TriOf(v.CNI), TriOf(v.Proxy.Native), TriOf(v.Proxy.Await)
	s.ProxyUID, s.GID = v.Proxy.UID, max(v.Proxy.GID, 0)
	s.Metadata = map[string]string{
		linkerdToken: strconv.FormatBool(v.Identity.Token), linkerdSubnets: v.Init.Subnets, linkerdOpaquePorts: linkerdList(v.Proxy.Opaque),
		linkerdNoIPv6: strconv.FormatBool(v.NoIPv6 == nil || *v.NoIPv6), // who cannot switch it off does not have it
	}
	if v.CNI {
		s.linkerdPlugin(src)
		return s
	}
	s.Lists, s.ExcludePorts, s.ExcludeInbound = true, linkerdList(v.Init.Outbound), linkerdList(v.Init.Inbound)
	return s
}

func (s *Settings) linkerdPlugin(src *Sources) {
	data, ok := src.ConfigMap("linkerd-cni-config")
	if !ok {
		s.missing("no ConfigMap linkerd-cni-config")
		return
	}
	var c linkerdPluginConfig
	if err := json.Unmarshal([]byte(data["cni_network_config"]), &c); err != nil {
		s.missing("ConfigMap linkerd-cni-config, key cni_network_config: %v", err)
		return
	}
	s.Lists, s.ExcludePorts, s.ExcludeInbound = true, strings.Join(c.Linkerd.Outbound, ","), strings.Join(c.Linkerd.Inbound, ",")
	s.Metadata[linkerdPluginUID] = strconv.FormatInt(c.Linkerd.UID, 10)
	s.Metadata[linkerdPluginGID] = strconv.FormatInt(c.Linkerd.GID, 10)
	s.Metadata[linkerdPluginNoIPv6] = strconv.FormatBool(!c.Linkerd.IPv6)
}

// linkerdList returns a list of ports that YAML may have read as a number.
func linkerdList(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
