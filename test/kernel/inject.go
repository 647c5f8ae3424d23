//go:build linux

package kernel

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Mode is one way in which a mesh is installed.
type Mode struct {
	Mesh   string
	CNI    bool // A node plugin redirects the pod, instead of an init container.
	Native bool // The proxy is an init container that never ends, instead of a main container.
	// Variant is what is otherwise than as installed: one of the mesh's variants, mostly none.
	Variant string
}

// String returns the mode in words, for example "kuma", "linkerd, cni, native".
func (m Mode) String() string {
	words := []string{m.Mesh}
	if m.CNI {
		words = append(words, "cni")
	}
	if m.Native {
		words = append(words, "native")
	}
	if m.Variant != "" {
		words = append(words, m.Variant)
	}
	return strings.Join(words, ", ")
}

// Modes returns every mode of every mesh that a rig plays, without its variants.
func Modes() []Mode {
	var modes []Mode
	for _, m := range meshes() {
		modes = append(modes, m.modes...)
	}
	return modes
}

// Variants returns every mode of the meshes that have variants, as each of those.
func Variants() []Mode {
	var modes []Mode
	for _, m := range meshes() {
		for _, variant := range m.variants {
			for _, mode := range m.modes {
				mode.Variant = variant
				modes = append(modes, mode)
			}
		}
	}
	return modes
}

// Exempt is what an injector is told to let past the proxy, before it sees the pod.
type Exempt struct {
	UIDs  []string
	CIDRs []string
	Ports []string
}

// Inject returns the pod as the mesh's injector would leave it: the same names, users, arguments, environment and
// annotations as far as a play or an observer of the pod reads them, and the same places among the containers that are
// there. Images and mounts are left out. What a mesh has no way to exempt is not exempted; what an injector adds to the
// exemptions by itself is added.
//
// It panics on a mode that is neither among [Modes] nor among [Variants].
func (m Mode) Inject(pod *corev1.Pod, exempt Exempt) *corev1.Pod {
	pod = pod.DeepCopy()
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	for _, mesh := range meshes() {
		usual := m
		usual.Variant = ""
		if slices.Contains(mesh.modes, usual) && (m.Variant == "" || slices.Contains(mesh.variants, m.Variant)) {
			mesh.inject(m, pod, exempt)
			return pod
		}
	}
	panic(fmt.Sprintf("no mode %q", m))
}

// modes returns a mesh's modes: the plain one, and the others that there are.
func modes(mesh string, cni, native bool) []Mode {
	list := []Mode{{Mesh: mesh}}
	if cni {
		list = append(list, Mode{Mesh: mesh, CNI: true})
	}
	if native {
		list = append(list, Mode{Mesh: mesh, Native: true})
	}
	if cni && native {
		list = append(list, Mode{Mesh: mesh, CNI: true, Native: true})
	}
	return list
}

// appendInit, prependInit, appendMain and prependMain are the four places where injectors put a container.
func appendInit(pod *corev1.Pod, added ...corev1.Container) {
	pod.Spec.InitContainers = slices.Concat(pod.Spec.InitContainers, added)
}

func prependInit(pod *corev1.Pod, added ...corev1.Container) {
	pod.Spec.InitContainers = slices.Concat(added, pod.Spec.InitContainers)
}

func appendMain(pod *corev1.Pod, added ...corev1.Container) {
	pod.Spec.Containers = slices.Concat(pod.Spec.Containers, added)
}

func prependMain(pod *corev1.Pod, added ...corev1.Container) {
	pod.Spec.Containers = slices.Concat(added, pod.Spec.Containers)
}

// user is a container's user and group; a group below 0 is none.
func user(uid, gid int64) *corev1.SecurityContext {
	sc := &corev1.SecurityContext{RunAsUser: &uid}
	if gid >= 0 {
		sc.RunAsGroup = &gid
	}
	return sc
}

// administrator is root, as an installer needs it.
func administrator() *corev1.SecurityContext {
	sc := user(0, 0)
	sc.Capabilities = &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN", "NET_RAW"}}
	return sc
}

// native makes a proxy an init container that never ends, and that the next one waits for.
func native(c corev1.Container, path string, port int) corev1.Container {
	c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	c.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
		HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt(port)},
	}}
	return c
}

// list writes a comma-separated list, with what is there by default in front.
func list(defaults string, more []string) string {
	return strings.Join(append(split(defaults), more...), ",")
}
