package injectors

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// akv2k8sVolume says that a pod has been seen to.
const akv2k8sVolume = "azure-keyvault-env"

// AKV2K8s is the injector of Azure Key Vault to Kubernetes, made after Bank-Vaults': it wraps the user's containers that ask
// for secrets in their environment. Each fetches them when it starts: from its own authentication service (that address is
// in its environment), the API server and the Key Vault that a custom resource names. The one address that can be read is not
// the last that is needed, so that where a container goes is unknown unless the configuration says.
func AKV2K8s() *Injector {
	i := &Injector{
		Name: "akv2k8s", Title: "AKV2K8s",
		Facts: "azure-key-vault-to-kubernetes (cmd/azure-keyvault-secrets-webhook/pod.go) and its chart akv2k8s, of no stated release; " +
			"the label that its chart selects namespaces by is configurable",
		Containers: map[string]Role{"copy-azurekeyvault-env": Helper},
		Wraps:      akv2k8sWraps,
		Owns: func(h *Hook) (service string, ok bool) {
			return h.Service, strings.HasPrefix(h.Name, "pods.") && strings.HasSuffix(h.Name, ".admission.spv.no")
		},
		Marked: func(t *Target) bool { return hasVolume(t, akv2k8sVolume) },
		// None of the places can be read; the configuration may name one.
		Dials: func(*Plan, *corev1.Container) (Endpoint, bool) { return Endpoint{}, false },
		Wants: func(t *Target, _ *Settings) Tri { return TriOf(!hasVolume(t, akv2k8sVolume) && akv2k8sAsks(t)) },
		Asked: func(t *Target) Tri {
			if akv2k8sAsks(t) {
				return Yes
			}
			return Unknown
		},
	}
	i.Inject = func(p *Plan, _ *Settings) {
		if i.Marked(p.Target) || p.has(i) {
			return
		}
		to := p.destination(i, Endpoint{}, false)
		if !p.wrap(i, func(_ *Step, c *corev1.Container) ([]Endpoint, bool) { return to, akv2k8sWants(c) }) {
			return
		}
		step := Step{Name: "copy-azurekeyvault-env", Phase: Init, Role: Helper, Injector: i}
		step.UID, step.GID = podIDs(p.Target)
		p.Add(step, true)
	}
	return i
}

// akv2k8sWraps: the directory is the webhook's to choose (ENV_INJECTOR_EXEC_DIR), the program's name is not.
func akv2k8sWraps(c *corev1.Container) bool {
	return len(c.Command) > 0 && strings.HasSuffix(c.Command[0], "/azure-keyvault-env")
}

// akv2k8sWants tells whether the webhook wraps the container (mutateContainers).
func akv2k8sWants(c *corev1.Container) bool {
	return inEnvironment(c, func(value string) bool { return strings.Contains(value, "@azurekeyvault") })
}

func akv2k8sAsks(t *Target) bool {
	for _, list := range [...][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for i := range list {
			if akv2k8sWants(&list[i]) {
				return true
			}
		}
	}
	return false
}
