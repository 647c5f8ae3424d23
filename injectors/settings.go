package injectors

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// Settings is what a cluster says about one injector (one revision of it). What could not be read is Unknown or empty.
type Settings struct {
	CNI    Tri // the redirect comes from a node plugin, not from an init container
	Native Tri // the proxy is a native sidecar where the pod does not say otherwise
	Hold   Tri // the app waits for the proxy where the pod does not say otherwise
	// HoldFixed tells that a pod cannot undo Hold (Istio's values.global.proxy.holdApplicationUntilProxyStarts).
	HoldFixed bool
	// Lifecycle tells that the mesh gives the proxy a lifecycle of its own, in which hold is lost.
	Lifecycle bool
	// Ungated tells that the proxy has no startup probe: a native sidecar then holds nobody back.
	Ungated bool

	// Mesh-wide capture, used where the pod does not say otherwise: raw, in the injector's own syntax.
	ExcludeCIDRs, IncludeCIDRs, ExcludePorts, IncludePorts string
	ExcludeUIDs, ExcludeInbound, IncludeInbound            string
	// Lists tells that these are known: what is empty is the injector's default.
	Lists bool
	// IncludeNone tells that IncludeCIDRs is set, to the empty list.
	IncludeNone bool
	DNS         Tri

	// Interception is the mesh-wide interception mode, "" where nothing says: REDIRECT, TPROXY or NONE.
	Interception string
	// Metadata are the settings of the mesh's proxies that have a say in the redirect, in the injector's own names.
	Metadata map[string]string
	// Templates are the names of what a pod is rendered from where it does not say otherwise, none for the usual; Aliases
	// are names that stand for others.
	Templates []string
	Aliases   map[string][]string

	// Never and Always are the injector's own selectors on pod labels; Policy tells whether it injects by default.
	Never, Always []labels.Selector
	Policy        Tri

	// ProxyUID is the proxy's uid and gid, 0 where the injector's usual one holds.
	ProxyUID int64

	// Address is where the injected container connects to, for injectors that dial, and Proxy the HTTP proxy that it is told
	// to use.
	Address, Proxy string
	// UID and GID of the injected container, 0 where the injector's usual ones hold.
	UID, GID int64
	// NoContext tells that the injected container gets no security context: its ids are the pod's. SameUser tells that it
	// takes the uid of the pod's first container. The pod can say otherwise.
	NoContext, SameUser bool
	// Inject tells whether the injector acts on pods of which nobody says anything; Off that it does not redirect where the pod
	// does not say otherwise.
	Inject, Off Tri

	// Image of the injector itself, for products that ship more than one; "" where it is not a known one.
	Image string

	// Discovery is the address of the control plane that proxies are told, "" where nothing says.
	Discovery string

	// Missing names what could not be read: "ConfigMap istio-system/istio: forbidden".
	Missing []string
}

// ListsKnown tells whether the mesh-wide lists are known. A list that is there was read or configured.
func (s *Settings) ListsKnown() bool { return s.Lists || s.ExcludeCIDRs != "" }

func (s *Settings) list(means Meaning) string {
	switch means {
	case ExcludeCIDRs:
		return s.ExcludeCIDRs
	case ExcludePorts:
		return s.ExcludePorts
	case IncludeCIDRs:
		return s.IncludeCIDRs
	case IncludePorts:
		return s.IncludePorts
	case ExcludeUIDs:
		return s.ExcludeUIDs
	case ExcludeInbound:
		return s.ExcludeInbound
	case IncludeInbound:
		return s.IncludeInbound
	case Opaque:
	}
	return ""
}

// OrUnknown returns the settings, or those of a mesh of which nothing can be read where there are none.
func (s *Settings) OrUnknown() *Settings {
	if s == nil {
		return unknownSettings()
	}
	return s
}

// unknownSettings stands for a mesh of which nothing can be read.
func unknownSettings() *Settings { return &Settings{} }

// Service is what a plan needs of a Service.
type Service struct {
	ClusterIPs []netip.Addr // empty for a headless or an external one
	Ports      []ServicePort
	Selector   map[string]string
}

// Sources are the objects from which injectors read their settings, reduced to what matters.
type Sources struct {
	ConfigMaps  map[string]map[string]string // "namespace/name" to data
	Deployments []Deployment
	Kubelets    []string // one version a node; nil when nodes cannot be read
	Namespaces  []string // the namespaces in which meshes live
	Missing     []string // what could not be read, and why
}

// Deployment is an injector's Deployment, reduced.
type Deployment struct {
	Namespace, Name string
	Labels          map[string]string
	Env             map[string]string // literal values of all containers
	Flags           map[string]string // of all containers, without dashes; "true" where a flag has no value of its own
	Images          []string          // of all containers
}

// Flags reads a command line as Go's flag packages do: -name=value, --name=value, --name value, and --name alone, which is
// "true". A shell's command line in one word is split at white space, whatever line breaks it has. A flag that is there
// several times has one value where they agree, and else all of them, with commas between.
func Flags(args []string) map[string]string {
	var words []string
	for _, a := range args {
		words = append(words, strings.Fields(a)...)
	}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "\\" }) // a shell's line goes on
	out := map[string]string{}
	for i, w := range words {
		name := strings.TrimLeft(w, "-")
		if name == w || name == "" {
			continue
		}
		name, value, set := strings.Cut(name, "=")
		switch {
		case set:
		case i+1 < len(words) && !strings.HasPrefix(words[i+1], "-"):
			value = words[i+1]
		default:
			value = "true"
		}
		value = strings.Trim(value, `"'\`)
		if before, again := out[name]; again && before != value {
			value = before + "," + value
		}
		out[name] = value
	}
	return out
}

// from returns the sources with the objects of the namespace first; what there is of other namespaces stays behind them.
func (s *Sources) from(namespace string) *Sources {
	if namespace == "" {
		return s
	}
	out := *s
	out.Namespaces = append([]string{namespace}, s.Namespaces...)
	out.Deployments = slices.Clone(s.Deployments)
	rank := func(d Deployment) int {
		if d.Namespace == namespace {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out.Deployments, func(a, b Deployment) int { return rank(a) - rank(b) })
	return &out
}

// ConfigMap returns the data of the named ConfigMap in the first mesh namespace that has it.
func (s *Sources) ConfigMap(name string) (map[string]string, bool) {
	for _, ns := range s.Namespaces {
		if data, ok := s.ConfigMaps[ns+"/"+name]; ok {
			return data, true
		}
	}
	return nil, false
}

// DeploymentLabelled returns the first Deployment that carries the labels.
func (s *Sources) DeploymentLabelled(want map[string]string) (*Deployment, bool) {
	for i := range s.Deployments {
		if labels.SelectorFromSet(want).Matches(labels.Set(s.Deployments[i].Labels)) {
			return &s.Deployments[i], true
		}
	}
	return nil, false
}

// truthy reads a boolean as strconv.ParseBool does; what it cannot read is false.
func truthy(value string, otherwise bool) bool {
	if value == "" {
		return otherwise
	}
	b, err := strconv.ParseBool(value)
	return err == nil && b
}
