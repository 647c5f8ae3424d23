package vaultinjector_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/test/vaultinjector"
)

const prefix = "vault.hashicorp.com/"

// newPod has what a real pod has when Vault's webhook sees it: a token volume, an
// application that mounts it, an init container, and the two annotations that a pod
// cannot do without. Further annotations come in pairs, without the prefix.
func newPod(t *testing.T, annotations ...string) *corev1.Pod {
	t.Helper()
	token := []corev1.VolumeMount{{Name: "kube-api-access-x", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{
			prefix + "agent-inject": "true",
			prefix + "role":         "web",
		}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "migrate", Image: "migrate:1", VolumeMounts: token}},
			Containers:     []corev1.Container{{Name: "app", Image: "app:1", VolumeMounts: token}, {Name: "other", Image: "other:1"}},
			Volumes:        []corev1.Volume{{Name: "kube-api-access-x"}},
		},
	}
	for i := 0; i+1 < len(annotations); i += 2 {
		pod.Annotations[prefix+annotations[i]] = annotations[i+1]
	}
	return pod
}

// inject returns the pod as it is after i.
func inject(t *testing.T, i vaultinjector.Injector, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	operations, err := i.Mutate(pod, "shop")
	if err != nil {
		t.Fatalf("inject: got error %v, want none", err)
	}
	after := new(corev1.Pod)
	if err := json.Unmarshal(encode(t, apply(t, encode(t, pod), operations)), after); err != nil {
		t.Fatal(err)
	}
	return after
}

func find(t *testing.T, pod *corev1.Pod, name string) corev1.Container {
	t.Helper()
	for _, c := range append(append([]corev1.Container(nil), pod.Spec.InitContainers...), pod.Spec.Containers...) {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("container %q: got none", name)
	return corev1.Container{}
}

// layout is what a pod looks like from afar: containers in order, volumes in order, and
// who mounts the secrets.
type layout struct{ Init, Main, Volumes, Mounted []string }

func layoutOf(pod *corev1.Pod) layout {
	var l layout
	note := func(c corev1.Container) string {
		for _, m := range c.VolumeMounts {
			if strings.HasSuffix(m.Name, "-secrets") {
				l.Mounted = append(l.Mounted, c.Name)
			}
		}
		return c.Name
	}
	for _, c := range pod.Spec.InitContainers {
		l.Init = append(l.Init, note(c))
	}
	for _, c := range pod.Spec.Containers {
		l.Main = append(l.Main, note(c))
	}
	for _, v := range pod.Spec.Volumes {
		l.Volumes = append(l.Volumes, v.Name)
	}
	return l
}

func TestLayout(t *testing.T) {
	t.Parallel()
	volumes := func(added ...string) []string { return append([]string{"kube-api-access-x"}, added...) }
	for _, test := range []struct {
		name        string
		annotations []string
		want        layout
	}{
		{"the agent comes last by default", nil, layout{
			Init:    []string{"migrate", "vault-agent-init"},
			Main:    []string{"app", "other", "vault-agent"},
			Volumes: volumes("home-init", "home-sidecar", "vault-secrets"),
			Mounted: []string{"migrate", "vault-agent-init", "app", "other", "vault-agent"},
		}},
		{"agent-init-first puts it in front", []string{"agent-init-first", "true"}, layout{
			Init:    []string{"vault-agent-init", "migrate"},
			Main:    []string{"app", "other", "vault-agent"},
			Volumes: volumes("home-init", "home-sidecar", "vault-secrets"),
			Mounted: []string{"vault-agent-init", "migrate", "app", "other", "vault-agent"},
		}},
		{"without agent-pre-populate no init container sees the secrets", []string{"agent-pre-populate", "false"}, layout{
			Init:    []string{"migrate"},
			Main:    []string{"app", "other", "vault-agent"},
			Volumes: volumes("home-sidecar", "vault-secrets"),
			Mounted: []string{"app", "other", "vault-agent"},
		}},
		{"agent-pre-populate-only leaves the sidecar out", []string{"agent-pre-populate-only", "true"}, layout{
			Init:    []string{"migrate", "vault-agent-init"},
			Main:    []string{"app", "other"},
			Volumes: volumes("home-init", "vault-secrets"),
			Mounted: []string{"migrate", "vault-agent-init", "app", "other"},
		}},
		{"agent-inject-containers chooses among the containers", []string{"agent-inject-containers", "other"}, layout{
			Init:    []string{"migrate", "vault-agent-init"},
			Main:    []string{"app", "other", "vault-agent"},
			Volumes: volumes("home-init", "home-sidecar", "vault-secrets"),
			Mounted: []string{"migrate", "vault-agent-init", "other", "vault-agent"},
		}},
		{"agent-configmap brings a volume", []string{"agent-configmap", "web-agent"}, layout{
			Init:    []string{"migrate", "vault-agent-init"},
			Main:    []string{"app", "other", "vault-agent"},
			Volumes: volumes("home-init", "home-sidecar", "vault-secrets", "vault-config"),
			Mounted: []string{"migrate", "vault-agent-init", "app", "other", "vault-agent"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			after := inject(t, vaultinjector.Injector{}, newPod(t, test.annotations...))
			if diff := cmp.Diff(test.want, layoutOf(after)); diff != "" {
				t.Errorf("layout (-want +got):\n%s", diff)
			}
			if got, want := after.Annotations[prefix+"agent-inject-status"], "injected"; got != want {
				t.Errorf("status: got %q, want %q", got, want)
			}
		})
	}
}

// TestOperations holds how the patch is made, which other webhooks' patches may meet.
func TestOperations(t *testing.T) {
	t.Parallel()
	paths := func(t *testing.T, pod *corev1.Pod) []string {
		t.Helper()
		operations, err := vaultinjector.Injector{}.Mutate(pod, "shop")
		if err != nil {
			t.Fatalf("inject: got error %v, want none", err)
		}
		var got []string
		for _, o := range operations {
			got = append(got, o.Op+" "+o.Path)
		}
		return got
	}
	status := "add /metadata/annotations/vault.hashicorp.com~1agent-inject-status"
	volumes := []string{"add /spec/volumes/-", "add /spec/volumes/-", "add /spec/volumes/-"}
	mounts := []string{"add /spec/containers/0/volumeMounts/-", "add /spec/containers/1/volumeMounts"}
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
		init []string
	}{
		{"appended", newPod(t), []string{"add /spec/initContainers/-", "add /spec/initContainers/0/volumeMounts/-"}},
		{"first", newPod(t, "agent-init-first", "true"), []string{
			"remove /spec/initContainers", "add /spec/initContainers", "add /spec/initContainers/-",
			"add /spec/initContainers/1/volumeMounts/-",
		}},
		{"no init containers yet", func() *corev1.Pod {
			pod := newPod(t, "agent-init-first", "true")
			pod.Spec.InitContainers = nil
			return pod
		}(), []string{"add /spec/initContainers"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var want []string
			for _, part := range [][]string{volumes, mounts, test.init, {"add /spec/containers/-", status}} {
				want = append(want, part...)
			}
			if diff := cmp.Diff(want, paths(t, test.pod)); diff != "" {
				t.Errorf("operations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUntouched(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
	}{
		{"no annotations", &corev1.Pod{}},
		{"switched off", newPod(t, "agent-inject", "false")},
		{"empty", newPod(t, "agent-inject", "")},
		{"injected already", newPod(t, "agent-inject-status", "injected")},
		{"the other product's annotation", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"openbao.openbao.org/agent-inject": "true"}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			// In a system namespace: what wants nothing is not refused there either.
			operations, err := vaultinjector.Injector{}.Mutate(test.pod, "kube-system")
			if err != nil || operations != nil {
				t.Errorf("operations, error: got %v, %v, want none", operations, err)
			}
		})
	}
	t.Run("injected already, after an injection", func(t *testing.T) {
		t.Parallel()
		operations, err := vaultinjector.Injector{}.Mutate(inject(t, vaultinjector.Injector{}, newPod(t)), "shop")
		if err != nil || operations != nil {
			t.Errorf("operations, error: got %v, %v, want none", operations, err)
		}
	})
	t.Run("another status is injected", func(t *testing.T) {
		t.Parallel()
		after := inject(t, vaultinjector.Injector{}, newPod(t, "agent-inject-status", "again"))
		if got, want := len(after.Spec.InitContainers), 2; got != want {
			t.Errorf("init containers: got %d, want %d", got, want)
		}
	})
}

// TestUnknownFields: what this program's types do not know is still there afterwards,
// wherever it stands, also in init containers that are removed and added again.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"false", "true"} {
		t.Run("agent-init-first "+first, func(t *testing.T) {
			t.Parallel()
			before := decode(t, encode(t, newPod(t, "agent-init-first", first)))
			unknown := map[string]any{"deep": []any{1.0, "two"}}
			before["tomorrow"] = unknown
			object(t, before, "metadata")["tomorrow"] = unknown
			object(t, before, "spec")["tomorrow"] = unknown
			for _, c := range containers(t, before) {
				c["tomorrow"] = unknown
			}
			raw := encode(t, before)
			after := apply(t, raw, mutate(t, vaultinjector.Injector{}, raw, "shop"))
			kept := []any{after["tomorrow"], object(t, after, "metadata")["tomorrow"], object(t, after, "spec")["tomorrow"]}
			for _, c := range containers(t, after) {
				if !strings.HasPrefix(name(c), "vault-") {
					kept = append(kept, c["tomorrow"])
				}
			}
			want := []any{unknown, unknown, unknown, unknown, unknown, unknown}
			if diff := cmp.Diff(want, kept); diff != "" {
				t.Errorf("unknown fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpenBao(t *testing.T) {
	t.Parallel()
	pod := newPod(t, "agent-inject", "false")
	for key, value := range map[string]string{"agent-inject": "true", "role": "web", "agent-init-first": "true", "agent-inject-secret-db": "secret/db"} {
		pod.Annotations[vaultinjector.PrefixOpenBao+"/"+key] = value
	}
	after := inject(t, vaultinjector.Injector{Prefix: vaultinjector.PrefixOpenBao}, pod)
	want := layout{
		Init:    []string{"openbao-agent-init", "migrate"},
		Main:    []string{"app", "other", "openbao-agent"},
		Volumes: []string{"kube-api-access-x", "home-init", "home-sidecar", "openbao-secrets"},
		Mounted: []string{"openbao-agent-init", "migrate", "app", "other", "openbao-agent"},
	}
	if diff := cmp.Diff(want, layoutOf(after)); diff != "" {
		t.Errorf("layout (-want +got):\n%s", diff)
	}
	if got, want := after.Annotations["openbao.openbao.org/agent-inject-status"], "injected"; got != want {
		t.Errorf("status: got %q, want %q", got, want)
	}
}
