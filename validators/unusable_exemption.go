package validators

import (
	"net/netip"
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
			Code: "HF111", Name: "unusable-exemption", Severity: report.Error,
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
				i.unusable(key, i.target.Meta.Annotations[key])
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

func (i *inspection) unusable(key, value string) {
	a, _ := i.plan.Env.Catalogue.Annotation(key)
	reader, err := i.reader(a), a.Check(value)
	if reader == nil {
		return
	}
	severity, happens := report.Error, reader.Title+" denies the pod."
	switch m := i.plan.Mesh(reader); {
	case !a.Denied:
		severity, happens = report.Warning, reader.Title+" fails on it or ignores it when the pod starts."
	case m != nil && m.Late && !m.Coming && !m.Again:
		happens = "the node's CNI plugin refuses to start the pod."
	case reader.Marked(i.target) && (m == nil || !m.Reads()):
		severity, happens = report.Warning, "it came after "+reader.Title+" had run, and has no effect."
	}
	i.findAs(severity, nil, "annotation "+key+": "+err.Error()+"; "+happens, i.corrected(a, value))
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
// their length.
func (i *inspection) corrected(a *injectors.Annotation, value string) string {
	var list []string
	for entry := range strings.SplitSeq(value, ",") {
		entry = strings.TrimSpace(entry)
		if addr, err := netip.ParseAddr(entry); err == nil {
			entry = netip.PrefixFrom(addr, addr.BitLen()).String()
		}
		if entry != "" {
			list = append(list, entry)
		}
	}
	if fixed := strings.Join(list, ","); fixed != "" && a.Check(fixed) == nil {
		return "Write " + a.Key + `: "` + fixed + `"`
	}
	switch a.Means {
	case injectors.ExcludeCIDRs, injectors.IncludeCIDRs:
		return "Write address ranges: 10.96.7.7/32,192.0.2.0/24."
	case injectors.ExcludePorts, injectors.IncludePorts, injectors.ExcludeInbound, injectors.IncludeInbound:
		return "Write single ports: 8200,3306."
	case injectors.ExcludeUIDs:
		return "Write users: " + a.AddUID("100", 200)
	case injectors.Opaque:
	}
	return "Correct the value, or remove the annotation."
}
