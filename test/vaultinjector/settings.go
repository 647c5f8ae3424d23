package vaultinjector

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Identity of the injected containers where the pod says nothing.
const (
	defaultUser  = 100
	defaultGroup = 1000
)

// kubernetesAuth is the auth type that needs a role.
const kubernetesAuth = "kubernetes"

// settings is what one pod's annotations and the injector's command line come to.
type settings struct {
	product product

	initFirst       bool
	prePopulate     bool
	prePopulateOnly bool
	mounted         []string // names of the containers that see the secrets

	image           string
	user, group     int64
	securityContext bool
	initJSONPatch   string
	jsonPatch       string

	address       string
	proxyAddress  string
	namespace     string // Vault's, not the pod's
	caCert        string
	tlsServerName string
	tlsSkipVerify bool
	configMap     string
	logLevel      string
	logFormat     string

	authType   string
	authPath   string
	authConfig map[string]string
	exitOnErr  bool
	token      corev1.VolumeMount
	secrets    []secret
}

// secret is one file that the agent renders.
type secret struct {
	name, path, template string
}

// reader reads one product's annotations and keeps every value that does not parse.
type reader struct {
	product     product
	annotations map[string]string
	errs        []error
}

func (r *reader) has(name string) bool {
	_, ok := r.annotations[r.product.annotation(name)]
	return ok
}

func (r *reader) text(name, otherwise string) string {
	if value, ok := r.annotations[r.product.annotation(name)]; ok {
		return value
	}
	return otherwise
}

func (r *reader) flag(name string, otherwise bool) bool {
	if !r.has(name) {
		return otherwise
	}
	value, err := parseBool(r.text(name, ""))
	r.keep(name, err)
	return value
}

func (r *reader) number(name string, otherwise int64) int64 {
	if !r.has(name) {
		return otherwise
	}
	text := r.text(name, "")
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		r.keep(name, fmt.Errorf("parse %q as a number: %w", text, errors.Unwrap(err)))
	}
	return value
}

// suffixes returns what follows PREFIX/name- in the keys of the annotations that have a
// value, sorted: the real one walks a map, so its order is any.
func (r *reader) suffixes(name string) []string {
	var found []string
	for key, value := range r.annotations {
		suffix, ok := strings.CutPrefix(key, r.product.annotation(name)+"-")
		if ok && suffix != "" && strings.TrimSpace(value) != "" {
			found = append(found, suffix)
		}
	}
	slices.Sort(found)
	return found
}

func (r *reader) keep(name string, err error) {
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("annotation %s: %w", r.product.annotation(name), err))
	}
}

// settings refuses what the real injector refuses: values that do not parse, and what
// the agent cannot do without.
func (i Injector) settings(p product, pod *corev1.Pod) (settings, error) {
	r := &reader{product: p, annotations: pod.Annotations}
	s := settings{
		product:         p,
		initFirst:       r.flag("agent-init-first", false),
		prePopulate:     r.flag("agent-pre-populate", true),
		prePopulateOnly: r.flag("agent-pre-populate-only", false),
		mounted:         mounted(r, pod),
		image:           r.text("agent-image", orElse(i.Image, p.image)),
		initJSONPatch:   r.text("agent-init-json-patch", ""),
		jsonPatch:       r.text("agent-json-patch", ""),
		address:         r.text("service", i.address(p)),
		proxyAddress:    r.text("proxy-address", i.ProxyAddress),
		namespace:       r.text("namespace", ""),
		caCert:          r.text("ca-cert", ""),
		tlsServerName:   r.text("tls-server-name", ""),
		tlsSkipVerify:   r.flag("tls-skip-verify", false),
		configMap:       r.text("agent-configmap", ""),
		logLevel:        r.text("log-level", "info"),
		logFormat:       r.text("log-format", "standard"),
		authType:        r.text("auth-type", kubernetesAuth),
		authPath:        r.text("auth-path", "auth/kubernetes"),
		exitOnErr:       r.flag("agent-auto-auth-exit-on-err", false),
		secrets:         secrets(r),
	}
	i.identity(r, &s, pod)
	token, ok := tokenMount(pod)
	if !ok {
		r.errs = append(r.errs, errors.New("no container mounts a service account token volume"))
	}
	s.token = token
	s.authConfig = authConfig(r, token)
	if err := errors.Join(r.errs...); err != nil {
		return settings{}, err
	}
	return s, s.complete()
}

// complete holds when the agent can be configured. A config map brings all of it.
func (s settings) complete() error {
	switch {
	case s.configMap != "":
		return nil
	case s.authType == "":
		return errors.New("no auth type given")
	case s.authType == kubernetesAuth && s.authConfig["role"] == "":
		return fmt.Errorf("no role given: set annotation %s", s.product.annotation("role"))
	case s.authPath == "":
		return errors.New("no auth path given")
	case s.address == "":
		return errors.New("no address of the secret store given")
	}
	return nil
}

// identity decides user and group. Naming one of them asks for a security context even
// where the injector sets none by itself.
func (i Injector) identity(r *reader, s *settings, pod *corev1.Pod) {
	s.user = r.number("agent-run-as-user", defaultUser)
	s.group = r.number("agent-run-as-group", defaultGroup)
	named := r.has("agent-run-as-user") || r.has("agent-run-as-group") || r.has("agent-run-as-same-user")
	s.securityContext = r.flag("agent-set-security-context", !i.NoSecurityContext || named)
	if !r.flag("agent-run-as-same-user", false) {
		return
	}
	user, err := firstUser(pod)
	if err != nil {
		r.keep("agent-run-as-same-user", err)
		return
	}
	s.user = user
}

// firstUser is the uid of the first container, whichever that is by now: with Istio's
// hold it is the proxy. The pod's own security context is not asked.
func firstUser(pod *corev1.Pod) (int64, error) {
	if len(pod.Spec.Containers) == 0 {
		return 0, errors.New("the pod has no containers")
	}
	c := pod.Spec.Containers[0]
	switch {
	case c.SecurityContext == nil || c.SecurityContext.RunAsUser == nil:
		return 0, fmt.Errorf("container %q sets no runAsUser", c.Name)
	case *c.SecurityContext.RunAsUser == 0:
		return 0, fmt.Errorf("container %q runs as root", c.Name)
	}
	return *c.SecurityContext.RunAsUser, nil
}

// mounted names the containers that get the secrets: all, if the pod does not say.
func mounted(r *reader, pod *corev1.Pod) []string {
	if r.has("agent-inject-containers") {
		return strings.Split(r.text("agent-inject-containers", ""), ",")
	}
	names := make([]string, 0, len(pod.Spec.Containers))
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	return names
}

// tokenMount is the mount that the ServiceAccount admission plugin made, found by its
// path as the real one finds it. Init containers are not asked.
func tokenMount(pod *corev1.Pod) (corev1.VolumeMount, bool) {
	for _, c := range pod.Spec.Containers {
		for _, m := range c.VolumeMounts {
			if strings.Contains(m.MountPath, "serviceaccount") {
				return corev1.VolumeMount{Name: m.Name, MountPath: m.MountPath, ReadOnly: true}, true
			}
		}
	}
	return corev1.VolumeMount{}, false
}

func authConfig(r *reader, token corev1.VolumeMount) map[string]string {
	config := map[string]string{"token_path": token.MountPath + "/token"}
	for _, name := range r.suffixes("auth-config") {
		config[strings.ReplaceAll(name, "-", "_")] = r.text("auth-config-"+name, "")
	}
	if role := r.text("role", ""); role != "" {
		config["role"] = role
	}
	return config
}

func secrets(r *reader) []secret {
	names := append(r.suffixes("agent-inject-secret"), r.suffixes("agent-inject-template")...)
	slices.Sort(names)
	found := make([]secret, 0, len(names))
	for _, name := range slices.Compact(names) {
		found = append(found, secret{
			name:     strings.ToLower(name),
			path:     r.text("agent-inject-secret-"+name, ""),
			template: r.text("agent-inject-template-"+name, ""),
		})
	}
	return found
}

func orElse(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}
