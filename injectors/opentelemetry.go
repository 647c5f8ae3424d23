package injectors

import "strings"

// Annotations of the OpenTelemetry operator (opentelemetry-operator, internal/instrumentation/annotation.go and pkg/sidecar at
// 0.158). Each is read on the pod and on its namespace.
const (
	otelInstrument = "instrumentation.opentelemetry.io/"
	otelContainers = otelInstrument + "container-names"
	otelSidecar    = "sidecar.opentelemetry.io/inject"
	otelInjected   = "sidecar.opentelemetry.io/injected" // a label
)

// otelLanguage is one kind of instrumentation: what asks for it, and what names the containers that it is for.
type otelLanguage struct{ inject, containers string }

// OpenTelemetry is the OpenTelemetry operator: a collector beside the app (a native sidecar behind the other init containers from
// Kubernetes 1.29 on, with its readiness probe as startup probe), and init containers that copy libraries. Whether a collector
// needs the network to become ready is in its own configuration; it is not taken for a container that does. What is added matters
// to no plan, and whether it is depends on objects that are not read: there is no Inject.
func OpenTelemetry() *Injector {
	var languages []otelLanguage
	for _, name := range [...]string{"java", "nodejs", "python", "dotnet", "go", "sdk", "env", "apache-httpd", "php", "ruby"} {
		languages = append(languages, otelLanguage{otelInstrument + "inject-" + name, otelInstrument + name + "-container-names"})
	}
	languages = append(languages, otelLanguage{otelInstrument + "inject-nginx", otelInstrument + "inject-nginx-container-names"})
	container := beginning("opentelemetry-auto-instrumentation", "otel-agent-")
	marked := func(t *Target) bool { return t.Meta.Labels[otelInjected] != "" || t.anyContainer(container) }
	asked := func(t *Target) Tri { return otelAsked(t, languages) }
	return &Injector{
		Name: "opentelemetry", Title: "OpenTelemetry",
		Facts: "opentelemetry-operator 0.158 (pkg/sidecar, internal/instrumentation); the annotations for PHP and Ruby are not verified",
		Containers: map[string]Role{
			"otc-container": Helper, "opentelemetry-auto-instrumentation*": Helper,
			"otel-agent-source-container-clone": Helper, "otel-agent-attach-*": Helper,
		},
		Owns: func(h *Hook) (string, bool) {
			return h.Service, h.Name == scaffolded && (strings.Contains(h.Configuration, "opentelemetry") ||
				strings.Contains(h.Service, "opentelemetry") || h.Labels[nameLabel] == "opentelemetry-operator")
		},
		Marked: marked,
		Wants: func(t *Target, _ *Settings) Tri {
			if marked(t) || asked(t) != Yes {
				return No
			}
			return Unknown // there may be no Instrumentation, or no OpenTelemetryCollector, of that name
		},
		Asked:               asked,
		Muddle:              func(t *Target) []Muddle { return otelMuddle(t, languages) },
		ReadsFirstContainer: func(t *Target) bool { return otelReadsFirst(t, languages) },
		Annotations:         otelAnnotations(languages),
	}
}

// otelValue is what holds of an annotation on the pod and on its namespace (annotationValue).
//
//	namespace   pod         holds
//	none        any         the pod's
//	any         none        the namespace's
//	any         not true    the pod's
//	false       true        the pod's
//	other       true        the namespace's
func otelValue(t *Target, key string) string {
	pod, namespace := t.Annotation(key), t.Namespace.Annotations[key]
	switch {
	case namespace == "":
		return pod
	case pod == "":
		return namespace
	case !strings.EqualFold(pod, "true"), strings.EqualFold(namespace, "false"):
		return pod
	}
	return namespace
}

// otelAsks tells whether the annotation asks for something: true, or the name of an object.
func otelAsks(t *Target, key string) Tri {
	value := otelValue(t, key)
	if value == "" {
		return Unknown
	}
	return TriOf(!strings.EqualFold(value, "false"))
}

func otelAsked(t *Target, languages []otelLanguage) Tri {
	if len(t.Meta.Annotations) == 0 && len(t.Namespace.Annotations) == 0 {
		return Unknown
	}
	asked := otelAsks(t, otelSidecar)
	for i := range languages {
		switch otelAsks(t, languages[i].inject) {
		case Yes:
			return Yes
		case No:
			asked = asked.Or(No)
		case Unknown:
		}
	}
	return asked
}

// otelReadsFirst: where nobody names the containers to instrument it is the first (ensureContainer in
// internal/instrumentation/sdk.go), which under hold is the mesh's proxy.
func otelReadsFirst(t *Target, languages []otelLanguage) bool {
	if len(t.Meta.Annotations) == 0 && len(t.Namespace.Annotations) == 0 {
		return false
	}
	for i := range languages {
		l := &languages[i]
		if otelAsks(t, l.inject) == Yes && otelValue(t, otelContainers) == "" && otelValue(t, l.containers) == "" {
			return true
		}
	}
	return false
}

// otelMuddle: lists of containers with other characters in them are an error, and nothing is instrumented
// (isValidContainersAnnotation in internal/instrumentation/helper.go).
func otelMuddle(t *Target, languages []otelLanguage) []Muddle {
	if otelAsked(t, languages) != Yes {
		return nil
	}
	var out []Muddle
	check := func(key string) {
		list := otelValue(t, key)
		other := func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != ','
		}
		if !strings.ContainsFunc(list, other) {
			return
		}
		out = append(out, Muddle{
			What: "annotation " + key + `: "` + list + `" has more in it than letters, digits, dashes and commas: nothing is instrumented.`,
			Fix:  "Write " + key + `: "` + strings.ReplaceAll(list, " ", "") + `"`,
		})
	}
	check(otelContainers)
	for i := range languages {
		if otelAsks(t, languages[i].inject) == Yes {
			check(languages[i].containers)
		}
	}
	return out
}

func otelAnnotations(languages []otelLanguage) []Annotation {
	known := []Annotation{{Key: otelSidecar, Namespaced: true}, {Key: otelContainers, Namespaced: true}}
	for i := range languages {
		known = append(known, Annotation{Key: languages[i].inject, Namespaced: true}, Annotation{Key: languages[i].containers, Namespaced: true})
	}
	for _, name := range [...]string{"otel-python-platform", "otel-dotnet-auto-runtime", "otel-go-auto-target-exe"} {
		known = append(known, Annotation{Key: otelInstrument + name, Namespaced: true})
	}
	return append(known, Annotation{Key: otelInstrument + "auto-injected"})
}
