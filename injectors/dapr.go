package injectors

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Dapr's annotations and label (dapr, pkg/injector/annotations and pkg/injector/patcher at 1.18-rc).
const (
	daprDomain   = "dapr.io/"
	daprEnabled  = daprDomain + "enabled"
	daprAppID    = daprDomain + "app-id"
	daprNative   = daprDomain + "enable-native-sidecar"
	daprInjected = daprDomain + "sidecar-injected" // a label

	daprSidecar = "daprd"
)

var errNotAppID = errors.New("not a name that Dapr takes for an app (small letters, digits and dashes, 58 of them at most)")

// Dapr is Dapr's sidecar injector. It adds daprd behind the other containers, or behind the other init containers as a native
// sidecar. That has no startup probe: whoever comes next does not wait for it, and where the network is cut it crashes and is
// started again until it is not.
func Dapr() *Injector {
	i := &Injector{
		Name: "dapr", Title: "Dapr",
		Facts: "dapr 1.18-rc (d8450742ce: pkg/injector/{service,patcher}, charts/dapr); the variable that makes native sidecars the default " +
			"is not verified, and not read",
		Containers: map[string]Role{daprSidecar: Dialer},
		Owns:       func(h *Hook) (string, bool) { return h.Service, h.Name == "sidecar-injector.dapr.io" },
		Read:       readDapr,
		Reads:      Reads{Deployments: []string{"app=dapr-sidecar-injector"}, Environment: []string{"KUBE_CLUSTER_DOMAIN"}},
		Port:       4000,
		Marked:     daprMarked,
		Wants:      daprWants,
		Asked:      daprAsked,
		Decline:    Decline{Key: daprEnabled, Value: "false"},
		Request:    map[string]string{daprEnabled: "true", daprAppID: "holdfast-probe"},
		Muddle:     daprMuddle,
		Native:     daprNative,

		Annotations: daprAnnotations(),
	}
	i.Inject = func(p *Plan, s *Settings) { daprInjects(p, i, s) }
	i.Dials = func(p *Plan, c *corev1.Container) (Endpoint, bool) {
		if to, ok := daprDials(c); ok {
			return to, true
		}
		if s := p.Settings(i); s != nil {
			return daprAddress(s)
		}
		return Endpoint{}, false
	}
	return i
}

// readDapr takes the address that daprd is told to connect to first: the API's, of the control plane's namespace
// (pkg/injector/patcher/services.go).
func readDapr(src *Sources, _ string) *Settings {
	s := &Settings{Missing: src.Missing}
	d, ok := src.DeploymentLabelled(map[string]string{"app": "dapr-sidecar-injector"})
	if !ok {
		s.missing("no Deployment labelled app=dapr-sidecar-injector")
		return s
	}
	s.Address = "dapr-api." + d.Namespace + ".svc"
	if domain := d.Env["KUBE_CLUSTER_DOMAIN"]; domain != "" {
		s.Address += "." + domain
	}
	s.Address += ":443"
	return s
}

func daprMarked(t *Target) bool { return t.Meta.Labels[daprInjected] == "true" }

// daprAsked: who asks writes true. Dapr's own switches know more ways to say yes (dapr/kit, IsTruthy).
func daprAsked(t *Target) Tri {
	value, ok := t.Meta.Annotations[daprEnabled]
	if !ok {
		return Unknown
	}
	return TriOf(daprTruthy(value))
}

func daprTruthy(value string) bool {
	switch strings.ToLower(value) {
	case "y", "yes", "true", "t", "on", "1":
		return true
	}
	return false
}

// daprWants: the injector passes over pods that somebody has made whom it does not know; what the controllers of the control
// plane make is known, and what other ServiceAccounts may be named in its settings does not matter to that
// (AllowedServiceAccountInfos in pkg/injector/service/injector.go). It passes over pods that have a container called daprd. Newer
// releases take "true" alone for yes (podHasDaprEnabled), older ones all that Dapr's switches do.
func daprWants(t *Target, _ *Settings) Tri {
	switch {
	case daprMarked(t) || daprAsked(t) != Yes || t.anyContainer(func(name string) bool { return name == daprSidecar }):
		return No
	case !strings.EqualFold(t.Annotation(daprEnabled), "true"):
		return Unknown
	}
	return daprTrusts(t)
}

// daprTrusts tells whether the pod is, or will be, made by one of the control plane's controllers. Who makes a pod that none
// owns is not known; members of system:masters are listened to as well.
func daprTrusts(t *Target) Tri {
	if t.Template() {
		return Yes
	}
	owner := metav1.GetControllerOfNoCopy(t.Meta)
	if owner == nil {
		return Unknown
	}
	switch owner.Kind {
	case "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController":
		group, _, _ := strings.Cut(owner.APIVersion, "/")
		if group == "apps" || group == "batch" || group == "v1" {
			return Yes
		}
	}
	return Unknown
}

// daprMuddle: without an app id the pod's name is taken, and a pod whose name the API server is to make has none yet
// (GetAppID in pkg/injector/patcher/sidecar_container.go, ValidateKubernetesAppID).
func daprMuddle(t *Target) []Muddle {
	var out []Muddle
	if _, label := t.Meta.Labels[daprEnabled]; label && daprAsked(t) == Unknown {
		out = append(out, Muddle{
			What: "label " + daprEnabled + " is read by nobody: Dapr reads the annotation of that name.",
			Fix:  "Annotate the template: " + daprEnabled + `: "true"`,
		})
	}
	nameless := t.Template() && t.Kind != "StatefulSet" || !t.Template() && t.Meta.Name == ""
	if nameless && daprAsked(t) == Yes && t.Annotation(daprAppID) == "" {
		out = append(out, Muddle{
			What: "annotation " + daprEnabled + " without " + daprAppID + ": Dapr takes the pod's name, which is not made yet, and denies the pod.",
			Fix:  "Annotate the template: " + daprAppID + `: "NAME"`,
		})
	}
	return out
}

// daprInjects appends daprd (GetPatch in pkg/injector/patcher/sidecar_patcher.go).
func daprInjects(p *Plan, i *Injector, s *Settings) {
	if p.has(i) {
		return
	}
	step := Step{Name: daprSidecar, Phase: Main, Role: Dialer, Injector: i}
	step.UID, step.GID = podIDs(p.Target)
	native := s.Native == Yes
	if value, said := p.Target.Meta.Annotations[daprNative]; said {
		native = daprTruthy(value)
	}
	if native {
		step.Phase = Native
	}
	to, ok := daprAddress(s)
	if !ok {
		to, ok = p.Env.Addresses[i.Name]
	}
	if ok {
		step.To = []Endpoint{p.resolve(to)}
	}
	p.Add(step, false)
}

func daprAddress(s *Settings) (Endpoint, bool) {
	if s.Address == "" {
		return Endpoint{}, false
	}
	to, err := ParseHostPort(s.Address)
	return to, err == nil
}

// daprDials reads the address of the API, which daprd needs before anything else, out of its arguments: the image's own program
// is among them, or is the command.
func daprDials(c *corev1.Container) (Endpoint, bool) {
	const flag = "--control-plane-address"
	for k, arg := range c.Args {
		address, joined := strings.CutPrefix(arg, flag+"=")
		switch {
		case joined:
		case arg == flag && k+1 < len(c.Args):
			address = c.Args[k+1]
		default:
			continue
		}
		to, err := ParseHostPort(address)
		return to, err == nil
	}
	return Endpoint{}, false
}

// daprAnnotations are those of the SidecarConfig in pkg/injector/patcher/sidecar.go, and what earlier releases read.
func daprAnnotations() []Annotation {
	appID := func(value string) error {
		// Dapr makes a Service of that name, NAME-dapr.
		if value != "" && len(validation.IsDNS1123Label(value+"-dapr")) > 0 {
			return fmt.Errorf("%q: %w", value, errNotAppID)
		}
		return nil
	}
	known := []Annotation{{Key: daprAppID, Check: appID, Denied: true}}
	for _, name := range [...]string{
		"enabled", "app-port", "config", "app-protocol", "app-ssl", "enable-profiling", "log-level", "api-token-secret", "app-token-secret",
		"log-as-json", "app-max-concurrency", "enable-metrics", "metrics-port", "enable-debug", "debug-port", "env", "env-from-secret",
		"grpc-port", "internal-grpc-port", "sidecar-cpu-request", "sidecar-cpu-limit", "sidecar-memory-request", "sidecar-memory-limit",
		"sidecar-listen-addresses", "sidecar-liveness-probe-delay-seconds", "sidecar-liveness-probe-timeout-seconds",
		"sidecar-liveness-probe-period-seconds", "sidecar-liveness-probe-threshold", "sidecar-readiness-probe-delay-seconds",
		"sidecar-readiness-probe-timeout-seconds", "sidecar-readiness-probe-period-seconds", "sidecar-readiness-probe-threshold",
		"sidecar-image", "sidecar-seccomp-profile-type", "sidecar-svc-annotations", "http-max-request-size", "max-body-size",
		"http-read-buffer-size", "read-buffer-size", "graceful-shutdown-seconds", "block-shutdown-duration", "enable-api-logging",
		"unix-domain-socket-path", "volume-mounts", "volume-mounts-rw", "disable-builtin-k8s-secret-store", "enable-app-health-check",
		"app-health-check-path", "app-health-probe-interval", "app-health-probe-timeout", "app-health-threshold",
		"placement-host-address", "scheduler-host-address", "pluggable-components", "pluggable-components-sockets-folder",
		"component-container", "inject-pluggable-components", "app-channel-address", "sentry-request-jwt-audiences",
		"disable-init-endpoints", "enable-native-sidecar", "sidecar-soft-memory-limit", "sidecar-soft-memory-limit-percentage",
		"enable-workflow", // read by other parts of Dapr
	} {
		known = append(known, Annotation{Key: daprDomain + name})
	}
	return known
}
