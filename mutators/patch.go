package mutators

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
)

// operation is one operation of an RFC 6902 patch.
type operation struct {
	Op, From, Path string
	// Text is the value of an added annotation, Value any other.
	Text  string
	Value any
}

// MarshalJSON implements json.Marshaler.
func (o *operation) MarshalJSON() ([]byte, error) {
	value := o.Value
	if value == nil && o.Op == "add" {
		value = o.Text
	}
	return json.Marshal(struct {
		Op    string `json:"op"`
		From  string `json:"from,omitempty"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}{o.Op, o.From, o.Path, value})
}

// Patch is what Holdfast changes in an object: explicit operations, none of which touches anything that they do not name.
type Patch struct {
	operations []operation
}

// Empty tells that there is nothing to change.
func (p Patch) Empty() bool { return len(p.operations) == 0 }

// JSON returns the patch as RFC 6902 wants it, nil when it is empty.
func (p Patch) JSON() []byte {
	if p.Empty() {
		return nil
	}
	out, err := json.Marshal(p.operations)
	if err != nil { // strings and numbers only: cannot happen
		return nil
	}
	return out
}

// change is one thing that a remedy does to a pod.
type change struct {
	annotation string // set this annotation to value
	value      string

	move     bool // of an init container
	from, to int

	container int    // of init container:
	restart   bool   // restartPolicy: Always
	group     *int64 // securityContext.runAsGroup
}

// root is where the pod lies in an object of that kind.
func root(kind string) string {
	switch kind {
	case "Pod":
		return ""
	case "CronJob":
		return "/spec/jobTemplate/spec/template"
	}
	return "/spec/template"
}

// append adds the operations for a change to the pod as it is before the change.
func (p *Patch) append(t *injectors.Target, c change) {
	if p.operations == nil {
		p.operations = make([]operation, 0, 4)
	}
	at := root(t.Kind)
	init := at + "/spec/initContainers/"
	switch {
	case c.annotation != "":
		if t.Meta.Annotations == nil {
			if at != "" {
				// A template may lack its metadata altogether; adding to what is not there is an error, adding what is
				// there would replace it. Typed, the two look alike only when nothing is set in it.
				p.metadata(t, at)
			}
			p.operations = append(p.operations, operation{Op: "add", Path: at + "/metadata/annotations", Value: map[string]string{c.annotation: c.value}})
			return
		}
		p.annotate(at+"/metadata/annotations/"+escape(c.annotation), c.value)
	case c.move:
		p.operations = append(p.operations, operation{Op: "move", From: init + strconv.Itoa(c.from), Path: init + strconv.Itoa(c.to)})
	case c.restart:
		p.operations = append(p.operations, operation{Op: "add", Path: init + strconv.Itoa(c.container) + "/restartPolicy", Value: corev1.ContainerRestartPolicyAlways})
	case c.group != nil:
		path := init + strconv.Itoa(c.container) + "/securityContext"
		if t.Spec.InitContainers[c.container].SecurityContext == nil {
			p.operations = append(p.operations, operation{Op: "add", Path: path, Value: map[string]int64{"runAsGroup": *c.group}})
			return
		}
		p.operations = append(p.operations, operation{Op: "add", Path: path + "/runAsGroup", Value: *c.group})
	}
}

// annotate sets an annotation; what an earlier operation has set is set anew.
func (p *Patch) annotate(path, value string) {
	for i := range p.operations {
		if p.operations[i].Path == path {
			p.operations[i].Text = value
			return
		}
	}
	p.operations = append(p.operations, operation{Op: "add", Path: path, Text: value})
}

func (p *Patch) metadata(t *injectors.Target, at string) {
	m := t.Meta
	if m.Name == "" && len(m.Labels) == 0 && m.GenerateName == "" && m.Namespace == "" && m.CreationTimestamp.IsZero() && len(m.Finalizers) == 0 {
		p.operations = append(p.operations, operation{Op: "add", Path: at + "/metadata", Value: struct{}{}})
	}
}

// escape writes a key as RFC 6901 wants it in a path.
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// apply returns the target with the change made. What it was given stays as it was; what the change does not touch is
// shared.
func apply(t *injectors.Target, c change) *injectors.Target {
	out := *t
	switch {
	case c.annotation != "":
		meta := *t.Meta
		meta.Annotations = make(map[string]string, len(t.Meta.Annotations)+2)
		maps.Copy(meta.Annotations, t.Meta.Annotations)
		meta.Annotations[c.annotation] = c.value
		out.Meta = &meta
		return &out
	case c.move:
		spec := *t.Spec
		spec.InitContainers = moved(t.Spec.InitContainers, c.from, c.to)
		out.Spec = &spec
		return &out
	}
	spec := *t.Spec
	spec.InitContainers = slices.Clone(t.Spec.InitContainers)
	container := &spec.InitContainers[c.container]
	if c.restart {
		always := corev1.ContainerRestartPolicyAlways
		container.RestartPolicy = &always
	}
	if c.group != nil {
		security := corev1.SecurityContext{}
		if container.SecurityContext != nil {
			security = *container.SecurityContext
		}
		security.RunAsGroup = c.group
		container.SecurityContext = &security
	}
	out.Spec = &spec
	return &out
}

func moved(list []corev1.Container, from, to int) []corev1.Container {
	out := make([]corev1.Container, 0, len(list))
	out = append(out, list[:from]...)
	out = append(out, list[from+1:]...)
	return slices.Insert(out, to, list[from])
}
