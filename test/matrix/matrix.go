// Package matrix pairs every mode of every mesh with every agent that dials while the pod starts, in both orders of their
// webhooks' names, and says of each pair whether the pod starts and what Holdfast does about it. docs/matrix.md is printed
// from it; its tests hold it against an independent statement of the walk, against the pods as the injectors make them, and
// against the kernel, follow the advice of its refusals, and judge it as every kind of workload.
//
// What a pair is made of lies in the injectors' folders of cases, in files named matrix.yaml: a mesh lists its modes, an
// agent the ways in which it is asked for. An injector without such a file has no part in the matrix.
package matrix

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/mutators"
	"holdfast.dev/holdfast/report"
	"holdfast.dev/holdfast/test/cases"
	"holdfast.dev/holdfast/validators"
)

// File is the name of the files that take part.
const File = "matrix.yaml"

// Part is such a file.
type Part struct {
	Modes  []Mode  `json:"modes,omitempty"`
	Agents []Agent `json:"agents,omitempty"`
}

// Setup is what a cluster, a namespace and a pod look like for one side of a pair.
type Setup struct {
	Namespace metav1.ObjectMeta `json:"namespace,omitzero"` // labels and annotations
	Pod       metav1.ObjectMeta `json:"pod,omitzero"`       // labels and annotations
	Cluster   map[string]any    `json:"cluster,omitempty"`  // as in cluster.yaml of a case
	Config    map[string]any    `json:"config,omitempty"`   // as in config.yaml of a case
}

// Mode is one way in which a mesh is installed.
type Mode struct {
	Injector string `json:"-"`
	Name     string `json:"name"` // init container; CNI; native, CNI
	Setup    `json:",inline"`
	// CNI and Native name the mode for whoever plays it; InitFirst that the init container goes before all others.
	CNI       bool   `json:"cni,omitempty"`
	Native    bool   `json:"native,omitempty"`
	InitFirst bool   `json:"initFirst,omitempty"`
	Variant   string `json:"variant,omitempty"` // of kernel.Variants
	// Open tells that nothing is redirected, although the webhook injects; Bare that it does not touch the pod at all.
	Open bool `json:"open,omitempty"`
	Bare bool `json:"bare,omitempty"`
	// Hold is the annotation that makes the app wait for the proxy, on a pod that does not say and of which the mesh does not
	// see to it by itself; nil where no annotation does.
	Hold *Annotation `json:"hold,omitempty"`
	// ByMark tells that the node plugin leaves a pod alone that has lost the annotations of its injection.
	ByMark bool `json:"byMark,omitempty"`
	// Validates tells that an init container of the mesh ends a pod that nobody has redirected.
	Validates bool `json:"validates,omitempty"`
	// Unsure tells that the product does not know, and cannot, what becomes of pods in this mode.
	Unsure bool `json:"unsure,omitempty"`
}

// Annotation is a key and its value.
type Annotation struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Agent is one way in which an agent is asked for.
type Agent struct {
	Injector string `json:"-"`
	Name     string `json:"name"`
	Setup    `json:",inline"`
	// Adds is the init container that its webhook adds, First that it goes before all others, Mark what else it leaves on the
	// pod. Where Adds is nil it wraps the user's init container: with this command.
	Adds  *corev1.Container `json:"adds,omitempty"`
	First bool              `json:"first,omitempty"`
	Mark  corev1.Pod        `json:"mark,omitzero"`
	Wraps []string          `json:"wraps,omitempty"`
	// Brings is a further init container that it puts before all others: what it wraps with, or what logs in.
	Brings *corev1.Container `json:"brings,omitempty"`
	// Switch is the annotation that makes it go first.
	Switch string `json:"switch,omitempty"`
	// Env are variables of the user's init container.
	Env []corev1.EnvVar `json:"env,omitempty"`
	// To is where it connects to. Named tells that it has to resolve a name first.
	To    netip.AddrPort `json:"to"`
	Named bool           `json:"named,omitempty"`
	// Retries tells that it starts without a connection, and tries again.
	Retries bool `json:"retries,omitempty"`
	// Unsure tells that the product does not know, and cannot, what it does to a pod before it has done it.
	Unsure bool `json:"unsure,omitempty"`
	// Drops tells that its webhook takes the pod's annotations away, but for its own.
	Drops bool `json:"drops,omitempty"`
}

// Own is the user's init container in every pod of the matrix.
const Own = "migrate"

// Dialer is the name of the container that dials.
func (a *Agent) Dialer() string {
	if a.Adds == nil {
		return Own
	}
	return a.Adds.Name
}

// Pair is a mode and an agent, with the order of their webhooks.
type Pair struct {
	Mode       *Mode
	Agent      *Agent
	AgentFirst bool
}

// String names the pair as a test is named.
func (p Pair) String() string {
	order := "mesh-first"
	if p.AgentFirst {
		order = "agent-first"
	}
	return p.Mode.Injector + "/" + p.Mode.Name + "/" + p.Agent.Injector + "/" + p.Agent.Name + "/" + order
}

// Redirects tells that the mesh redirects pods in this mode.
func (m *Mode) Redirects() bool { return !m.Open && !m.Bare }

// Unsure tells whether the product cannot foretell what becomes of the pair: it knows too little of one of them, or the agent
// takes away what the mesh goes by.
func (p Pair) Unsure() bool {
	return p.Mode.Unsure || p.Agent.Unsure || p.Agent.Drops && (len(p.Mode.Pod.Annotations) > 0 || p.Mode.CNI && p.Mode.Redirects() && !p.AgentFirst)
}

// Read reads all parts below the folder of the injectors' cases, in the order of the catalogue.
func Read(testdata fs.FS) (modes []Mode, agents []Agent, err error) {
	for _, i := range injectors.Builtin() {
		data, err := fs.ReadFile(testdata, path.Join(i.Name, File))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		var part Part
		if err := yaml.UnmarshalStrict(data, &part); err != nil {
			return nil, nil, fmt.Errorf("%s/%s: %w", i.Name, File, err)
		}
		for _, m := range part.Modes {
			m.Injector = i.Name
			modes = append(modes, m)
		}
		for _, a := range part.Agents {
			a.Injector = i.Name
			agents = append(agents, a)
		}
	}
	return modes, agents, nil
}

// Pairs returns every pair.
func Pairs(modes []Mode, agents []Agent) []Pair {
	var pairs []Pair
	for i := range modes {
		for k := range agents {
			pairs = append(pairs, Pair{&modes[i], &agents[k], false}, Pair{&modes[i], &agents[k], true})
		}
	}
	return pairs
}

// Kinds are the kinds of workloads.
func Kinds() []string {
	return []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob"}
}

// TemplatePath is where a workload of the kind has its pod.
func TemplatePath(kind string) []string {
	if kind == "CronJob" {
		return []string{"spec", "jobTemplate", "spec", "template"}
	}
	return []string{"spec", "template"}
}

// workload is the pod as the template of a workload of the kind.
func workload(kind string, pod *corev1.Pod) map[string]any {
	version := "apps/v1"
	switch kind {
	case "Job", "CronJob":
		version = "batch/v1"
		pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	case "ReplicationController":
		version = "v1"
	}
	inner := map[string]any{"metadata": pod.ObjectMeta, "spec": pod.Spec}
	for _, key := range slices.Backward(TemplatePath(kind)) {
		inner = map[string]any{key: inner}
	}
	inner["apiVersion"], inner["kind"], inner["metadata"] = version, kind, map[string]any{"name": "web"}
	return inner
}

// Case returns the pair as a case: a pod that the mutating webhook sees first, or a workload.
func (p Pair) Case(kind string) (*cases.Case, error) {
	pod := p.Pod()
	var object any = pod
	part := "pod.yaml"
	if kind != "Pod" {
		part, object = "workload.yaml", workload(kind, pod)
	}
	// The API server calls webhooks in the order of their configurations' names.
	first, second := "m-mesh", "n-agent"
	if p.AgentFirst {
		first = "o-mesh"
	}
	namespace := metav1.PartialObjectMetadata{ObjectMeta: merge(p.Mode.Namespace, p.Agent.Namespace)}
	namespace.Name = "shop"
	var text strings.Builder
	text.WriteString("A pair of the matrix.\n")
	for _, add := range []struct {
		part string
		of   any
	}{
		{part, object},
		{"namespace.yaml", namespace},
		{"webhooks.yaml", []map[string]string{{"use": "holdfast"}, {"use": p.Mode.Injector, "name": first}, {"use": p.Agent.Injector, "name": second}}},
		{"cluster.yaml", combine(p.Mode.Cluster, p.Agent.Cluster)},
		{"config.yaml", combine(p.Mode.Config, p.Agent.Config)},
	} {
		data, err := yaml.Marshal(add.of)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", p, add.part, err)
		}
		text.WriteString("-- " + add.part + " --\n" + string(data))
	}
	c, err := cases.Parse([]byte(text.String()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return c, nil
}

// Pod is the pair's pod as its user writes it.
func (p Pair) Pod() *corev1.Pod {
	meta := merge(p.Mode.Pod, p.Agent.Pod)
	meta.Name = "web"
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: meta,
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: Own, Image: Own, Command: []string{"/bin/" + Own}, Env: p.Agent.Env}},
			Containers:     []corev1.Container{{Name: "app", Image: "app", Command: []string{"/bin/app"}}},
		},
	}
}

func merge(a, b metav1.ObjectMeta) metav1.ObjectMeta {
	out := metav1.ObjectMeta{Labels: map[string]string{}, Annotations: map[string]string{}}
	for _, m := range []metav1.ObjectMeta{a, b} {
		maps.Copy(out.Labels, m.Labels)
		maps.Copy(out.Annotations, m.Annotations)
	}
	return out
}

// combine merges maps, and appends lists.
func combine(a, b map[string]any) map[string]any {
	out := map[string]any{}
	maps.Copy(out, a)
	for key, value := range b {
		switch was := out[key].(type) {
		case map[string]any:
			if more, ok := value.(map[string]any); ok {
				out[key] = combine(was, more)
				continue
			}
		case []any:
			if more, ok := value.([]any); ok {
				out[key] = slices.Concat(was, more)
				continue
			}
		}
		out[key] = value
	}
	return out
}

// Verdict is what becomes of the dialer of a pair.
type Verdict uint8

// Unsure is where not enough is known of the mesh or the agent to say.
const (
	Works Verdict = iota
	Stuck
	Unsure
)

// String returns works, stuck or unsure.
func (v Verdict) String() string { return [...]string{"works", "stuck", "unsure"}[v] }

// Cell is what the product says of a pair.
type Cell struct {
	Without  Verdict  // what becomes of the dialer if nobody does anything
	Remedies []string // that enforce mode applies, but for hold
	With     Verdict  // and then; Stuck is refused
	Advice   string   // the fix of the refusal
}

// Judge says what the product foretells of the pair, by the template of a Deployment.
func (p Pair) Judge() (Cell, error) { return p.JudgeAs("Deployment") }

// JudgeAs says what it foretells by the template of another kind.
func (p Pair) JudgeAs(kind string) (Cell, error) {
	c, err := p.Case(kind)
	if err != nil {
		return Cell{}, err
	}
	plan := c.Plan()
	out := mutators.Choose(plan, c.Config, mutators.Foresight)
	cell := Cell{Without: p.verdict(plan), With: p.verdict(out.Plan)}
	for _, r := range out.Remedies {
		if r != config.Hold {
			cell.Remedies = append(cell.Remedies, r)
		}
	}
	for _, f := range validators.Judge(out.Plan, c.Config) {
		if f.Severity == report.Error {
			cell.Advice = f.Fix
			break
		}
	}
	return cell, nil
}

// verdict is what a plan says of the pair's dialer. One that it does not have is not foreseen.
func (p Pair) verdict(plan *injectors.Plan) Verdict {
	foreseen, late := false, false
	for i := range plan.Inits {
		s := &plan.Inits[i]
		_, noNetwork, noNames := plan.Late(s)
		late = late || noNetwork || noNames
		foreseen = foreseen || s.Name == p.Agent.Dialer() && s.Role == injectors.Dialer
	}
	switch {
	case !foreseen || !plan.Certain():
		return Unsure
	case late:
		return Stuck
	}
	return Works
}
