package validators

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// unusableExemption finds values that an injector refuses or misreads.
func unusableExemption() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF111", Name: "unusable-exemption", Severity: report.Error, Otherwise: "warning where the value is misread, or comes too late to be read",
			Title: "An annotation's value that the injector refuses or misreads",
			Why: "Injectors read their lists strictly: one space, a bare address or a comma too many, and the whole pod is denied (\"invalid annotations\"), or the init " +
				"container that reads the value fails when it runs.",
			Fix: "Write what the message says. Address ranges: 10.96.7.7/32,192.0.2.0/24. Ports: 8200,3306.",
		},
		check: func(i *inspection) {
			if len(i.target.Meta.Annotations) == 0 {
				return
			}
			var wrong []string // sorted, so that findings have an order
			for key, value := range i.target.Meta.Annotations {
				if a, ok := i.plan.Env.Catalogue.Annotation(key); ok && a.Check != nil && a.Check(value) != nil {
					wrong = append(wrong, key)
				}
			}
			slices.Sort(wrong)
			for _, key := range wrong {
				i.unusable(key, wrong)
			}
			if value, ok := i.target.Meta.Annotations[config.ExemptUntilAnnotation]; ok {
				if _, err := config.ParseUntil(value); err != nil {
					i.findAs(report.Warning, nil, "annotation "+config.ExemptUntilAnnotation+": "+err.Error()+"; the exemption does not hold.",
						"Write a date: "+config.ExemptUntilAnnotation+`: "2027-01-31"`)
				}
			}
			if value, ok := i.target.Meta.Annotations[injectors.InitNetworkAnnotation]; ok {
				if _, err := injectors.ParseInitNetwork(value); err != nil {
					i.findAs(report.Warning, nil, "annotation "+injectors.InitNetworkAnnotation+": "+err.Error()+"; the entry is ignored.",
						"Write "+injectors.InitNetworkAnnotation+`: "NAME=HOST:PORT"`)
				}
			}
		},
	}
}

// unusable reports one of the annotations that are wrong.
func (i *inspection) unusable(key string, wrong []string) {
	a, _ := i.plan.Env.Catalogue.Annotation(key)
	value := i.target.Meta.Annotations[key]
	reader, err := i.reader(a), a.Check(value)
	if reader == nil {
		return
	}
	severity, happens := i.misread(reader, a, value)
	if a.Denied {
		severity, happens = i.denied(reader)
	}
	message, fix := "annotation "+key+": "+err.Error()+"; "+happens, i.corrected(a, value, err)
	if f := (report.Finding{Code: i.rule.Code, Object: i.name(), Message: message, Fix: fix}); len(f.Text()) > report.MaxRunes {
		fix = strings.Replace(fix, key+": ", "", 1) // it has been named
	}
	if severity == report.Error && i.certainly(reader, a, wrong) {
		i.add(i.configured(severity), nil, message, fix) // whatever else is in doubt
		return
	}
	i.findAs(severity, nil, message, fix)
}

// certainly tells whether a value that is the end of the pod, certainly is: its injector will refuse it; what reads it is in the
// pod; or nothing is in doubt but for the sake of the annotations that are wrong.
func (i *inspection) certainly(reader *injectors.Injector, a *injectors.Annotation, wrong []string) bool {
	if a.Denied {
		return i.certainlyCalled(reader)
	}
	m := i.plan.Mesh(reader)
	return !m.Coming && !m.Again || i.plan.Without(wrong).Certain()
}

// denied says what becomes of a pod with a value that its injector refuses.
func (i *inspection) denied(reader *injectors.Injector) (severity report.Severity, happens string) {
	switch m := i.plan.Mesh(reader); {
	case m != nil && m.Late && !m.Coming && !m.Again:
		return report.Error, "the node's CNI plugin refuses the pod."
	case reader.Marked(i.target) && (m == nil || !m.Reads()):
		return report.Warning, tooLateFor(reader)
	}
	return report.Error, reader.Title + " denies the pod."
}

// misread says what becomes of a pod with a value that nobody refuses.
func (i *inspection) misread(reader *injectors.Injector, a *injectors.Annotation, value string) (severity report.Severity, happens string) {
	happens = reader.Title + " fails on it, or ignores it."
	m := i.plan.Mesh(reader)
	if m == nil {
		return report.Warning, happens
	}
	read := injectors.Yes
	if !m.Reads() {
		read = i.rendered(m, a, value)
	}
	switch {
	case read == injectors.No:
		return report.Warning, tooLateFor(reader)
	case read == injectors.Yes && a.Breaks != nil && a.Breaks(value):
		return report.Error, i.redirecting(m) + " fails on it: the pod never starts."
	}
	return report.Warning, happens
}

func tooLateFor(reader *injectors.Injector) string {
	return "it came after " + reader.Title + " had run, and has no effect."
}

// certainlyCalled tells whether the injector's webhook will be called for the pod, and will not leave it alone.
func (i *inspection) certainlyCalled(injector *injectors.Injector) bool {
	return !injector.Marked(i.target) && slices.ContainsFunc(i.target.Namespace.Hooks, func(h *injectors.Hook) bool {
		return h.Injector == injector && h.Matches(i.target.Meta.Labels) == injectors.Yes && injector.Wants(i.target, h.Settings.OrUnknown()) == injectors.Yes
	})
}

// redirecting names who makes the redirect.
func (i *inspection) redirecting(m *injectors.Mesh) string {
	for k := range i.plan.Inits {
		if s := &i.plan.Inits[k]; s.Injector == m.Injector && s.Role == injectors.Installer {
			return `"` + report.Shorten(s.Name, 40) + `"`
		}
	}
	return "the node's CNI plugin"
}

// rendered tells whether what the mesh's webhook wrote when it ran has the entries of the value in it. Unknown where there is none
// that one could look for.
func (i *inspection) rendered(m *injectors.Mesh, a *injectors.Annotation, value string) injectors.Tri {
	if a.Means == injectors.Opaque && a.Breaks == nil {
		return injectors.Unknown
	}
	written, answer := i.written(m), injectors.Unknown
	for entry := range strings.SplitSeq(value, cmp.Or(a.Separator, ",")) {
		entry = strings.TrimSpace(entry)
		switch {
		case !strings.ContainsAny(entry, "0123456789"): // * is in many places
		case !slices.ContainsFunc(written, func(text string) bool { return holds(text, entry) }):
			return injectors.No
		default:
			answer = injectors.Yes
		}
	}
	return answer
}

// written is what the mesh's webhook wrote: arguments and environment of its init containers, and annotations of its own.
func (i *inspection) written(m *injectors.Mesh) []string {
	var out []string
	for k := range i.plan.Inits {
		c := i.plan.Container(&i.plan.Inits[k])
		if c == nil || i.plan.Inits[k].Injector != m.Injector {
			continue
		}
		out = append(out, c.Args...)
		for _, e := range c.Env {
			out = append(out, e.Value)
		}
	}
	for k := range m.Injector.Annotations {
		if a := &m.Injector.Annotations[k]; a.Means == injectors.Opaque && a.Check == nil {
			out = append(out, i.target.Annotation(a.Key))
		}
	}
	return out
}

// holds tells whether the entry of a list is in the text, and is not a part of another one.
func holds(text, entry string) bool {
	part := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("./:-_*", c) >= 0
	}
	for from := 0; ; from++ {
		at := strings.Index(text[from:], entry)
		if at < 0 {
			return false
		}
		from += at
		end := from + len(entry)
		if (from == 0 || !part(text[from-1])) && (end == len(text) || !part(text[end])) {
			return true
		}
	}
}

// reader returns the injector that reads the annotation, where it acts, or acted, on this pod.
func (i *inspection) reader(a *injectors.Annotation) *injectors.Injector {
	for _, injector := range i.plan.Env.Catalogue.All {
		if slices.ContainsFunc(injector.Annotations, func(b injectors.Annotation) bool { return b.Key == a.Key }) && i.plan.Acts(injector) {
			return injector
		}
	}
	return nil
}

// corrected is the value as its author will have meant it, where that can be told: entries without spaces, addresses with
// their length, ranges as the injector writes them.
func (i *inspection) corrected(a *injectors.Annotation, value string, err error) string {
	if fixed, ok := repaired(a, value); ok {
		return "Write " + a.Key + `: "` + fixed + `"`
	}
	switch {
	case errors.Is(err, injectors.ErrEmptyList):
		return "Remove the annotation."
	case errors.Is(err, injectors.ErrManyPorts):
		return "List at most 15 ports (a range counts as two)."
	}
	switch a.Means {
	case injectors.ExcludeCIDRs, injectors.IncludeCIDRs:
		return "Write address ranges, such as 10.96.7.7/32,192.0.2.0/24."
	case injectors.ExcludePorts, injectors.IncludePorts, injectors.ExcludeInbound, injectors.IncludeInbound:
		return "Write ports, such as 8200,3306."
	case injectors.ExcludeUIDs:
		return "Write users, such as " + a.AddUID("100", 200) + "."
	case injectors.Opaque:
	}
	return "Correct the value, or remove the annotation."
}
