package diagnose

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
)

// mostRestarts bounds the lines that start the pods of a namespace anew.
const mostRestarts = 4

// missed is for afterwards, where pods start while the injector is not called: they lack what it adds until they are made anew.
func (s *Subject) missed(ctx context.Context, n *neighbour) string {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	name := adds(n.injector)
	if n.fails() || name == "" {
		return ""
	}
	const columns = "NAMESPACE:.metadata.namespace,NAME:.metadata.name,CONTAINERS:.spec.containers[*].name,INIT:.spec.initContainers[*].name"
	asking := s.asking(ctx, n)
	if n.injector.Request != nil { // most of them do not
		asking = slices.DeleteFunc(asking, func(ns corev1.Namespace) bool { return !n.asks(&ns) })
	}
	if key := asksBy(n.injector); key != "" && len(asking) == 0 {
		escaped := strings.NewReplacer(".", `\.`).Replace(key)
		return steps("If pods have started meanwhile, they lack it, and stay so once it is called again. These ask for it and have none; start anew what made them (kubectl rollout restart):",
			"kubectl get pods -A -o custom-columns='"+columns+",ASKS:.metadata.annotations."+escaped+"' | grep -v -e "+name+" -e '<none>$'")
	}
	if len(asking) == 0 {
		return ""
	}
	lines := []string{"If pods have started meanwhile, they lack it, and stay so once it is called again. These have none:"}
	for i := range asking[:min(len(asking), mostRestarts)] {
		lines = append(lines, "kubectl -n "+asking[i].Name+" get pods -o custom-columns='"+columns+"' | grep -v "+name)
	}
	return steps(append(lines, n.restarts("If there are any, this starts all Deployments of a namespace anew, a few pods at a time:", asking))...)
}

// asks tells whether a namespace asks for its pods.
func (n *neighbour) asks(ns *corev1.Namespace) bool {
	pod := &corev1.Pod{}
	return n.injector.Asked != nil &&
		n.injector.Asked(injectors.PodTarget(pod, &injectors.Namespace{Name: ns.Name, Labels: ns.Labels, Annotations: ns.Annotations})) == injectors.Yes
}

// restarts starts the Deployments of namespaces anew.
func (n *neighbour) restarts(why string, namespaces []corev1.Namespace) string {
	if len(namespaces) == 0 {
		return ""
	}
	lines := []string{why}
	for i := range namespaces[:min(len(namespaces), mostRestarts)] {
		lines = append(lines, "kubectl -n "+namespaces[i].Name+" rollout restart deployment")
	}
	if more := namespaces[min(len(namespaces), mostRestarts):]; len(more) > 0 {
		lines = append(lines, "Do the same in "+list(namesOf(more))+".")
	}
	return steps(lines...)
}

// adds is the name of a container that the injector adds to every pod; "" where that is not known.
func adds(i *injectors.Injector) string {
	if i == nil {
		return ""
	}
	for _, role := range []injectors.Role{injectors.Proxy, injectors.Dialer} {
		var names []string
		for name, r := range i.Containers {
			if r == role && !strings.HasSuffix(name, "*") {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			return slices.Min(names)
		}
	}
	return ""
}

// asksBy is the annotation with which pods ask for it; "" where namespaces do.
func asksBy(i *injectors.Injector) string {
	for _, key := range sortedKeys(i.Request) {
		if value := i.Request[key]; value == "true" || value == enabled {
			return key
		}
	}
	return ""
}
