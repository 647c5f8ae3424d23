package injectors

import (
	"cmp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// Where the control plane's settings are (deployments/charts/kuma/templates: cp-deployment.yaml, cp-configmap.yaml, _helpers.tpl).
const (
	kumaKey       = "config.yaml"
	kumaVariables = "KUMA_RUNTIME_KUBERNETES_INJECTOR_"
	kumaExclude   = "KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC_EXCLUDE_"
	kumaSidecars  = "KUMA_EXPERIMENTAL_SIDECAR_CONTAINERS"

	// kumaRelease2 is the key of Settings.Metadata which tells that nothing is rendered onto pods: kuma-init has flags, and the
	// node plugin reads annotations. So works release 2 where the ConfigMap of the transparent proxy is not switched on.
	kumaRelease2 = "release 2"
)

func kumaDeployments() []string {
	return []string{"app=kuma-control-plane", "app=kong-mesh-control-plane"}
}

func kumaEnvironment() []string {
	return []string{
		kumaSidecars, kumaExclude, kumaVariables + "CNI_ENABLED", kumaVariables + "BUILTIN_DNS_ENABLED", kumaVariables + "EBPF_ENABLED",
		kumaVariables + "TRANSPARENT_PROXY_CONFIGMAP_NAME", kumaVariables + "CONTAINER_PATCHES", kumaVariables + "SIDECAR_CONTAINER_UID",
		kumaVariables + "SIDECAR_CONTAINER_IP_FAMILY_MODE", kumaVariables + "SIDECAR_CONTAINER_WAIT_FOR_DATAPLANE_READY",
	}
}

// kumaFile is the part of the control plane's configuration file that matters: mostly it is empty but for comments, and the chart
// sets variables, which go over it.
type kumaFile struct {
	Runtime struct {
		Kubernetes struct {
			Injector struct {
				CNI     kumaList `json:"cniEnabled"`
				Sidecar struct {
					UID    kumaList `json:"uid"`
					Family kumaList `json:"ipFamilyMode"`
					Wait   kumaList `json:"waitForDataplaneReady"`
				} `json:"sidecarContainer"`
				Traffic struct {
					OutboundPorts kumaList `json:"excludeOutboundPorts"`
					OutboundIPs   kumaList `json:"excludeOutboundIPs"`
					InboundPorts  kumaList `json:"excludeInboundPorts"`
				} `json:"sidecarTraffic"`
				DNS struct {
					Enabled kumaList `json:"enabled"`
				} `json:"builtinDNS"`
				EBPF struct {
					Enabled kumaList `json:"enabled"`
				} `json:"ebpf"`
				Patches   kumaList `json:"containerPatches"`
				ConfigMap kumaList `json:"transparentProxyConfigMapName"`
			} `json:"injector"`
		} `json:"kubernetes"`
	} `json:"runtime"`
	Experimental struct {
		Sidecars kumaList `json:"sidecarContainers"`
	} `json:"experimental"`
}

// readKuma reads the control plane's Deployment, its configuration file and, where pods are rendered from it, the ConfigMap of the
// transparent proxy.
func readKuma(src *Sources, _ string) *Settings {
	s := &Settings{Missing: src.Missing}
	d, ok := kumaControlPlane(src)
	if !ok {
		s.missing("no Deployment labelled %s", kumaDeployments()[0])
		return s
	}
	var file kumaFile
	data, ok := src.ConfigMap(d.Name + "-config")
	if !ok {
		s.missing("no ConfigMap %s-config", d.Name)
	} else if err := yaml.Unmarshal([]byte(data[kumaKey]), &file); err != nil {
		s.missing("ConfigMap %s-config, key %s: %v", d.Name, kumaKey, err)
		ok = false
	}
	in := &file.Runtime.Kubernetes.Injector
	// What neither says is off, or empty, where both could be read.
	off := Unknown
	if ok {
		off = No
	}
	s.CNI = kumaSays(d.kuma("CNI_ENABLED", in.CNI)).Or(off)
	s.Hold = kumaSays(d.kuma("SIDECAR_CONTAINER_WAIT_FOR_DATAPLANE_READY", in.Sidecar.Wait)).Or(off)
	s.ProxyUID = max(0, parseID(d.kuma("SIDECAR_CONTAINER_UID", in.Sidecar.UID)))
	s.ExcludePorts = cmp.Or(d.Env[kumaExclude+"OUTBOUND_PORTS"], string(in.Traffic.OutboundPorts))
	s.ExcludeCIDRs = cmp.Or(d.Env[kumaExclude+"OUTBOUND_IPS"], string(in.Traffic.OutboundIPs))
	s.ExcludeInbound = cmp.Or(d.Env[kumaExclude+"INBOUND_PORTS"], string(in.Traffic.InboundPorts))
	s.Metadata = map[string]string{kumaFamily: d.kuma("SIDECAR_CONTAINER_IP_FAMILY_MODE", in.Sidecar.Family)}
	if kumaSays(d.kuma("EBPF_ENABLED", in.EBPF.Enabled)) == Yes {
		s.Metadata[kumaEBPF] = "enabled"
	}
	if patches := d.kuma("CONTAINER_PATCHES", in.Patches); patches != "" {
		s.Templates = strings.Split(patches, ",")
	}
	major, minor := kumaVersion(d)
	s.Native = kumaNative(src, d.Env[kumaSidecars], string(file.Experimental.Sidecars), major, minor)
	if s.Native == Unknown {
		s.missing("whether sidecars are native cannot be read")
	}
	name := d.kuma("TRANSPARENT_PROXY_CONFIGMAP_NAME", in.ConfigMap)
	switch {
	case name != "":
		s.Lists = s.kumaConfigMap(src, name) && ok
	case ok:
		s.Lists = true
		s.DNS = kumaSays(d.kuma("BUILTIN_DNS_ENABLED", in.DNS.Enabled)).Or(Yes)
		if major == 2 {
			s.Metadata[kumaRelease2] = "yes"
		}
	}
	return s
}

func kumaControlPlane(src *Sources) (*Deployment, bool) {
	for _, selector := range kumaDeployments() {
		key, value, _ := strings.Cut(selector, "=")
		if d, ok := src.DeploymentLabelled(map[string]string{key: value}); ok {
			return d, true
		}
	}
	return nil, false
}

// kuma returns a setting of the injector: the variable, or what the file says.
func (d *Deployment) kuma(variable string, file kumaList) string {
	return cmp.Or(d.Env[kumaVariables+variable], string(file))
}

// kumaConfigMap reads the ConfigMap that pods are rendered from. Its lists go over those of the control plane
// (pkg/transparentproxy/kubernetes/kubernetes_config.go).
func (s *Settings) kumaConfigMap(src *Sources, name string) bool {
	data, ok := src.ConfigMap(name)
	if !ok {
		s.missing("no ConfigMap %s", name)
		return false
	}
	var k kumaConfig
	if err := yaml.Unmarshal([]byte(data[kumaKey]), &k); err != nil {
		s.missing("ConfigMap %s, key %s: %v", name, kumaKey, err)
		return false
	}
	out, in := &k.Redirect.Outbound, &k.Redirect.Inbound
	s.DNS = TriOf(k.Redirect.DNS.Enabled)
	s.ExcludePorts = cmp.Or(string(out.ExcludePorts), s.ExcludePorts)
	s.ExcludeCIDRs = cmp.Or(string(out.ExcludeIPs), s.ExcludeCIDRs)
	s.ExcludeUIDs = strings.Join(out.ExcludeUsers, kumaUsersSeparator)
	s.ExcludeInbound = cmp.Or(string(in.ExcludePorts), s.ExcludeInbound)
	s.IncludePorts, s.IncludeInbound = string(out.IncludePorts), string(in.IncludePorts)
	s.Metadata[kumaFamily] = cmp.Or(k.Family, s.Metadata[kumaFamily])
	if k.EBPF.Enabled {
		s.Metadata[kumaEBPF] = "enabled"
	}
	s.Off = TriOf(out.Enabled != nil && !*out.Enabled)
	return true
}

// kumaNative tells whether the sidecars are native, by the release of the control plane. All take an API server of 1.29, which is
// never older than the kubelets.
//
//	up to 2.13  where it is switched on
//	2.14        switched on by the chart, which says so in the variable
//	3.0         always
func kumaNative(src *Sources, variable, file string, major, minor int) Tri {
	said := kumaSays(cmp.Or(variable, file))
	switch {
	case major == 0 && said == Unknown, major == 2 && minor >= 14 && said == Unknown:
		return Unknown
	case major < 3 && said != Yes:
		return No
	case said == Yes && src.Kubelets == nil:
		return Yes
	}
	if allKubelets(src.Kubelets, 29) == Yes {
		return Yes
	}
	return Unknown
}

// kumaVersion reads the control plane's release from the tag of its image, 0 where that has none: previews are 0.0.0.
func kumaVersion(d *Deployment) (major, minor int) {
	for _, image := range d.Images {
		image, _, _ = strings.Cut(image, "@")
		_, tag, ok := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
		if !ok {
			continue
		}
		parts := strings.Split(strings.TrimPrefix(tag, "v"), ".")
		if len(parts) < 2 {
			continue
		}
		a, errA := strconv.Atoi(parts[0])
		b, errB := strconv.Atoi(parts[1])
		if errA == nil && errB == nil {
			return a, b
		}
	}
	return 0, 0
}
