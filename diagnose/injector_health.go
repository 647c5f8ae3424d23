package diagnose

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// health is how an injector's pods are, as far as whoever asks may look: the server may not list pods of others.
type health struct {
	known    bool
	ill      string // what is wrong with one of them, a clause that names it; "" where nothing is
	pod      string // which
	restarts bool   // it has been restarted
	memory   bool   // it was killed for its memory
}

// oomKilled is the kubelet's word for a container that took more memory than it may.
const oomKilled = "OOMKilled"

// health looks at the pods behind a Service.
func (s *Subject) health(ctx context.Context, b *backing, c callee) health {
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	var h health
	if d := b.deployment; d != nil && d.Status.Replicas > 0 && d.Status.ReadyReplicas == 0 {
		h = health{known: true, ill: fmt.Sprintf("Deployment %s has no ready pod", d.Name)}
	}
	if b.service == nil {
		return h
	}
	pods, err := s.Pods(ctx, c.namespace)
	if err != nil {
		return h
	}
	found := false
	for i := range pods {
		pod := &pods[i]
		if !selected(b.service, pod.Labels) || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		found = true
		restarted := s.restarted(pod)
		switch why := notReady(pod); {
		case restarted != "":
			return health{known: true, ill: "pod " + pod.Name + " " + restarted, pod: pod.Name, restarts: true, memory: strings.Contains(restarted, oomKilled)}
		case why != "":
			return health{known: true, ill: "pod " + pod.Name + " " + why, pod: pod.Name}
		}
	}
	if found {
		return health{known: true}
	}
	return h
}

// restarted says how often a pod's container has ended that is not ready, and how the last time; "" where there is none. One that is
// ready again is no reason for anything now.
func (s *Subject) restarted(pod *corev1.Pod) string {
	for i := range pod.Status.ContainerStatuses {
		c := &pod.Status.ContainerStatuses[i]
		last := c.LastTerminationState.Terminated
		if c.Ready || c.RestartCount == 0 || last == nil {
			continue
		}
		ago := s.Now().Sub(last.FinishedAt.Time)
		return fmt.Sprintf("has been restarted (%d times, last %s ago: %s, exit code %d)", c.RestartCount, duration.HumanDuration(ago), last.Reason, last.ExitCode)
	}
	return ""
}

// fix is what to look at, and the way to start them anew.
func (h health) fix(b *backing, c callee) string {
	of := "kubectl -n " + c.namespace
	logs, restart := "", ""
	if b.deployment != nil {
		logs, restart = of+" logs deploy/"+b.deployment.Name+" --tail=50", of+" rollout restart deploy/"+b.deployment.Name
	}
	switch {
	case h.memory:
		return steps("It was killed for its memory. Raise the memory limit of Deployment "+b.name()+", where its installer sets it; until then this shows how much it has:",
			of+" get pod "+h.pod+" -o jsonpath='{.spec.containers[*].resources}'", lastly(restart))
	case h.restarts:
		return steps("The log of the run that ended says why:", of+" logs "+h.pod+" --previous --tail=50",
			lastly(restart))
	case h.pod != "":
		return steps("Its events and its log say why:", of+" describe pod "+h.pod, of+" logs "+h.pod+" --tail=50", lastly(restart))
	}
	lines := []string{"Look at its pods, and at what they say:", of + " get pods -o wide", logs}
	if b.deployment != nil {
		lines = append(lines, "If one has been restarted, the log of the run before has the reason:", of+" logs deploy/"+b.deployment.Name+" --previous --tail=50")
	}
	return steps(append(lines, lastly(restart))...)
}

// logs is the line that prints what the pods say.
func (h health) logs(b *backing, c callee) string {
	if b.deployment == nil {
		return "kubectl -n " + c.namespace + " get pods -o wide"
	}
	return "kubectl -n " + c.namespace + " logs deploy/" + b.deployment.Name + " --tail=50"
}

// lastly starts it anew.
func lastly(restart string) string {
	if restart == "" {
		return ""
	}
	return steps("If that says nothing, start it anew:", restart)
}

func (b *backing) name() string {
	if b.deployment == nil {
		return "that made it"
	}
	return b.deployment.Name
}
