package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
)

// Cluster is cluster.yaml: objects of the cluster in their real shapes, and short forms that are expanded into them.
type Cluster struct {
	// At says in which webhook the object is seen where it has webhooks: mutate (the default) or validate.
	At string `json:"at,omitempty"`

	// Istio is expanded, by revision, into the ConfigMaps istio-sidecar-injector and istio and into istiod's Deployment.
	Istio map[string]Istio `json:"istio,omitempty"`
	// Vault and OpenBao are the environments of their injectors' Deployments, without the prefix AGENT_INJECT_.
	Vault   map[string]string `json:"vault,omitempty"`
	OpenBao map[string]string `json:"openbao,omitempty"`
	// Images are those of the two, by product; "quay.io/openbao/openbao-k8s:1.4.1" and the like where absent.
	Images map[string]string `json:"images,omitempty"`

	// Services are the Services by namespace/name.
	Services map[string]Service `json:"services,omitempty"`
	// Webhooks are the registered webhooks, of either kind, that a Service of the cluster answers for.
	Webhooks []Answers `json:"webhooks,omitempty"`
	// Kubelets are the versions of the nodes' kubelets; nodes cannot be read where it is absent.
	Kubelets []string `json:"kubelets,omitempty"`

	// Deployments are those of further injectors.
	Deployments []Deployment `json:"deployments,omitempty"`
	// ConfigMaps are more ConfigMaps, by namespace/name.
	ConfigMaps map[string]map[string]string `json:"configMaps,omitempty"`
	// Missing is what could not be read, and why.
	Missing []string `json:"missing,omitempty"`
}

// Service is what matters of a Service: addresses and ports, "10.96.7.7:8200" (a headless one has none), for which a list of them
// stands; which pods it selects; and ports in their real shape, where more than their numbers matters.
type Service struct {
	Addresses []string             `json:"addresses,omitempty"`
	Selector  map[string]string    `json:"selector,omitempty"`
	Ports     []corev1.ServicePort `json:"ports,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Service) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("[")) {
		return json.Unmarshal(data, &s.Addresses)
	}
	type plain Service
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	return strict.Decode((*plain)(s))
}

// Answers is a registered webhook and the Service behind it.
type Answers struct {
	Configuration string `json:"configuration"` // ValidatingWebhookConfiguration/cert-manager-webhook
	Service       string `json:"service"`       // namespace/name
	Port          uint16 `json:"port"`
}

// Deployment is what matters of an injector's Deployment.
type Deployment struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
	Args      []string          `json:"args,omitempty"` // the command line
	Images    []string          `json:"images,omitempty"`
}

// Istio is the short form of one revision's settings.
type Istio struct {
	CNI    bool   `json:"cni,omitempty"`
	Native string `json:"native,omitempty"` // ENABLE_NATIVE_SIDECARS of istiod: true, false or auto; false where absent
	Tag    string `json:"tag,omitempty"`    // of the proxy's image

	// Proxy is values.global.proxy.
	Proxy map[string]any `json:"proxy,omitempty"`
	// DefaultConfig is the mesh's defaultConfig.
	DefaultConfig map[string]any `json:"defaultConfig,omitempty"`
	// Injector is the ConfigMap's key config: policy, neverInjectSelector, alwaysInjectSelector.
	Injector map[string]any `json:"injector,omitempty"`
}

const istioNamespace = "istio-system"

func (c *Cluster) sources(meshNamespaces []string) (*injectors.Sources, error) {
	src := &injectors.Sources{
		ConfigMaps: map[string]map[string]string{}, Kubelets: c.Kubelets, Namespaces: meshNamespaces, Missing: c.Missing,
	}
	for revision, i := range c.Istio {
		if err := i.expand(src, revision); err != nil {
			return nil, fmt.Errorf("cluster.yaml: istio: %s: %w", revision, err)
		}
	}
	for product, env := range map[string]map[string]string{"vault": c.Vault, "openbao": c.OpenBao} {
		if env != nil {
			src.Deployments = append(src.Deployments, agentInjector(product, env, c.Images))
		}
	}
	for _, d := range c.Deployments {
		src.Deployments = append(src.Deployments, injectors.Deployment{
			Namespace: d.Namespace, Name: d.Name, Labels: d.Labels, Env: d.Env, Flags: injectors.Flags(d.Args), Images: d.Images,
		})
	}
	maps.Copy(src.ConfigMaps, c.ConfigMaps)
	return src, nil
}

func (i *Istio) expand(src *injectors.Sources, revision string) error {
	suffix := ""
	if revision != "default" {
		suffix = "-" + revision
	}
	proxy := map[string]any{
		"includeIPRanges": "*", "excludeIPRanges": "", "includeOutboundPorts": "", "excludeOutboundPorts": "",
		"startupProbe": map[string]any{"enabled": true, "failureThreshold": 600},
	}
	maps.Copy(proxy, i.Proxy)
	tag := i.Tag
	if tag == "" {
		tag = "1.30.0"
	}
	values, err := json.Marshal(map[string]any{
		"global": map[string]any{"tag": tag, "proxy": proxy}, "pilot": map[string]any{"cni": map[string]any{"enabled": i.CNI}},
	})
	if err != nil {
		return err
	}
	injector, err := json.Marshal(i.Injector)
	if err != nil {
		return err
	}
	mesh, err := json.Marshal(map[string]any{"defaultConfig": i.DefaultConfig})
	if err != nil {
		return err
	}
	src.ConfigMaps[istioNamespace+"/istio-sidecar-injector"+suffix] = map[string]string{"values": string(values), "config": string(injector)}
	src.ConfigMaps[istioNamespace+"/istio"+suffix] = map[string]string{"mesh": string(mesh)}
	native := i.Native
	if native == "" {
		native = "false"
	}
	src.Deployments = append(src.Deployments, injectors.Deployment{
		Namespace: istioNamespace, Name: "istiod" + suffix, Labels: map[string]string{"app": "istiod", "istio.io/rev": revision},
		Env: map[string]string{"ENABLE_NATIVE_SIDECARS": native, "REVISION": revision},
	})
	return nil
}

func agentInjector(product string, env, images map[string]string) injectors.Deployment {
	image, ok := images[product]
	if !ok {
		image = map[string]string{"vault": "docker.io/hashicorp/vault-k8s:1.7.6", "openbao": "quay.io/openbao/openbao-k8s:1.4.1"}[product]
	}
	d := injectors.Deployment{
		Namespace: product, Name: product + "-agent-injector", Labels: map[string]string{"app.kubernetes.io/name": product + "-agent-injector"},
		Env: map[string]string{}, Images: []string{image},
	}
	for k, v := range env {
		d.Env["AGENT_INJECT_"+k] = v
	}
	return d
}

// services tells env about the Services; none can be read where the case has none.
func (c *Cluster) services(env *injectors.Env) error {
	if c.Services == nil {
		return nil
	}
	known := map[string]injectors.Service{}
	for name, given := range c.Services {
		if strings.Count(name, "/") != 1 {
			return fmt.Errorf("cluster.yaml: services: %q: want NAMESPACE/NAME", name)
		}
		s := injectors.Service{Ports: injectors.ServicePorts(given.Ports), Selector: given.Selector}
		for _, a := range given.Addresses {
			at, err := netip.ParseAddrPort(a)
			if err != nil {
				return fmt.Errorf("cluster.yaml: services: %s: %w", name, err)
			}
			s.ClusterIPs = append(s.ClusterIPs, at.Addr())
			s.Ports = append(s.Ports, injectors.ServicePort{Port: at.Port()})
		}
		known[name] = s
	}
	env.Services = func(namespace, name string) (injectors.Service, bool) {
		s, ok := known[namespace+"/"+name]
		return s, ok
	}
	env.ServicesIn = func(namespace string) iter.Seq[injectors.Service] {
		return func(yield func(injectors.Service) bool) {
			for _, name := range slices.Sorted(maps.Keys(known)) {
				if strings.HasPrefix(name, namespace+"/") && !yield(known[name]) {
					return
				}
			}
		}
	}
	return c.webhooks(env)
}

// webhooks tells env which Services answer for webhooks.
func (c *Cluster) webhooks(env *injectors.Env) error {
	known := map[string][]injectors.WebhookService{}
	for _, a := range c.Webhooks {
		namespace, name, ok := strings.Cut(a.Service, "/")
		if _, there := c.Services[a.Service]; !ok || !there || a.Configuration == "" || a.Port == 0 {
			return fmt.Errorf("cluster.yaml: webhooks: %+v: want a configuration, and the port of a Service of the case", a)
		}
		known[namespace] = append(known[namespace], injectors.WebhookService{Configuration: a.Configuration, Service: name, Port: a.Port})
	}
	env.Webhooks = func(namespace string) []injectors.WebhookService { return known[namespace] }
	return nil
}
