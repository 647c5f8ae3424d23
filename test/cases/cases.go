package cases

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

// Names of the parts.
const (
	podPart       = "pod.yaml"
	workloadPart  = "workload.yaml"
	namespacePart = "namespace.yaml"
	webhooksPart  = "webhooks.yaml"
	clusterPart   = "cluster.yaml"
	configPart    = "config.yaml"
	WantPart      = "want"
	PatchPart     = "patch.json"
)

func parts() []string {
	return []string{podPart, workloadPart, namespacePart, webhooksPart, clusterPart, configPart, WantPart, PatchPart}
}

// Now is the time in every case.
func Now() time.Time { return time.Date(2027, time.January, 15, 12, 0, 0, 0, time.UTC) }

// Case is one fixture, read.
type Case struct {
	File string // as given
	Why  string

	// Raw is the object under review as JSON, and Target its typed form.
	Raw    []byte
	Target *injectors.Target
	Env    *injectors.Env
	Config *config.Config
	// Horizon says what of the plan is fact. Validating tells that the object is seen by the validating webhook although
	// its webhooks are known.
	Horizon    injectors.Horizon
	Validating bool

	archive *txtar.Archive
}

// Read loads the case in a file.
func Read(file string) (*Case, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c.File = file
	return c, nil
}

// Parse loads a case.
func Parse(data []byte) (*Case, error) {
	c := &Case{archive: txtar.Parse(data)}
	if c.Why = strings.TrimSpace(string(c.archive.Comment)); c.Why == "" {
		return nil, errors.New("nothing before the first part says why the case exists")
	}
	var seen []string
	for _, f := range c.archive.Files {
		if !slices.Contains(parts(), f.Name) {
			return nil, fmt.Errorf("unknown part %s: must be one of %s", f.Name, strings.Join(parts(), ", "))
		}
		if slices.Contains(seen, f.Name) {
			return nil, fmt.Errorf("part %s is there twice", f.Name)
		}
		seen = append(seen, f.Name)
	}
	return c, c.load()
}

// Part returns the content of a part, nil where the case has none.
func (c *Case) Part(name string) []byte {
	for _, f := range c.archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

func (c *Case) load() error {
	var cluster Cluster
	if err := yaml.UnmarshalStrict(c.Part(clusterPart), &cluster); err != nil {
		return fmt.Errorf("%s: %w", clusterPart, err)
	}
	configuration, err := config.Load(c.Part(configPart))
	if err != nil {
		return fmt.Errorf("%s: %w", configPart, err)
	}
	c.Config = configuration
	c.Env = &injectors.Env{
		Catalogue: configuration.Catalogue(), Addresses: configuration.Addresses(), InitNetwork: configuration.KnownInits(), Now: Now,
	}
	namespace, err := c.namespace(&cluster)
	if err != nil {
		return err
	}
	if err := cluster.services(c.Env); err != nil {
		return err
	}
	if err := c.object(namespace); err != nil {
		return err
	}
	return c.horizon(cluster.At)
}

func (c *Case) namespace(cluster *Cluster) (*injectors.Namespace, error) {
	var meta metav1.PartialObjectMetadata
	if err := yaml.UnmarshalStrict(c.Part(namespacePart), &meta); err != nil {
		return nil, fmt.Errorf("%s: %w", namespacePart, err)
	}
	n := &injectors.Namespace{Name: meta.Name, Labels: meta.Labels, Annotations: meta.Annotations}
	if c.Part(namespacePart) == nil {
		n.Name, n.Labels = "shop", map[string]string{"istio-injection": "enabled"}
	}
	if n.Name == "" {
		return nil, fmt.Errorf("%s: metadata.name is missing", namespacePart)
	}
	if c.Part(webhooksPart) == nil {
		return n, nil
	}
	all, err := hooks(c.Part(webhooksPart))
	if err != nil {
		return nil, err
	}
	src, err := cluster.sources(c.Config.MeshNamespaces)
	if err != nil {
		return nil, err
	}
	if c.Part(namespacePart) == nil && !slices.ContainsFunc(all, selectsInjection) {
		n.Labels = nil
	}
	c.Env.Catalogue.Identify(all, src, c.Config.Override)
	n.Hooks, n.Registered = injectors.In(all, n.Labels), all
	return n, nil
}

// selectsInjection tells whether the webhook looks for the label that the namespace of a case has where it has none of its own.
func selectsInjection(h *injectors.Hook) bool {
	wants, _ := h.Namespaces.Requirements()
	return slices.ContainsFunc(wants, func(r labels.Requirement) bool { return r.Key() == "istio-injection" })
}

func (c *Case) object(namespace *injectors.Namespace) error {
	pod, workload := c.Part(podPart), c.Part(workloadPart)
	if (pod == nil) == (workload == nil) {
		return fmt.Errorf("want either %s or %s", podPart, workloadPart)
	}
	part, data := podPart, pod
	if workload != nil {
		part, data = workloadPart, workload
	}
	raw, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return fmt.Errorf("%s: %w", part, err)
	}
	c.Raw = raw
	if c.Target, err = decode(raw, namespace, yaml.UnmarshalStrict); err != nil {
		return fmt.Errorf("%s: %w", part, err)
	}
	return nil
}

func (c *Case) horizon(at string) error {
	switch at {
	case "", "mutate":
	case "validate":
		c.Validating = true
	default:
		return fmt.Errorf("%s: at: %q: want mutate or validate", clusterPart, at)
	}
	switch {
	case c.Part(webhooksPart) == nil, c.Validating:
		c.Horizon = injectors.Fact
	case c.Target.Template():
		c.Horizon = injectors.All
	default:
		c.Horizon = injectors.Rest
	}
	return nil
}

// Plan makes the plan of the case.
func (c *Case) Plan() *injectors.Plan { return injectors.New(c.Target, c.Env, c.Horizon) }

// Decode returns the target for another form of the case's object: the same one after a patch, say. Fields that the typed
// form does not know are passed over.
func (c *Case) Decode(raw []byte) (*injectors.Target, error) {
	return decode(raw, c.Target.Namespace, func(data []byte, into any, _ ...yaml.JSONOpt) error { return json.Unmarshal(data, into) })
}

func decode(raw []byte, namespace *injectors.Namespace, unmarshal func([]byte, any, ...yaml.JSONOpt) error) (*injectors.Target, error) {
	var kind metav1.TypeMeta
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	if kind.Kind == "" || kind.Kind == "Pod" {
		pod := &corev1.Pod{}
		if err := unmarshal(raw, pod); err != nil {
			return nil, err
		}
		return injectors.PodTarget(pod, namespace), nil
	}
	workload, ok := workloads()[kind.Kind]
	if !ok {
		return nil, fmt.Errorf("kind %q is no workload", kind.Kind)
	}
	if err := unmarshal(raw, workload); err != nil {
		return nil, err
	}
	return injectors.WorkloadTarget(workload, namespace)
}

func workloads() map[string]runtime.Object {
	return map[string]runtime.Object{
		"Deployment": &appsv1.Deployment{}, "StatefulSet": &appsv1.StatefulSet{}, "DaemonSet": &appsv1.DaemonSet{}, "ReplicaSet": &appsv1.ReplicaSet{},
		"ReplicationController": &corev1.ReplicationController{}, "Job": &batchv1.Job{}, "CronJob": &batchv1.CronJob{},
	}
}
