package validators

import (
	"slices"
	"strings"

	"holdfast.dev/holdfast/report"
)

// misplacedAnnotation finds annotations on the workload or the namespace, where nothing reads them.
func misplacedAnnotation() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF112", Name: "misplaced-annotation", Severity: report.Warning,
			Title: "An annotation where nothing reads it",
			Why:   "Injectors read annotations on pods. On the metadata of a Deployment, or on a namespace, most of them do nothing, and nothing says so.",
			Fix:   "Move the annotation to spec.template.metadata.annotations.",
		},
		check: func(i *inspection) {
			if w := i.target.Workload; w != nil {
				i.misplaced(w.Annotations, "the "+i.target.Kind, "Move it to "+i.path()+"metadata.annotations.")
			}
			if i.target.Template() || len(i.plan.Meshes) > 0 {
				i.misplaced(i.target.Namespace.Annotations, "namespace "+i.target.Namespace.Name, "Move it to the pod, or the pod template.")
			}
		},
	}
}

func (i *inspection) misplaced(annotations map[string]string, where, fix string) {
	var keys []string // sorted, so that findings have an order
	for key := range annotations {
		a, ok := i.plan.Env.Catalogue.Annotation(key)
		if !ok || a.Namespaced && strings.HasPrefix(where, "namespace") {
			continue
		}
		if _, also := i.target.Meta.Annotations[key]; !also {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		i.find(nil, "annotation "+key+" is on "+where+", where no injector reads it.", fix)
	}
}
