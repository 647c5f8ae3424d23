package manifests

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"holdfast.dev/holdfast/config"
)

// render builds a kustomization of this directory, or one of the layers given beside it (directory to kustomization).
func render(t *testing.T, dir string, layers map[string]string) resmap.ResMap {
	t.Helper()
	files := filesys.MakeFsInMemory()
	if err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return files.WriteFile(filepath.Join("/manifests", path), data)
	}); err != nil {
		t.Fatal(err)
	}
	for name, content := range layers {
		if err := files.WriteFile(filepath.Join("/", name, "kustomization.yaml"), []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, filepath.Join("/", dir))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// all decodes the rendered objects of a kind, strictly.
func all[T any](t *testing.T, objects resmap.ResMap, kind string) []T {
	t.Helper()
	var out []T
	for _, r := range objects.Resources() {
		if r.GetKind() != kind {
			continue
		}
		data, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		var object T
		if err := yaml.UnmarshalStrict(data, &object); err != nil {
			t.Fatalf("%s %s: %v", kind, r.GetName(), err)
		}
		out = append(out, object)
	}
	return out
}

// one is all where exactly one is wanted.
func one[T any](t *testing.T, objects resmap.ResMap, kind string) T {
	t.Helper()
	found := all[T](t, objects, kind)
	if len(found) != 1 {
		t.Fatalf("%s: got %d objects, want 1", kind, len(found))
	}
	return found[0]
}

// entry is what mutating and validating webhooks have in common.
type entry struct {
	admissionregistrationv1.ValidatingWebhook
	reinvocation *admissionregistrationv1.ReinvocationPolicyType
}

// entries are those that judge; those for the probe of reachability are probes.
func entries(t *testing.T, objects resmap.ResMap) []entry {
	t.Helper()
	return slices.DeleteFunc(allEntries(t, objects), func(e entry) bool { return strings.HasPrefix(e.Name, "probe.") })
}

func probes(t *testing.T, objects resmap.ResMap) []entry {
	t.Helper()
	return slices.DeleteFunc(allEntries(t, objects), func(e entry) bool { return !strings.HasPrefix(e.Name, "probe.") })
}

func allEntries(t *testing.T, objects resmap.ResMap) []entry {
	t.Helper()
	var out []entry
	for _, w := range one[admissionregistrationv1.MutatingWebhookConfiguration](t, objects, "MutatingWebhookConfiguration").Webhooks {
		out = append(out, entry{reinvocation: w.ReinvocationPolicy, ValidatingWebhook: admissionregistrationv1.ValidatingWebhook{
			Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
			NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
			TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
		}})
	}
	for _, w := range one[admissionregistrationv1.ValidatingWebhookConfiguration](t, objects, "ValidatingWebhookConfiguration").Webhooks {
		out = append(out, entry{ValidatingWebhook: w})
	}
	return out
}

func overlays() []string {
	return []string{"manifests/overlays/cluster-wide", "manifests/overlays/opt-in"}
}

func TestEntriesAreExplicitAndNarrow(t *testing.T) {
	t.Parallel()
	for _, overlay := range overlays() {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			names := map[string]bool{}
			for _, e := range entries(t, render(t, overlay, nil)) {
				if names[e.Name] {
					t.Errorf("%s: the name is there twice", e.Name)
				}
				names[e.Name] = true
				checkExplicit(t, &e)
				checkNarrow(t, &e)
			}
			if len(names) != 8 {
				t.Errorf("got %d entries, want 8", len(names))
			}
		})
	}
}

func checkExplicit(t *testing.T, e *entry) {
	t.Helper()
	mutating, probe := strings.Contains(e.Name, ".mutate."), strings.HasPrefix(e.Name, "probe.")
	if e.FailurePolicy == nil || e.MatchPolicy == nil || e.SideEffects == nil || e.TimeoutSeconds == nil || e.NamespaceSelector == nil ||
		e.ObjectSelector == nil || e.ClientConfig.Service.Port == nil || e.ClientConfig.Service.Path == nil || mutating && e.reinvocation == nil {
		t.Errorf("%s: a field that has a default is not written out", e.Name)
	}
	if len(e.ClientConfig.CABundle) > 0 {
		t.Errorf("%s: has a caBundle", e.Name)
	}
	want := map[bool]string{true: "/mutate", false: "/validate"}[mutating]
	if probe {
		want = "/probe" + want
	}
	if *e.ClientConfig.Service.Path != want {
		t.Errorf("%s: path: got %s, want %s", e.Name, *e.ClientConfig.Service.Path, want)
	}
	for _, r := range e.Rules {
		if r.Scope == nil || *r.Scope != admissionregistrationv1.NamespacedScope {
			t.Errorf("%s: scope is not Namespaced", e.Name)
		}
		for _, word := range slices.Concat(r.APIGroups, r.APIVersions, r.Resources) {
			if strings.Contains(word, "*") || strings.Contains(word, "/") {
				t.Errorf("%s: rule names %q", e.Name, word)
			}
		}
		update := slices.Contains(r.Operations, admissionregistrationv1.Update)
		if update && (slices.Contains(r.Resources, "pods") || slices.Contains(r.Resources, "jobs")) {
			t.Errorf("%s: updates of %v", e.Name, r.Resources)
		}
		if update && len(e.MatchConditions) < 3 {
			t.Errorf("%s: an update is not limited to changes of the template of objects that stay", e.Name)
		}
		if slices.Contains(r.Resources, "pods") && len(e.MatchConditions) > 0 {
			t.Errorf("%s: conditions on pods could keep us from the second pass", e.Name)
		}
	}
}

// TestProbesAreHarmless holds that nothing but the probe's own object, in our own namespace, is ever kept out.
func TestProbesAreHarmless(t *testing.T) {
	t.Parallel()
	layers := map[string]string{
		"inner": "resources: [../manifests/overlays/opt-in]\nnamespace: other\nnamePrefix: x-\n",
		"outer": "resources: [../inner]\ncomponents: [../manifests/components/own-namespace]\n",
	}
	for dir, namespace := range map[string]string{overlays()[0]: "holdfast-system", overlays()[1]: "holdfast-system", "inner": "other", "outer": "other"} {
		all := probes(t, render(t, dir, layers))
		if len(all) != 2 || all[0].Name != config.ProbeMutate || all[1].Name != config.ProbeValidate {
			t.Fatalf("%s: got %d probes, want %s and %s", dir, len(all), config.ProbeMutate, config.ProbeValidate)
		}
		for _, e := range all {
			checkExplicit(t, &e)
			if *e.FailurePolicy != admissionregistrationv1.Fail {
				t.Errorf("%s: failurePolicy %s: the API server would not say why it cannot call", e.Name, *e.FailurePolicy)
			}
			if diff := cmp.Diff(map[string]string{config.ProbeLabel: config.ProbeLabelValue}, e.ObjectSelector.MatchLabels); diff != "" {
				t.Errorf("%s: objects (-want +got):\n%s", e.Name, diff)
			}
			if x := e.NamespaceSelector.MatchExpressions[0]; x.Key != "kubernetes.io/metadata.name" || x.Operator != "In" || !slices.Equal(x.Values, []string{namespace}) {
				t.Errorf("%s %s: namespaces: got %v, want %s alone", dir, e.Name, x, namespace)
			}
			if len(e.Rules) != 1 || !slices.Equal(e.Rules[0].Resources, []string{"configmaps"}) || !slices.Equal(e.Rules[0].Operations, []admissionregistrationv1.OperationType{admissionregistrationv1.Create}) {
				t.Errorf("%s: rules: got %v, want the creation of configmaps alone", e.Name, e.Rules)
			}
		}
	}
}

func checkNarrow(t *testing.T, e *entry) {
	t.Helper()
	out := map[string][]string{}
	for _, x := range e.NamespaceSelector.MatchExpressions {
		if x.Operator == "NotIn" {
			out[x.Key] = x.Values
		}
	}
	want := map[string][]string{
		"kubernetes.io/metadata.name":    {"kube-system", "kube-public", "kube-node-lease", "cert-manager", "holdfast-system"},
		"control-plane":                  {"true"},
		"kubernetes.azure.com/managedby": {"aks"},
		config.ModeLabel:                 {"off"},
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("%s: namespaces that are left out (-want +got):\n%s", e.Name, diff)
	}
}

func TestOptInSeesLabelledNamespacesOnly(t *testing.T) {
	t.Parallel()
	for i, overlay := range overlays() {
		for _, e := range entries(t, render(t, overlay, nil)) {
			n := 0
			for _, x := range e.NamespaceSelector.MatchExpressions {
				if x.Key == config.ModeLabel && x.Operator == "Exists" {
					n++
				}
			}
			if n != i {
				t.Errorf("%s %s: got %d expressions that the label exists, want %d", overlay, e.Name, n, i)
			}
		}
	}
}

func TestAnotherNamespaceAndAPrefix(t *testing.T) {
	t.Parallel()
	for _, overlay := range overlays() {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			objects := render(t, "inner", map[string]string{"inner": "resources: [../" + overlay + "]\nnamespace: other\nnamePrefix: x-\n"})
			for _, e := range entries(t, objects) {
				if s := e.ClientConfig.Service; s.Namespace != "other" || s.Name != "x-holdfast" {
					t.Errorf("%s: got Service %s/%s, want other/x-holdfast", e.Name, s.Namespace, s.Name)
				}
				for _, x := range e.NamespaceSelector.MatchExpressions {
					if x.Key == "kubernetes.io/metadata.name" && (!slices.Contains(x.Values, "other") || slices.Contains(x.Values, "holdfast-system")) {
						t.Errorf("%s: our own namespace is not left out: %v", e.Name, x.Values)
					}
				}
			}
			deployment := one[appsv1.Deployment](t, objects, "Deployment")
			want := []string{
				"serve", "--config=/etc/holdfast/config.yaml", "--webhook-port=9443", "--service-name", "x-holdfast", "--cert-secret", "x-holdfast-cert",
			}
			if diff := cmp.Diff(want, deployment.Spec.Template.Spec.Containers[0].Args); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			if got := one[corev1.Namespace](t, objects, "Namespace"); got.Name != "other" || got.Labels[config.ModeLabel] != "off" {
				t.Errorf("namespace: got %s, labelled %v", got.Name, got.Labels)
			}
			checkRights(t, objects)
		})
	}
}

// checkRights holds the names in roles and bindings against the objects that they are for.
func checkRights(t *testing.T, objects resmap.ResMap) {
	t.Helper()
	var names []string
	cluster := one[rbacv1.ClusterRole](t, objects, "ClusterRole")
	for _, r := range cluster.Rules {
		if slices.Contains(r.Verbs, "create") {
			t.Errorf("a right to create %v anywhere", r.Resources)
		}
	}
	rules := slices.Clone(cluster.Rules)
	for _, r := range all[rbacv1.Role](t, objects, "Role") {
		rules = append(rules, r.Rules...)
	}
	for _, r := range rules {
		names = append(names, r.ResourceNames...)
		for _, word := range slices.Concat(r.APIGroups, r.Resources, r.Verbs) {
			if strings.Contains(word, "*") {
				t.Errorf("a rule names %q", word)
			}
		}
		// Objects that are yet to be created have no name to grant rights for; these two kinds, in our own namespace.
		creates := slices.Equal(r.Verbs, []string{"create"}) && (slices.Equal(r.Resources, []string{"configmaps"}) || slices.Equal(r.Resources, []string{"events"}))
		if slices.ContainsFunc(r.Verbs, func(v string) bool { return !slices.Contains([]string{"get", "list", "watch"}, v) }) && len(r.ResourceNames) == 0 && !creates {
			t.Errorf("a right to write to any of %v", r.Resources)
		}
	}
	if diff := cmp.Diff([]string{"x-0-holdfast", "x-holdfast", "x-holdfast-cert"}, names); diff != "" {
		t.Errorf("names in rules (-want +got):\n%s", diff)
	}
	for _, b := range all[rbacv1.RoleBinding](t, objects, "RoleBinding") {
		if s := b.Subjects[0]; s.Name != "x-holdfast" || s.Namespace != "other" {
			t.Errorf("RoleBinding %s: got subject %s/%s, want other/x-holdfast", b.Name, s.Namespace, s.Name)
		}
	}
	if s := one[rbacv1.ClusterRoleBinding](t, objects, "ClusterRoleBinding").Subjects[0]; s.Name != "x-holdfast" || s.Namespace != "other" {
		t.Errorf("ClusterRoleBinding: got subject %s/%s, want other/x-holdfast", s.Namespace, s.Name)
	}
}

func TestComponentsOnTopOfAnotherNamespace(t *testing.T) {
	t.Parallel()
	objects := render(t, "outer", map[string]string{
		"inner": "resources: [../manifests/overlays/opt-in]\nnamespace: other\nnamePrefix: x-\n",
		"outer": "resources: [../inner]\ncomponents: [" +
			"../manifests/components/istio, ../manifests/components/linkerd, ../manifests/components/linkerd-cni, ../manifests/components/kuma, ../manifests/components/cert-manager]\n",
	})
	in := map[string]string{}
	for _, b := range all[rbacv1.RoleBinding](t, objects, "RoleBinding") {
		if b.RoleRef.Name == "holdfast-certificates" {
			if s := b.Subjects[0]; s.Namespace+"/"+s.Name != "other/x-holdfast" || b.Namespace != "other" {
				t.Errorf("who reads Certificates: got %s/%s in %s, want other/x-holdfast in other", s.Namespace, s.Name, b.Namespace)
			}
		}
		if b.RoleRef.Name == "holdfast-mesh-settings" {
			in[b.Namespace] = b.Subjects[0].Namespace + "/" + b.Subjects[0].Name
		}
	}
	const us = "other/x-holdfast"
	// The overlay's own binding for Istio moves with its namespace, which is what the component on top is for.
	want := map[string]string{"istio-system": us, "linkerd": us, "linkerd-cni": us, "kuma-system": us}
	for namespace, who := range want {
		if in[namespace] != who {
			t.Errorf("who reads in %s: got %q, want %q", namespace, in[namespace], who)
		}
	}
	checkCertificates(t, objects)
	for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
		metadata, _ := one[map[string]any](t, objects, kind)["metadata"].(map[string]any)
		if diff := cmp.Diff(map[string]any{"cert-manager.io/inject-ca-from": "other/holdfast-serving"}, metadata["annotations"]); diff != "" {
			t.Errorf("%s: CA from (-want +got):\n%s", kind, diff)
		}
	}
	args := one[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec.Containers[0].Args
	if !slices.Contains(args, "--cert-dir=/var/run/holdfast/cert") {
		t.Errorf("arguments: got %v, want --cert-dir", args)
	}
}

// TestNamespaceOfYourOwn leaves the Namespace out, and nothing that follows from its name.
func TestNamespaceOfYourOwn(t *testing.T) {
	t.Parallel()
	objects := render(t, "outer", map[string]string{
		"inner": "resources: [../manifests/overlays/cluster-wide]\nnamespace: other\n",
		"outer": "resources: [../inner]\ncomponents: [../manifests/components/istio, ../manifests/components/own-namespace]\n",
	})
	if got := all[corev1.Namespace](t, objects, "Namespace"); len(got) > 0 {
		t.Errorf("got Namespace %s, want none", got[0].Name)
	}
	for _, e := range entries(t, objects) {
		if s := e.ClientConfig.Service; s.Namespace != "other" {
			t.Errorf("%s: got Service in %s, want other", e.Name, s.Namespace)
		}
		for _, x := range e.NamespaceSelector.MatchExpressions {
			if want := []string{"kube-system", "kube-public", "kube-node-lease", "cert-manager", "other"}; x.Key == "kubernetes.io/metadata.name" && !slices.Equal(x.Values, want) {
				t.Errorf("%s: namespaces that are left out: got %v, want %v", e.Name, x.Values, want)
			}
		}
	}
}

// checkCertificates holds what cert-manager is asked for: a serving certificate of a CA that outlives it.
func checkCertificates(t *testing.T, objects resmap.ResMap) {
	t.Helper()
	certificates := map[string]map[string]any{}
	for _, object := range append(all[map[string]any](t, objects, "Certificate"), all[map[string]any](t, objects, "Issuer")...) {
		metadata, _ := object["metadata"].(map[string]any)
		if metadata["namespace"] != "other" {
			t.Errorf("%v %v: got namespace %v, want other", object["kind"], metadata["name"], metadata["namespace"])
		}
		if spec, _ := object["spec"].(map[string]any); object["kind"] == "Certificate" {
			certificates[fmt.Sprint(metadata["name"])] = spec
		}
	}
	serving, ca := certificates["holdfast-serving"], certificates["holdfast-ca"]
	if diff := cmp.Diff([]any{"x-holdfast.other.svc", "x-holdfast.other.svc.cluster.local"}, serving["dnsNames"]); diff != "" {
		t.Errorf("names in the certificate (-want +got):\n%s", diff)
	}
	if issuer, _ := serving["issuerRef"].(map[string]any); issuer["name"] != "holdfast-ca" || ca["isCA"] != true || ca["duration"] != "87600h" {
		t.Errorf("the serving certificate is of %v, the CA %v: want a lasting CA of its own", serving["issuerRef"], ca)
	}
}

// TestWhatTheAPIServerDefaultsIsWrittenOut holds the references in the environment, which a server-side apply after a plain
// one takes for conflicts otherwise.
func TestWhatTheAPIServerDefaultsIsWrittenOut(t *testing.T) {
	t.Parallel()
	for _, e := range one[appsv1.Deployment](t, render(t, overlays()[0], nil), "Deployment").Spec.Template.Spec.Containers[0].Env {
		if from := e.ValueFrom; from != nil && (from.FieldRef != nil && from.FieldRef.APIVersion == "" ||
			from.ResourceFieldRef != nil && from.ResourceFieldRef.Divisor.IsZero()) {
			t.Errorf("%s: a default is not written out", e.Name)
		}
	}
}

func TestOurOwnPodsStayOutOfEveryMesh(t *testing.T) {
	t.Parallel()
	pod := one[appsv1.Deployment](t, render(t, overlays()[0], nil), "Deployment").Spec.Template
	if pod.Labels["sidecar.istio.io/inject"] != "false" || pod.Annotations["linkerd.io/inject"] != "disabled" {
		t.Errorf("labels %v, annotations %v", pod.Labels, pod.Annotations)
	}
	c := pod.Spec.Containers[0].SecurityContext
	if *c.AllowPrivilegeEscalation || !*c.ReadOnlyRootFilesystem || !slices.Contains(c.Capabilities.Drop, "ALL") || !*pod.Spec.SecurityContext.RunAsNonRoot {
		t.Error("the pod asks for more than the restricted profile allows")
	}
}

func TestConfigurationLoads(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("base/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(data); err != nil {
		t.Fatal(err)
	}
}
