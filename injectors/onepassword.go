package injectors

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// 1Password's annotations (kubernetes-secrets-injector, pkg/webhook/webhook.go).
const (
	onePasswordDomain = "operator.1password.io/"
	onePasswordInject = onePasswordDomain + "inject"
	onePasswordFirst  = onePasswordDomain + "injector-init-first"
	onePasswordStatus = onePasswordDomain + "status"
)

// opCommand is what wrapped containers run.
const opCommand = "/op/bin/op"

// OnePassword is the secrets injector of 1Password. It runs the containers that the pod names under op run, which fetches what
// their environment refers to (op://...) when they start. An environment that only refers to a ConfigMap or a Secret may hold
// such references, or none: what cannot be read is not counted.
//
// The injector drops all annotations of the pod but its own (its issue 51): what injectors that come after it would read there,
// or a node, is lost.
func OnePassword() *Injector {
	i := &Injector{
		Name: "1password", Title: "1Password",
		Facts:      "kubernetes-secrets-injector, its main branch with injector-init-first; older releases wrap init containers differently",
		Containers: map[string]Role{"copy-op-bin": Helper},
		Wraps: func(c *corev1.Container) bool {
			return len(c.Command) > 1 && c.Command[0] == opCommand && c.Command[1] == "run" && inEnvironment(c, onePasswordReference)
		},
		Owns: func(h *Hook) (service string, ok bool) {
			return h.Service, h.Name == "secrets-injector.1password.com"
		},
		Marked: onePasswordMarked,
		Wants:  onePasswordWants,
		Asked: func(t *Target) Tri {
			if t.Annotation(onePasswordInject) != "" {
				return Yes
			}
			return Unknown
		},
		Muddle: onePasswordMuddle,
		Dials:  onePasswordDials,
	}
	for _, name := range [...]string{"inject", "injector-init-first", "status", "version"} {
		i.Annotations = append(i.Annotations, Annotation{Key: onePasswordDomain + name})
	}
	i.Inject = func(p *Plan, _ *Settings) { onePasswordInjects(p, i) }
	return i
}

func onePasswordMarked(t *Target) bool {
	return strings.EqualFold(t.Annotation(onePasswordStatus), "injected")
}

// onePasswordReference tells whether op run fetches something for the value.
func onePasswordReference(value string) bool { return strings.Contains(value, "op://") }

// onePasswordInitFirst tells whether the injector's container goes before all others; only then are init containers wrapped.
func onePasswordInitFirst(t *Target) bool {
	return strings.EqualFold(t.Annotation(onePasswordFirst), "true")
}

// onePasswordNames tells whether the annotation names the container: names are told apart by commas alone, spaces and all.
func onePasswordNames(t *Target, name string) bool {
	for entry := range strings.SplitSeq(t.Annotation(onePasswordInject), ",") {
		if entry == name {
			return true
		}
	}
	return false
}

// onePasswordWants: the injector refuses a pod of which it is to wrap a container without a command.
func onePasswordWants(t *Target, _ *Settings) Tri {
	if onePasswordMarked(t) || t.Annotation(onePasswordInject) == "" {
		return No
	}
	lists := [...][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers}
	named := false
	for _, list := range lists[onePasswordSkips(t):] {
		for i := range list {
			if !onePasswordNames(t, list[i].Name) {
				continue
			}
			if len(list[i].Command) == 0 {
				return No
			}
			named = true
		}
	}
	return TriOf(named)
}

// onePasswordSkips returns how many of the lists (init containers, containers) the injector leaves alone.
func onePasswordSkips(t *Target) int {
	if onePasswordInitFirst(t) {
		return 0
	}
	return 1
}

func onePasswordInjects(p *Plan, i *Injector) {
	t := p.Target
	if onePasswordWants(t, nil) != Yes || p.has(i) {
		return
	}
	if onePasswordDrops(p) {
		p.Doubt("1Password's injector drops the other annotations of the pod")
	}
	first := onePasswordInitFirst(t)
	p.wrap(i, func(s *Step, c *corev1.Container) ([]Endpoint, bool) {
		if s.Phase != Main && !first || !onePasswordNames(t, c.Name) || !inEnvironment(c, onePasswordReference) {
			return nil, false
		}
		to, ok := onePasswordDials(p, c)
		return p.destination(i, to, ok), true
	})
	step := Step{Name: "copy-op-bin", Phase: Init, Role: Helper, Injector: i}
	step.UID, step.GID = podIDs(t)
	p.Add(step, first)
}

// onePasswordDrops tells whether annotations that matter to somebody are lost: those of the pod, and those of a mesh that its
// node plugin looks for.
func onePasswordDrops(p *Plan) bool {
	for key := range p.Target.Meta.Annotations {
		if !strings.HasPrefix(key, onePasswordDomain) {
			return true
		}
	}
	return slices.ContainsFunc(p.Meshes, func(m Mesh) bool { return m.CNI != No })
}

// onePasswordDials: a Connect server goes over 1Password's own, whose host is not known.
func onePasswordDials(p *Plan, c *corev1.Container) (Endpoint, bool) {
	if variable(c, "OP_CONNECT_TOKEN") == "" {
		return Endpoint{}, false
	}
	return p.reach(variable(c, "OP_CONNECT_HOST"), proxies(c))
}

func onePasswordMuddle(t *Target) []Muddle {
	if onePasswordMarked(t) || t.Annotation(onePasswordInject) == "" {
		return nil
	}
	var out []Muddle
	for entry := range strings.SplitSeq(t.Annotation(onePasswordInject), ",") {
		its := func(c corev1.Container) bool { return c.Name == entry }
		in := slices.IndexFunc(t.Spec.InitContainers, its)
		at := slices.IndexFunc(t.Spec.Containers, its)
		switch name := strconv.Quote(entry); {
		case in < 0 && at < 0:
			out = append(out, Muddle{
				What: "annotation " + onePasswordInject + " names " + name + ", and no container is called that",
				Fix:  "Name containers of the pod, with a comma and no space between them.",
			})
		case at < 0 && !onePasswordInitFirst(t):
			out = append(out, Muddle{
				What: "annotation " + onePasswordInject + " names " + name + ", an init container, which 1Password leaves alone",
				Fix:  "Annotate the template: " + onePasswordFirst + `: "true"`,
			})
		case at >= 0 && len(t.Spec.Containers[at].Command) == 0, at < 0 && len(t.Spec.InitContainers[in].Command) == 0:
			out = append(out, Muddle{
				What: name + " has no command to run under op: 1Password refuses the pod",
				Fix:  "Give it a command, or take it out of the annotation " + onePasswordInject + ".",
			})
		}
	}
	return out
}
