package validators

import (
	"slices"
	"strings"

	"holdfast.dev/holdfast/report"
)

// discoveryAddress finds proxies that are pointed at another control plane than their own.
func discoveryAddress() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF151", Name: "discovery-address", Severity: report.Warning,
			Title: "The proxy is pointed at another control plane than the one that injects it",
			Why: "A pod can tell its proxy where the control plane is. Where that is not the control plane whose webhook injects the pod, the proxy gets no certificate or no " +
				"configuration (\"gRPC config stream closed\", \"no healthy upstream\") and never becomes ready; left behind by an upgrade or a move, it works until the old one is gone.",
			Fix: "Take the address out of the pod's annotations, or write the right one.",
		},
		check: func(i *inspection) {
			for k := range i.plan.Meshes {
				m := &i.plan.Meshes[k]
				if m.Injector.Discovery == nil || m.Settings == nil {
					continue
				}
				if said, want := m.Injector.Discovery(i.target, m.Settings); said != "" && want != "" && whole(said) != whole(want) {
					i.find(nil, "the pod points "+m.Injector.Title+"'s proxy at "+report.Shorten(said, 60)+"; its control plane is at "+report.Shorten(want, 60)+".",
						i.repoint(said, want))
				}
			}
		},
	}
}

// whole writes an address out, so that two spellings of one Service are the same.
func whole(address string) string {
	address = strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://"))
	return strings.Replace(address, ".svc.cluster.local:", ".svc:", 1)
}

// repoint is the annotation in which the address stands, with the right one in it.
func (i *inspection) repoint(said, want string) string {
	var keys []string // sorted, so that there is one answer
	for key, value := range i.target.Meta.Annotations {
		if _, ok := i.plan.Env.Catalogue.Annotation(key); ok && strings.Contains(value, said) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return "Take the address out of the pod, or make it " + want
	}
	slices.Sort(keys)
	value := strings.ReplaceAll(i.target.Meta.Annotations[keys[0]], said, want)
	switch {
	case strings.Contains(value, "\n"):
		return "In annotation " + keys[0] + " write " + want
	case !strings.Contains(value, `"`):
		return i.annotate(keys[0], value)
	}
	return "Annotate " + i.annotated() + ": " + keys[0] + ": '" + strings.ReplaceAll(value, "'", "''") + "'"
}
