package diagnose

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/report"
)

// unready is what to do about a pod of ours that is not ready.
func (s *Subject) unready(ctx context.Context, pod *corev1.Pod) string {
	look := s.kubectl() + " describe pod " + pod.Name
	for i := range pod.Status.ContainerStatuses {
		c := &pod.Status.ContainerStatuses[i]
		switch w := c.State.Waiting; {
		case ended(c) != nil:
			return s.crashing(ctx, pod, ended(c))
		case w != nil && strings.Contains(w.Reason, "Image"):
			return steps("Its description ends with what the registry answers:", look, s.goBack(ctx, "If the image came with a new version, go back to the one before:"))
		case w != nil && w.Reason == "CreateContainerConfigError":
			return steps("What it names has to be made; the description says which:", look)
		}
	}
	if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse
	}) {
		return steps("The nodes have no room for it, or do not suit it; its description ends with why:", look, "kubectl get nodes")
	}
	return steps("Start it anew; the log of this one stays in this directory:", s.kubectl()+" logs "+pod.Name+" > "+pod.Name+".log", s.restart(ctx),
		"If the next one is the same, the description and the log say why:", look, s.logs())
}

// crashing is what to do about a pod of ours whose server has ended.
func (s *Subject) crashing(ctx context.Context, pod *corev1.Pod, end *corev1.ContainerStateTerminated) string {
	name, file := s.configuration(ctx)
	words := lastWords(end.Message)
	log := s.kubectl() + " logs " + pod.Name + " --previous --tail=50"
	var lines []string
	switch {
	case end.Reason == oomKilled:
		lines = []string{"It was killed for its memory; allow it more, which makes new pods:", s.kubectl() + " set resources " + s.deploymentName(ctx) + " --limits=memory=" + s.moreMemory(ctx)}
	case name != "" && strings.Contains(words, file):
		lines = []string{s.reconfigure(ctx, "Correct what it names in ConfigMap "+name+", and make new pods:", name, file)}
	case words != "":
		lines = []string{"More of what the run before has said:", log}
	case name == "":
		lines = []string{"The last words of the run before have the reason:", log}
	default:
		lines = []string{
			"The last words of the run before have the reason:", log,
			s.reconfigure(ctx, fmt.Sprintf("If they name the configuration (%s), correct it in ConfigMap %s, and make new pods:", file, name), name, file),
		}
	}
	before := "If it came with a new version or arguments, go back:"
	if name != "" {
		before = "If it came with a new version or arguments, go back (a ConfigMap that was changed in place stays as it is):"
	}
	lines = append(lines, s.goBack(ctx, before))
	if d, err := s.deployment(ctx); err == nil && d != nil {
		lines = append(lines, s.owned(d))
	}
	return steps(lines...)
}

// moreMemory is twice what our servers may take.
func (s *Subject) moreMemory(ctx context.Context) string {
	if d, err := s.deployment(ctx); err == nil && d != nil {
		for i := range d.Spec.Template.Spec.Containers {
			if limit := d.Spec.Template.Spec.Containers[i].Resources.Limits.Memory(); !limit.IsZero() {
				limit.Add(*limit)
				return limit.String()
			}
		}
	}
	return "1Gi"
}

// reconfigure corrects our configuration.
func (s *Subject) reconfigure(ctx context.Context, lead, name, file string) string {
	empty := encode(map[string]any{"data": map[string]string{path.Base(file): "{}\n"}})
	return steps(lead, s.kubectl()+" edit configmap "+name, s.restart(ctx),
		"If nobody knows what it should say, have Holdfast work by its defaults, whose mode is audit (a copy stays in this directory):",
		s.aside("configmap", name)+" && "+s.kubectl()+" patch configmap "+name+" --type=merge -p '"+empty+"'", s.restart(ctx))
}

// configuration is the file that our Deployment reads its configuration from, and the ConfigMap that it is mounted from; "" where
// there is none, or nobody can tell.
func (s *Subject) configuration(ctx context.Context) (name, file string) {
	d, err := s.deployment(ctx)
	if err != nil || d == nil {
		return "", ""
	}
	spec := &d.Spec.Template.Spec
	for i := range spec.Containers {
		c := &spec.Containers[i]
		file, _, words := argument(c.Args, "--config")
		if words == 0 {
			continue
		}
		if v := volumeAt(spec, c, file); v != nil && v.ConfigMap != nil {
			return v.ConfigMap.Name, file
		}
	}
	return "", ""
}

// revisionOf is the annotation that counts the templates that a Deployment has had (k8s.io/kubernetes,
// pkg/controller/deployment/util/deployment_util.go at 1.36).
const revisionOf = "deployment.kubernetes.io/revision"

// goBack has the Deployment make pods as before its last change; "" where it has been nothing else yet, or keeps nothing of it.
func (s *Subject) goBack(ctx context.Context, lead string) string {
	d, err := s.deployment(ctx)
	if err != nil || d == nil || d.Spec.RevisionHistoryLimit != nil && *d.Spec.RevisionHistoryLimit == 0 {
		return ""
	}
	if n, err := strconv.Atoi(d.Annotations[revisionOf]); err != nil || n < 2 {
		return ""
	}
	return steps(lead, s.kubectl()+" rollout undo deploy/"+d.Name)
}

// ended is how a container has ended that is to run and is not ready; nil where it has not.
func ended(c *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if c.Ready || c.State.Waiting != nil && c.State.Waiting.Reason != "CrashLoopBackOff" {
		return nil
	}
	if c.State.Terminated != nil {
		return c.State.Terminated
	}
	return c.LastTerminationState.Terminated
}

// lastWords is what a program that has ended says of it: the line that begins with our name, or with panic, and those that follow
// the former; else the last.
func lastWords(log string) string {
	lines := slices.DeleteFunc(strings.Split(log, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	for i, l := range slices.Backward(lines) {
		switch {
		case strings.HasPrefix(l, ourName+": "):
			return strings.ReplaceAll(strings.Join(lines[i:], "; "), ":; ", ": ")
		case strings.HasPrefix(l, "panic: "):
			return l
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// mostWords bounds what is cited of a log.
const mostWords = 150

// notReady says why a pod is not ready, "" where it is.
func notReady(pod *corev1.Pod) string {
	for i := range pod.Status.ContainerStatuses {
		c := &pod.Status.ContainerStatuses[i]
		if t := ended(c); t != nil {
			how := fmt.Sprintf("exit code %d", t.ExitCode)
			if t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed" {
				how = t.Reason + ", " + how
			}
			what := "has ended (" + how + ")"
			if c.RestartCount > 0 {
				what = "keeps ending (" + how + ", " + plural(int(c.RestartCount), "restart") + ")"
			}
			if words := lastWords(t.Message); words != "" {
				what += ": " + report.Shorten(words, mostWords)
			}
			return what
		}
		if w := c.State.Waiting; w != nil {
			return "waits: " + strings.TrimSpace(w.Reason+" "+w.Message)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "is not scheduled: " + c.Message
		}
		if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue {
			return strings.TrimSuffix("is not ready: "+c.Message, ": ")
		}
	}
	return ""
}
