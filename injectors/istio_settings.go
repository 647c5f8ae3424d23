package injectors

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// istioValues is the part of the injector ConfigMap's key "values" that matters
// (manifests/charts/istio-control/istio-discovery/templates/istiod-injector-configmap.yaml).
type istioValues struct {
	Global struct {
		Tag   any `json:"tag"`
		Proxy struct {
			IncludeIPRanges      *string         `json:"includeIPRanges"`
			ExcludeIPRanges      string          `json:"excludeIPRanges"`
			IncludeOutboundPorts string          `json:"includeOutboundPorts"`
			ExcludeOutboundPorts string          `json:"excludeOutboundPorts"`
			IncludeInboundPorts  string          `json:"includeInboundPorts"`
			ExcludeInboundPorts  string          `json:"excludeInboundPorts"`
			Hold                 bool            `json:"holdApplicationUntilProxyStarts"`
			Lifecycle            json.RawMessage `json:"lifecycle"`
			StartupProbe         *struct {
				Enabled bool `json:"enabled"`
			} `json:"startupProbe"`
		} `json:"proxy"`
	} `json:"global"`
	Pilot struct {
		CNI *struct {
			Enabled bool `json:"enabled"`
		} `json:"cni"`
		Env map[string]any `json:"env"`
	} `json:"pilot"`
	// Before 1.24 the switch stood at the top.
	CNI *struct {
		Enabled bool `json:"enabled"`
	} `json:"istio_cni"`
}

type istioInjectorConfig struct {
	Policy    string                 `json:"policy"`
	Always    []metav1.LabelSelector `json:"alwaysInjectSelector"`
	Never     []metav1.LabelSelector `json:"neverInjectSelector"`
	Templates []string               `json:"defaultTemplates"`
	Aliases   map[string][]string    `json:"aliases"`
}

type istioProxySettings struct {
	Hold     *bool             `json:"holdApplicationUntilProxyStarts"`
	Mode     any               `json:"interceptionMode"`
	Metadata map[string]string `json:"proxyMetadata"`
	Address  string            `json:"discoveryAddress"`
}

// readIstio reads one revision: the ConfigMaps istio-sidecar-injector[-rev] and istio[-rev], istiod's Deployment for the
// switch that values may not hold, and, where that says auto, the kubelets' versions.
func readIstio(src *Sources, revision string) *Settings {
	s := &Settings{Missing: src.Missing}
	suffix := ""
	if revision != "default" {
		suffix = "-" + revision
	}
	var values istioValues
	if data, ok := src.ConfigMap("istio-sidecar-injector" + suffix); ok {
		if err := json.Unmarshal([]byte(data["values"]), &values); err != nil {
			s.missing("ConfigMap istio-sidecar-injector%s, key values: %v", suffix, err)
		} else {
			s.istioValues(&values)
		}
		s.istioPolicy(data["config"], suffix)
	} else {
		s.missing("no ConfigMap istio-sidecar-injector%s", suffix)
	}
	if data, ok := src.ConfigMap("istio" + suffix); ok {
		s.istioMesh(data["mesh"], suffix)
	} else {
		s.missing("no ConfigMap istio%s", suffix)
	}
	if istioManaged(revision) {
		s.CNI, s.Lists = s.CNI.Or(Yes), true
	}
	s.Native = istioNativeDefault(src, revision, &values)
	if s.Native == Unknown {
		s.missing("whether sidecars are native cannot be read")
	}
	return s
}

// istioManaged tells a control plane that Google runs (revisions asm-managed, asm-managed-rapid, asm-managed-stable): its settings
// are not in the cluster, and it comes with Istio's CNI plugin (Cloud Service Mesh documentation: istio-cni-node is among
// its requirements) and with no mesh-wide lists: those are values of an installation.
func istioManaged(revision string) bool { return strings.HasPrefix(revision, "asm-managed") }

func (s *Settings) missing(format string, args ...any) {
	s.Missing = append(slices.Clip(s.Missing), fmt.Sprintf(format, args...))
}

func (s *Settings) istioValues(v *istioValues) {
	proxy := &v.Global.Proxy
	s.Lists, s.ExcludeCIDRs = true, proxy.ExcludeIPRanges
	if list := proxy.IncludeIPRanges; list != nil {
		s.IncludeCIDRs, s.IncludeNone = *list, *list == ""
	}
	s.IncludePorts, s.ExcludePorts = proxy.IncludeOutboundPorts, proxy.ExcludeOutboundPorts
	s.IncludeInbound, s.ExcludeInbound = proxy.IncludeInboundPorts, proxy.ExcludeInboundPorts
	s.Lifecycle = len(proxy.Lifecycle) > 0 && string(proxy.Lifecycle) != "null" && string(proxy.Lifecycle) != "{}"
	s.Ungated = proxy.StartupProbe != nil && !proxy.StartupProbe.Enabled
	if proxy.Hold {
		s.Hold, s.HoldFixed = Yes, true
	}
	switch {
	case v.Pilot.CNI != nil:
		s.CNI = TriOf(v.Pilot.CNI.Enabled)
	case v.CNI != nil:
		s.CNI = TriOf(v.CNI.Enabled)
	}
}

func (s *Settings) istioPolicy(config, suffix string) {
	var c istioInjectorConfig
	if err := yaml.Unmarshal([]byte(config), &c); err != nil {
		s.missing("ConfigMap istio-sidecar-injector%s, key config: %v", suffix, err)
		return
	}
	if c.Policy != "" {
		s.Policy = TriOf(c.Policy == "enabled")
	}
	s.Never, s.Always = selectors(c.Never), selectors(c.Always)
	s.Templates, s.Aliases = c.Templates, c.Aliases
}

// selectors drops what does not parse, as the injector does (it logs and goes on), and empty ones, which it ignores too.
func selectors(in []metav1.LabelSelector) []labels.Selector {
	var out []labels.Selector
	for i := range in {
		if sel, err := metav1.LabelSelectorAsSelector(&in[i]); err == nil && !sel.Empty() {
			out = append(out, sel)
		}
	}
	return out
}

func (s *Settings) istioMesh(mesh, suffix string) {
	var m struct {
		DefaultConfig istioProxySettings `json:"defaultConfig"`
	}
	if err := yaml.Unmarshal([]byte(mesh), &m); err != nil {
		s.missing("ConfigMap istio%s, key mesh: %v", suffix, err)
		return
	}
	if s.Hold == Unknown {
		s.Hold = TriOf(m.DefaultConfig.Hold != nil && *m.DefaultConfig.Hold)
	}
	s.Discovery = m.DefaultConfig.Address
	s.DNS = TriOf(truthy(m.DefaultConfig.Metadata[istioDNSCapture], false))
	if mode := m.DefaultConfig.Mode; mode != nil {
		s.Interception = interceptionMode(fmt.Sprint(mode))
	}
	for key, value := range m.DefaultConfig.Metadata {
		if bearsOnRedirect(key) {
			if s.Metadata == nil {
				s.Metadata = map[string]string{}
			}
			s.Metadata[key] = value
		}
	}
}

// istioNativeDefault: ENABLE_NATIVE_SIDECARS is true, false, or (the default since 1.27, before that false) auto: native
// where every kubelet is 1.33 or newer (pilot/pkg/features/pilot.go, DetectNativeSidecar in pkg/kube/inject/webhook.go).
func istioNativeDefault(src *Sources, revision string, v *istioValues) Tri {
	mode := ""
	if set, ok := v.Pilot.Env["ENABLE_NATIVE_SIDECARS"]; ok {
		mode = fmt.Sprint(set)
	}
	if d, ok := src.DeploymentLabelled(map[string]string{"app": "istiod", "istio.io/rev": revision}); ok {
		if set, ok := d.Env["ENABLE_NATIVE_SIDECARS"]; ok {
			mode = set
		}
	}
	if mode == "" {
		switch minor := istioMinor(fmt.Sprint(v.Global.Tag)); {
		case minor == 0:
			return Unknown
		case minor < 27:
			return No
		}
		mode = "auto"
	}
	switch mode {
	case "true":
		return Yes
	case "false":
		return No
	case "auto":
		return allKubelets(src.Kubelets, 33)
	}
	return Unknown
}

// istioMinor reads the minor version of an image tag such as 1.30.0, 1.27-alpha.abc or asm-1233-2, 0 where it has none.
// A build of the development branch carries "latest" or a hash.
func istioMinor(tag string) int {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(tag, "v"), "1.")
	if !ok {
		return 0
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		rest = rest[:end]
	}
	n, err := strconv.Atoi(rest)
	if err != nil {
		return 0
	}
	return n
}

// allKubelets tells whether every node's kubelet is at least 1.minor. A version that does not parse counts as old, no
// node at all as new, as istiod sees it; nodes that cannot be read leave it unknown.
func allKubelets(versions []string, minor int) Tri {
	if versions == nil {
		return Unknown
	}
	for _, v := range versions {
		if istioMinor(v) < minor {
			return No
		}
	}
	return Yes
}
