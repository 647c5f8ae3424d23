// Package vaultinjector stands in for the Vault agent injector, which has no Go
// module to import: it answers admission reviews as vault-k8s 1.7.6 does, so that
// tests and the demonstration meet the containers, mounts and order that a real
// cluster has. Recordings of the real injector bind it (testdata/recorded).
//
// It knows the annotations that decide placement, identity, address and network
// behaviour. It leaves out what changes none of these: caches, telemetry, custom
// mount paths, token revocation, AWS credentials. It never talks to Vault. OpenBao's
// injector is a fork of Vault's; no recording binds that variant, which is the one of
// 2025-07: annotations of openbao.openbao.org, and BAO_CONFIG (openbao-k8s#17).
package vaultinjector

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Prefixes of the annotations that the two products read. Everything else about an
// injector (names of containers, volumes and objects) follows from its prefix.
const (
	PrefixVault   = "vault.hashicorp.com"
	PrefixOpenBao = "openbao.openbao.org"
)

// Injector is one injector with its command line. The zero value is Vault's, with the
// defaults of its chart.
type Injector struct {
	// Address is the secret store's URL, AGENT_INJECT_VAULT_ADDR in the real one. It
	// holds for pods that do not name one in the annotation "service".
	// Empty means http://vault.vault.svc:8200 (http://openbao.openbao.svc:8200).
	Address string
	// Prefix is PrefixVault or PrefixOpenBao; empty means PrefixVault.
	Prefix string
	// Image of the injected containers; empty means the one in the recordings.
	Image string
	// ProxyAddress becomes HTTPS_PROXY of the injected containers, if it is set.
	ProxyAddress string
	// NoSecurityContext is the chart's setting for OpenShift: no security context,
	// unless a pod asks for one or names a user or group.
	NoSecurityContext bool
	// Log receives one line a review. Pods and patches never go there.
	Log logr.Logger
}

// product is what differs between the two injectors.
type product struct {
	name   string // begins the names of containers, volumes and objects
	prefix string
	binary string
	env    string // begins the names of environment variables
	image  string // of the agents

	injectorImage string
}

// product fails for a prefix that belongs to neither injector.
func (i Injector) product() (product, error) {
	switch i.Prefix {
	case "", PrefixVault:
		return product{
			name: "vault", prefix: PrefixVault, binary: "vault", env: "VAULT",
			image: "hashicorp/vault:2.0.4", injectorImage: "hashicorp/vault-k8s:1.7.6",
		}, nil
	case PrefixOpenBao:
		return product{
			name: "openbao", prefix: PrefixOpenBao, binary: "bao", env: "BAO",
			image: "quay.io/openbao/openbao:2.3.1", injectorImage: "quay.io/openbao/openbao-k8s:1.4.0",
		}, nil
	default:
		return product{}, fmt.Errorf("annotation prefix %q belongs to no known injector", i.Prefix)
	}
}

func (p product) annotation(name string) string { return p.prefix + "/" + name }

func (p product) initName() string { return p.name + "-agent-init" }

func (p product) sidecarName() string { return p.name + "-agent" }

func (p product) secretsVolume() corev1.VolumeMount {
	return corev1.VolumeMount{Name: p.name + "-secrets", MountPath: "/" + p.name + "/secrets"}
}

func (p product) home() string { return "/home/" + p.name }

func (i Injector) address(p product) string {
	if i.Address != "" {
		return i.Address
	}
	return fmt.Sprintf("http://%s.%s.svc:8200", p.name, p.name)
}

// Mutate returns the RFC 6902 operations that inject the agent into pod, none for a
// pod that does not ask for it or has it already. An error is a refusal: its text is
// what the client of the API server reads.
func (i Injector) Mutate(pod *corev1.Pod, namespace string) ([]Operation, error) {
	raw, err := json.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("encode pod: %w", err)
	}
	return i.MutateRaw(raw, namespace)
}

// MutateRaw is Mutate for a pod as it came over the wire. Fields that this program
// does not know survive, also where agent-init-first re-adds the init containers.
func (i Injector) MutateRaw(raw []byte, namespace string) ([]Operation, error) {
	p, err := i.product()
	if err != nil {
		return nil, err
	}
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		return nil, fmt.Errorf("decode pod: %w", err)
	}
	wanted, err := wanted(p, pod.Annotations)
	if err != nil || !wanted {
		return nil, err
	}
	// The real one asks in this order too: a pod that wants nothing is let through
	// in system namespaces as well.
	if slices.Contains([]string{metav1.NamespaceSystem, metav1.NamespacePublic}, namespace) {
		return nil, fmt.Errorf("cannot inject into system namespace %q", namespace)
	}
	s, err := i.settings(p, &pod)
	if err != nil {
		return nil, err
	}
	return operations(s, &pod, raw)
}

// wanted tells whether the annotations ask for an injection that has not happened yet.
func wanted(p product, annotations map[string]string) (bool, error) {
	key := p.annotation("agent-inject")
	value, ok := annotations[key]
	if !ok {
		return false, nil
	}
	inject, err := parseBool(value)
	if err != nil {
		return false, fmt.Errorf("annotation %s: %w", key, err)
	}
	return inject && annotations[p.annotation("agent-inject-status")] != "injected", nil
}

// parseBool takes the empty string for false, as the real one does.
func parseBool(value string) (bool, error) {
	if value == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("parse %q as a boolean: %w", value, strconv.ErrSyntax)
	}
	return b, nil
}
