package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/test/kernel"
)

// shape is what admission made of a pod, as far as the demo speaks of it.
type shape struct {
	inits, mains []string // names in order; a star marks a native sidecar
	annotations  map[string]string
	reach        map[string]string // by name without star: what became of a connection to Vault; nil where nobody tried
}

// shapeOf reads a pod.
func shapeOf(pod *corev1.Pod) shape {
	s := shape{annotations: pod.Annotations}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		name := c.Name
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			name += "*"
		}
		s.inits = append(s.inits, name)
	}
	for i := range pod.Spec.Containers {
		s.mains = append(s.mains, pod.Spec.Containers[i].Name)
	}
	return s
}

// applied are the remedies that the pod carries, "" for none.
func (s shape) applied() string { return s.annotations[mutators.AppliedAnnotation] }

// order is the whole order in one line, for comparisons.
func (s shape) order() string {
	return strings.Join(s.inits, ", ") + " | " + strings.Join(s.mains, ", ")
}

// measured takes over what the kernel said.
func (s *shape) measured(results []kernel.Result) {
	s.reach = map[string]string{}
	for _, r := range results {
		s.reach[r.Container] = map[kernel.Verdict]string{kernel.Direct: "direct", kernel.Proxied: "by proxy", kernel.Refused: "REFUSED"}[r.Verdict]
	}
}

func (s shape) reached(name string) string { return s.reach[strings.TrimSuffix(name, "*")] }

// added returns what is in annotations and not, or with another value, in before: lines of "key: value", sorted.
func added(annotations, before map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if was, ok := before[key]; !ok || was != annotations[key] {
			out = append(out, key+": "+annotations[key])
		}
	}
	return out
}

// columns of the table of containers.
const (
	kindColumn  = 8
	nameColumn  = 20
	reachColumn = 14
)

// table writes the containers of a pod in the order in which they start.
func (p *page) table(s shape) {
	p.line("")
	p.line(fmt.Sprintf("  %-*s%-*s%s", kindColumn, "", nameColumn, "container", p.reachHead(s)))
	for _, list := range []struct {
		kind  string
		names []string
	}{{"init", s.inits}, {"main", s.mains}} {
		for i, name := range list.names {
			p.line("  " + p.kind(list.kind, i) + p.cell(s, name))
		}
	}
}

// tables writes the containers of one pod twice, side by side: without Holdfast, and as it was admitted.
func (p *page) tables(before, after shape) {
	p.line("")
	p.line(fmt.Sprintf("  %-*s%-*s%s", kindColumn, "", nameColumn+reachColumn, "without Holdfast", "as admitted"))
	for _, list := range []struct {
		kind          string
		before, after []string
	}{{"init", before.inits, after.inits}, {"main", before.mains, after.mains}} {
		for i := range max(len(list.before), len(list.after)) {
			line := "  " + p.kind(list.kind, i)
			if i < len(list.before) {
				line += p.cell(before, list.before[i])
			} else {
				line += strings.Repeat(" ", nameColumn+reachColumn)
			}
			if i < len(list.after) {
				line += p.cell(after, list.after[i]) + p.styled(moved(list.before, list.after, i), green)
			}
			p.line(line)
		}
	}
}

func (p *page) reachHead(s shape) string {
	if s.reach == nil {
		return ""
	}
	return "reaches Vault?"
}

func (p *page) kind(kind string, i int) string {
	return fmt.Sprintf("%-*s", kindColumn, fmt.Sprintf("%s %d", kind, i+1))
}

func (p *page) cell(s shape, name string) string {
	reach, st := s.reached(name), plain
	switch reach {
	case "REFUSED":
		st = red
	case "direct", "by proxy":
		st = green
	}
	return fmt.Sprintf("%-*s%s%s", nameColumn, name, p.styled(reach, st), strings.Repeat(" ", max(0, reachColumn-len(reach))))
}

// moved says where the i-th container of after was before, where that was a later place.
func moved(before, after []string, i int) string {
	was := slices.Index(before, after[i])
	if was <= i {
		return ""
	}
	return fmt.Sprintf("<- was %d", was+1)
}

// additions writes the annotations that were added or changed, below a title.
func (p *page) additions(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	p.line("")
	p.line("  " + title)
	for _, l := range lines {
		p.entry("", l, kindColumn)
	}
}
