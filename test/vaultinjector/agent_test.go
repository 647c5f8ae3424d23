package vaultinjector_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/test/vaultinjector"
)

func environment(c corev1.Container) map[string]string {
	values := map[string]string{}
	for _, e := range c.Env {
		values[e.Name] = e.Value
	}
	return values
}

// agentConfig is the agent's configuration as the catalogue reads it from a pod.
func agentConfig(t *testing.T, c corev1.Container) map[string]any {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(environment(c)["VAULT_CONFIG"])
	if err != nil {
		t.Fatalf("VAULT_CONFIG: %v", err)
	}
	return decode(t, raw)
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	type identity struct {
		User, Group int64
		NonRoot     bool
	}
	openShift := vaultinjector.Injector{NoSecurityContext: true}
	for _, test := range []struct {
		name        string
		injector    vaultinjector.Injector
		annotations []string
		want        *identity
	}{
		{"default", vaultinjector.Injector{}, nil, &identity{100, 1000, true}},
		{"user and group", vaultinjector.Injector{}, []string{"agent-run-as-user", "1337", "agent-run-as-group", "1338"}, &identity{1337, 1338, true}},
		{"root", vaultinjector.Injector{}, []string{"agent-run-as-user", "0"}, &identity{0, 1000, false}},
		{"same user keeps the group", vaultinjector.Injector{}, []string{"agent-run-as-same-user", "true"}, &identity{2000, 1000, true}},
		{"same user switched off", vaultinjector.Injector{}, []string{"agent-run-as-same-user", "false"}, &identity{100, 1000, true}},
		{"no security context", vaultinjector.Injector{}, []string{"agent-set-security-context", "false"}, nil},
		{"no security context wins over a user", vaultinjector.Injector{}, []string{"agent-set-security-context", "false", "agent-run-as-user", "1337"}, nil},
		{"OpenShift", openShift, nil, nil},
		{"OpenShift and a user", openShift, []string{"agent-run-as-user", "1337"}, &identity{1337, 1000, true}},
		{"OpenShift and asked for", openShift, []string{"agent-set-security-context", "true"}, &identity{100, 1000, true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pod := newPod(t, test.annotations...)
			pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: new(int64(2000))}
			after := inject(t, test.injector, pod)
			for _, name := range []string{"vault-agent-init", "vault-agent"} {
				var got *identity
				if s := find(t, after, name).SecurityContext; s != nil {
					got = &identity{*s.RunAsUser, *s.RunAsGroup, *s.RunAsNonRoot}
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

func TestAgentConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		injector    vaultinjector.Injector
		annotations []string
		path        []string
		want        any
	}{
		{"address by default", vaultinjector.Injector{}, nil, []string{"vault", "address"}, "http://vault.vault.svc:8200"},
		{"address of the injector", vaultinjector.Injector{Address: "https://v.example:443"}, nil, []string{"vault", "address"}, "https://v.example:443"},
		{"service", vaultinjector.Injector{Address: "https://v.example:443"}, []string{"service", "http://10.96.7.7:8200"}, []string{"vault", "address"}, "http://10.96.7.7:8200"},
		{"tls-skip-verify", vaultinjector.Injector{}, []string{"tls-skip-verify", "true"}, []string{"vault", "tls_skip_verify"}, true},
		{"ca-cert", vaultinjector.Injector{}, []string{"ca-cert", "/vault/tls/ca.crt"}, []string{"vault", "ca_cert"}, "/vault/tls/ca.crt"},
		{"tls-server-name", vaultinjector.Injector{}, []string{"tls-server-name", "vault"}, []string{"vault", "tls_server_name"}, "vault"},
		{"retries for ever by default", vaultinjector.Injector{}, nil, []string{"auto_auth", "method", "exit_on_err"}, nil},
		{"agent-auto-auth-exit-on-err", vaultinjector.Injector{}, []string{"agent-auto-auth-exit-on-err", "true"}, []string{"auto_auth", "method", "exit_on_err"}, true},
		{"auth-path", vaultinjector.Injector{}, []string{"auth-path", "auth/shop"}, []string{"auto_auth", "method", "mount_path"}, "auth/shop"},
		{"auth-type", vaultinjector.Injector{}, []string{"auth-type", "jwt"}, []string{"auto_auth", "method", "type"}, "jwt"},
		{"auth-config", vaultinjector.Injector{}, []string{"auth-config-remove-jwt", "false"}, []string{"auto_auth", "method", "config", "remove_jwt"}, "false"},
		{"namespace", vaultinjector.Injector{}, []string{"namespace", "team"}, []string{"auto_auth", "method", "namespace"}, "team"},
		{"role", vaultinjector.Injector{}, []string{"role", "other"}, []string{"auto_auth", "method", "config", "role"}, "other"},
		{"no secret, no template", vaultinjector.Injector{}, nil, []string{"template"}, nil},
		{
			"own template",
			vaultinjector.Injector{},
			[]string{"agent-inject-secret-DB", "secret/db", "agent-inject-template-DB", "x"},
			[]string{"template"},
			[]any{map[string]any{"destination": "/vault/secrets/db", "contents": "x", "left_delimiter": "{{", "right_delimiter": "}}"}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			after := inject(t, test.injector, newPod(t, test.annotations...))
			for container, exits := range map[string]bool{"vault-agent-init": true, "vault-agent": false} {
				config := agentConfig(t, find(t, after, container))
				if got, want := config["exit_after_auth"], any(exits); got != want {
					t.Errorf("%s exit_after_auth: got %v, want %v", container, got, want)
				}
				last := len(test.path) - 1
				got := object(t, config, test.path[:last]...)[test.path[last]]
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s %v (-want +got):\n%s", container, test.path, diff)
				}
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	t.Run("proxy-address", func(t *testing.T) {
		t.Parallel()
		i := vaultinjector.Injector{ProxyAddress: "http://proxy:3128"}
		for pod, want := range map[*corev1.Pod]string{
			newPod(t): "http://proxy:3128",
			newPod(t, "proxy-address", "http://other:3128"): "http://other:3128",
			newPod(t, "proxy-address", ""):                  "",
		} {
			if got := environment(find(t, inject(t, i, pod), "vault-agent-init"))["HTTPS_PROXY"]; got != want {
				t.Errorf("HTTPS_PROXY: got %q, want %q", got, want)
			}
		}
	})
	t.Run("agent-configmap needs no role and leaves the address", func(t *testing.T) {
		t.Parallel()
		pod := newPod(t, "agent-configmap", "web-agent")
		delete(pod.Annotations, prefix+"role")
		c := find(t, inject(t, vaultinjector.Injector{}, pod), "vault-agent-init")
		env := environment(c)
		if got, want := env["VAULT_ADDR"], "http://vault.vault.svc:8200"; got != want {
			t.Errorf("VAULT_ADDR: got %q, want %q", got, want)
		}
		if got, ok := env["VAULT_CONFIG"]; ok {
			t.Errorf("VAULT_CONFIG: got %q, want none", got)
		}
		if got, want := c.Args[0], "/vault/configs/config-init.hcl"; !strings.HasSuffix(got, want) {
			t.Errorf("command: got %q, want it to read %q", got, want)
		}
	})
	t.Run("agent-image and log", func(t *testing.T) {
		t.Parallel()
		c := find(t, inject(t, vaultinjector.Injector{Image: "a:1"}, newPod(t, "agent-image", "b:1", "log-level", "debug", "log-format", "json")), "vault-agent")
		env := environment(c)
		want := []string{"b:1", "debug", "json"}
		if diff := cmp.Diff(want, []string{c.Image, env["VAULT_LOG_LEVEL"], env["VAULT_LOG_FORMAT"]}); diff != "" {
			t.Errorf("image, level, format (-want +got):\n%s", diff)
		}
	})
}

func TestJSONPatch(t *testing.T) {
	t.Parallel()
	pod := newPod(
		t,
		"agent-init-json-patch", `[{"op":"replace","path":"/securityContext/runAsUser","value":1337},{"op":"add","path":"/restartPolicy","value":"Always"},{"op":"add","path":"/fieldOfTomorrow","value":{"a":1}}]`,
		"agent-json-patch", `[{"op":"remove","path":"/securityContext"}]`,
	)
	operations, err := vaultinjector.Injector{}.Mutate(pod, "shop")
	if err != nil {
		t.Fatalf("inject: got error %v, want none", err)
	}
	seen := 0
	for _, c := range containers(t, apply(t, encode(t, pod), operations)) {
		switch name(c) {
		case "vault-agent-init":
			seen++
			got := []any{object(t, c, "securityContext")["runAsUser"], c["restartPolicy"], c["fieldOfTomorrow"]}
			if diff := cmp.Diff([]any{1337.0, "Always", map[string]any{"a": 1.0}}, got); diff != "" {
				t.Errorf("init container (-want +got):\n%s", diff)
			}
		case "vault-agent":
			seen++
			if got, ok := c["securityContext"]; ok {
				t.Errorf("sidecar's security context: got %v, want none", got)
			}
		}
	}
	if want := 2; seen != want {
		t.Errorf("agents: got %d, want %d", seen, want)
	}
}
