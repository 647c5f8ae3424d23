package vaultinjector_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"

	"holdfast.dev/holdfast/test/vaultinjector"
)

const (
	statusKey    = "vault.hashicorp.com/agent-inject-status"
	secretsMount = "vault-secrets"
	tokenPrefix  = "kube-api-access-"
)

// TestRecordings takes from each recorded pod what came after Vault's webhook was
// called, lets the stand-in inject, adds what the API server adds, and expects the
// recording again: every field, every order, the agent's configuration to the byte.
func TestRecordings(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/recorded/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(files), 5; got != want {
		t.Fatalf("recordings: got %d, want %d", got, want)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			want := readPod(t, file)
			before := readPod(t, file)
			late := removeVault(t, before)
			raw := encode(t, before)
			got := apply(t, raw, mutate(t, vaultinjector.Injector{}, raw, "shop"))
			mountTokens(t, got, want, late)
			fillDefaults(t, got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("injected pod (-recorded +got):\n%s", diff)
			}
		})
	}
}

// TestRecordingsAreStripped guards the test above: were nothing removed, everything
// would be equal.
func TestRecordingsAreStripped(t *testing.T) {
	t.Parallel()
	pod := readPod(t, "testdata/recorded/init-classic.json")
	late := removeVault(t, pod)
	if got := string(encode(t, pod)); strings.Contains(got, "vault-") || strings.Contains(got, "home-") {
		t.Errorf("pod before Vault: got a trace of Vault in %s", got)
	}
	want := []string{"istio-init", "istio-proxy"}
	slices.Sort(late)
	if diff := cmp.Diff(want, late); diff != "" {
		t.Errorf("containers whose token came after Vault (-want +got):\n%s", diff)
	}
}

// removeVault takes away what Vault's webhook added, and the token mounts that the API
// server gave to Istio's containers afterwards: those stand behind Vault's mount, for the
// ServiceAccount plugin runs before the webhooks and again after them. It returns the
// names of the containers with such a mount.
func removeVault(t *testing.T, pod map[string]any) []string {
	t.Helper()
	delete(object(t, pod, "metadata", "annotations"), statusKey)
	spec := object(t, pod, "spec")
	spec["volumes"] = without(list(t, spec, "volumes"), "home-init", "home-sidecar", secretsMount)
	var late []string
	for _, key := range []string{"initContainers", "containers"} {
		spec[key] = without(list(t, spec, key), "vault-agent-init", "vault-agent")
		for _, c := range list(t, spec, key) {
			container := c.(map[string]any)
			mounts := list(t, container, "volumeMounts")
			vault := slices.IndexFunc(mounts, func(m any) bool { return name(m) == secretsMount })
			if vault < 0 {
				t.Fatalf("container %s: recorded without Vault's mount", name(c))
			}
			for _, m := range mounts[vault+1:] {
				if !strings.HasPrefix(name(m), tokenPrefix) {
					t.Fatalf("container %s: mount %s came after Vault, and is no token", name(c), name(m))
				}
				late = append(late, name(c))
			}
			container["volumeMounts"] = slices.Clone(mounts[:vault])
			if vault == 0 {
				delete(container, "volumeMounts")
			}
		}
	}
	return late
}

// mountTokens does for the named containers what the ServiceAccount plugin does on its
// second run, with the mount that it made on its first.
func mountTokens(t *testing.T, pod, recorded map[string]any, names []string) {
	t.Helper()
	var mount any
	for _, m := range list(t, list(t, object(t, recorded, "spec"), "containers")[0].(map[string]any), "volumeMounts") {
		if strings.HasPrefix(name(m), tokenPrefix) {
			mount = m
		}
	}
	if mount == nil {
		t.Fatal("recorded app container has no token mount")
	}
	for _, c := range containers(t, pod) {
		if slices.Contains(names, name(c)) {
			c["volumeMounts"] = append(list(t, c, "volumeMounts"), mount)
		}
	}
}

// fillDefaults sets what the API server sets on containers that leave it out.
func fillDefaults(t *testing.T, pod map[string]any) {
	t.Helper()
	for _, c := range containers(t, pod) {
		for key, value := range map[string]string{
			"imagePullPolicy":          "IfNotPresent",
			"terminationMessagePath":   "/dev/termination-log",
			"terminationMessagePolicy": "File",
		} {
			if _, ok := c[key]; !ok {
				c[key] = value
			}
		}
		env, _ := c["env"].([]any)
		for _, e := range env {
			from, _ := e.(map[string]any)["valueFrom"].(map[string]any)
			if field, ok := from["fieldRef"].(map[string]any); ok && field["apiVersion"] == nil {
				field["apiVersion"] = "v1"
			}
		}
	}
}

func readPod(t *testing.T, file string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, raw)
}

func decode(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	var pod map[string]any
	if err := json.Unmarshal(raw, &pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func mutate(t *testing.T, i vaultinjector.Injector, raw []byte, namespace string) []vaultinjector.Operation {
	t.Helper()
	operations, err := i.MutateRaw(raw, namespace)
	if err != nil {
		t.Fatalf("inject: got error %v, want none", err)
	}
	return operations
}

// apply applies the operations the way an API server does.
func apply(t *testing.T, raw []byte, operations []vaultinjector.Operation) map[string]any {
	t.Helper()
	patch, err := jsonpatch.DecodePatch(encode(t, operations))
	if err != nil {
		t.Fatal(err)
	}
	after, err := patch.Apply(raw)
	if err != nil {
		t.Fatalf("apply %s: %v", encode(t, operations), err)
	}
	return decode(t, after)
}

func object(t *testing.T, in map[string]any, path ...string) map[string]any {
	t.Helper()
	for _, key := range path {
		next, ok := in[key].(map[string]any)
		if !ok {
			t.Fatalf("field %s: got %T, want an object", key, in[key])
		}
		in = next
	}
	return in
}

func list(t *testing.T, in map[string]any, key string) []any {
	t.Helper()
	values, ok := in[key].([]any)
	if !ok {
		t.Fatalf("field %s: got %T, want a list", key, in[key])
	}
	return values
}

func containers(t *testing.T, pod map[string]any) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, key := range []string{"initContainers", "containers"} {
		values, _ := object(t, pod, "spec")[key].([]any)
		for _, c := range values {
			all = append(all, c.(map[string]any))
		}
	}
	return all
}

func without(values []any, names ...string) []any {
	return slices.DeleteFunc(slices.Clone(values), func(v any) bool { return slices.Contains(names, name(v)) })
}

func name(value any) string {
	text, _ := value.(map[string]any)["name"].(string)
	return text
}
