package injectors_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"holdfast.dev/holdfast/injectors"
)

// secretive is a pod whose containers get secrets, or do not.
type secretive struct {
	labels, annotations map[string]string
	namespace           string
	inits, mains        []corev1.Container
	volumes             []corev1.Volume
}

func (s secretive) target() *injectors.Target {
	if s.namespace == "" {
		s.namespace = "shop"
	}
	return &injectors.Target{
		Kind: "Pod", Meta: &metav1.ObjectMeta{Labels: s.labels, Annotations: s.annotations},
		Spec:      &corev1.PodSpec{InitContainers: s.inits, Containers: s.mains, Volumes: s.volumes},
		Namespace: &injectors.Namespace{Name: s.namespace},
	}
}

// with is a container with one variable in its environment.
func with(name, value string, command ...string) []corev1.Container {
	return []corev1.Container{{Name: name, Command: command, Env: []corev1.EnvVar{{Name: "X", Value: value}}}}
}

// TestSecretsAsked: who asks whom for secrets, and what is muddled in it.
func TestSecretsAsked(t *testing.T) {
	type keys = map[string]string
	const bank, op, infisical, conjur = "vault.security.banzaicloud.io/", "operator.1password.io/", "org.infisical.com/", "conjur.org/"
	wanted := with("app", "vault:secret/data/web#X")
	for name, c := range map[string]struct {
		injector *injectors.Injector
		pod      secretive
		asked    injectors.Tri
		muddle   []injectors.Muddle
	}{
		"bank-vaults: nothing":          {injectors.BankVaults(), secretive{}, injectors.Unknown, nil},
		"bank-vaults: a value":          {injectors.BankVaults(), secretive{mains: wanted}, injectors.Yes, nil},
		"bank-vaults: an init's value":  {injectors.BankVaults(), secretive{inits: wanted}, injectors.Yes, nil},
		"bank-vaults: an address":       {injectors.BankVaults(), secretive{mains: with("app", "vault:8200")}, injectors.Unknown, nil},
		"bank-vaults: a template":       {injectors.BankVaults(), secretive{annotations: keys{bank + "vault-ct-configmap": "web", bank + "vault-ct-once": "true"}}, injectors.Yes, nil},
		"bank-vaults: seen to":          {injectors.BankVaults(), secretive{mains: wanted, annotations: keys{bank + "vault-ct-once": "true"}, volumes: []corev1.Volume{{Name: "vault-env"}}}, injectors.Yes, nil},
		"bank-vaults: skipped by label": {injectors.BankVaults(), secretive{labels: keys{"security.banzaicloud.io/mutate": "skip"}}, injectors.No, nil},
		"bank-vaults: skipped, and a value": {
			injectors.BankVaults(),
			secretive{mains: wanted, annotations: keys{bank + "mutate": "skip"}},
			injectors.No,
			[]injectors.Muddle{{
				What: `"app" asks Bank-Vaults for secrets, and annotation vault.security.banzaicloud.io/mutate: skip keeps the pod from it`,
				Fix:  "Remove the annotation vault.security.banzaicloud.io/mutate.",
			}},
		},
		"bank-vaults: once, and nothing to render": {
			injectors.BankVaults(),
			secretive{annotations: keys{bank + "vault-ct-once": "true"}},
			injectors.Unknown,
			[]injectors.Muddle{{
				What: "annotation vault.security.banzaicloud.io/vault-ct-once does nothing without vault.security.banzaicloud.io/vault-ct-configmap",
				Fix:  "Name the ConfigMap in vault.security.banzaicloud.io/vault-ct-configmap, or remove the annotation.",
			}},
		},

		"akv2k8s: nothing": {injectors.AKV2K8s(), secretive{mains: with("app", "x")}, injectors.Unknown, nil},
		"akv2k8s: a value": {injectors.AKV2K8s(), secretive{mains: with("app", "x@azurekeyvault")}, injectors.Yes, nil},

		"1password: nothing":     {injectors.OnePassword(), secretive{mains: with("app", "op://a/b/c", "run")}, injectors.Unknown, nil},
		"1password: a container": {injectors.OnePassword(), secretive{annotations: keys{op + "inject": "app"}, mains: with("app", "op://a/b/c", "run")}, injectors.Yes, nil},
		"1password: done":        {injectors.OnePassword(), secretive{annotations: keys{op + "inject": "web", op + "status": "Injected"}}, injectors.Yes, nil},
		"1password: a space": {
			injectors.OnePassword(),
			secretive{annotations: keys{op + "inject": "web, app"}, mains: append(with("app", "x", "run"), with("web", "x", "run")...)},
			injectors.Yes,
			[]injectors.Muddle{{
				What: `annotation operator.1password.io/inject names " app", and no container is called that`,
				Fix:  "Name containers of the pod, with a comma and no space between them.",
			}},
		},
		"1password: no command": {
			injectors.OnePassword(),
			secretive{annotations: keys{op + "inject": "app"}, mains: with("app", "x")},
			injectors.Yes,
			[]injectors.Muddle{{
				What: `"app" has no command to run under op: 1Password refuses the pod`,
				Fix:  "Give it a command, or take it out of the annotation operator.1password.io/inject.",
			}},
		},
		"1password: an init container": {
			injectors.OnePassword(),
			secretive{annotations: keys{op + "inject": "migrate"}, inits: with("migrate", "x", "run")},
			injectors.Yes,
			[]injectors.Muddle{{
				What: `annotation operator.1password.io/inject names "migrate", an init container, which 1Password leaves alone`,
				Fix:  `Annotate the template: operator.1password.io/injector-init-first: "true"`,
			}},
		},
		"1password: an init container, first": {
			injectors.OnePassword(), secretive{annotations: keys{op + "inject": "migrate", op + "injector-init-first": "True"}, inits: with("migrate", "x", "run")}, injectors.Yes, nil,
		},

		"conjur: nothing": {injectors.Conjur(), secretive{}, injectors.Unknown, nil},
		"conjur: no":      {injectors.Conjur(), secretive{annotations: keys{conjur + "inject": "false"}}, injectors.No, nil},
		"conjur: done":    {injectors.Conjur(), secretive{annotations: keys{conjur + "status": "injected"}}, injectors.Yes, nil},
		"conjur: as once": {injectors.Conjur(), secretive{annotations: keys{"sidecar-injector.cyberark.com/inject": "y", "sidecar-injector.cyberark.com/injectType": "secretless", "sidecar-injector.cyberark.com/secretlessConfig": "web"}}, injectors.Yes, nil},
		"conjur: nothing to serve": {
			injectors.Conjur(),
			secretive{annotations: keys{conjur + "inject": "yes", conjur + "inject-type": "secretless"}},
			injectors.Yes,
			[]injectors.Muddle{{
				What: "Secretless has to be told what to serve, and annotation conjur.org/secretless-config is missing: the pod is refused",
				Fix:  "Name its configuration in the annotation conjur.org/secretless-config.",
			}},
		},
		"conjur: no type": {
			injectors.Conjur(),
			secretive{annotations: keys{conjur + "inject": "Yes"}},
			injectors.Yes,
			[]injectors.Muddle{{
				What: "injection is asked for, and annotation conjur.org/inject-type is missing: the pod is refused",
				Fix:  `Annotate the template: conjur.org/inject-type: "secrets-provider"`,
			}},
		},
		"conjur: a type that there is not": {injectors.Conjur(), secretive{annotations: keys{conjur + "inject": "on", conjur + "inject-type": "x"}}, injectors.Yes, nil},
		"conjur: a provider without a name": {
			injectors.Conjur(),
			secretive{annotations: keys{conjur + "inject": "yes", conjur + "inject-type": "secrets-provider"}},
			injectors.Yes,
			[]injectors.Muddle{{
				What: "a secrets provider has no name of its own, and annotation conjur.org/container-name is missing: the pod is refused",
				Fix:  `Annotate the template: conjur.org/container-name: "secrets-provider"`,
			}},
		},
		"conjur: an authenticator without addresses": {
			injectors.Conjur(),
			secretive{annotations: keys{conjur + "inject": "yes", conjur + "inject-type": "authenticator", conjur + "conjurConnConfig": "a"}},
			injectors.Yes,
			[]injectors.Muddle{{
				What: "an authenticator takes its addresses from a ConfigMap, and annotation conjur.org/conjurAuthConfig is missing: the pod is refused",
				Fix:  "Name the ConfigMap in the annotation conjur.org/conjurAuthConfig.",
			}},
		},

		"infisical: nothing": {injectors.Infisical(), secretive{}, injectors.Unknown, nil},
		"infisical: no":      {injectors.Infisical(), secretive{annotations: keys{infisical + "inject": "false"}}, injectors.No, nil},
		"infisical: done":    {injectors.Infisical(), secretive{annotations: keys{infisical + "inject": "true", infisical + "agent-status": "injected"}}, injectors.Yes, nil},
		"infisical: not quite": {
			injectors.Infisical(),
			secretive{annotations: keys{infisical + "inject": "True"}},
			injectors.No,
			[]injectors.Muddle{{What: `annotation org.infisical.com/inject: "True" does nothing: only "true" does`, Fix: `Annotate the template: org.infisical.com/inject: "true"`}},
		},
		"infisical: no ConfigMap": {
			injectors.Infisical(),
			secretive{annotations: keys{infisical + "inject": "true"}},
			injectors.Yes,
			[]injectors.Muddle{{
				What: "annotation org.infisical.com/inject without org.infisical.com/agent-config-map: Infisical refuses the pod",
				Fix:  "Name the ConfigMap in the annotation org.infisical.com/agent-config-map.",
			}},
		},
		"infisical: a system namespace": {
			injectors.Infisical(),
			secretive{annotations: keys{infisical + "inject": "true"}, namespace: "kube-system"},
			injectors.Yes,
			[]injectors.Muddle{{
				What: "Infisical refuses pods that ask for it in namespace kube-system",
				Fix:  "Remove the annotation org.infisical.com/inject, or use another namespace.",
			}},
		},

		"akeyless: nothing": {injectors.Akeyless(), secretive{}, injectors.Unknown, nil},
		"akeyless: yes":     {injectors.Akeyless(), secretive{annotations: keys{"akeyless/enabled": "true"}, mains: with("app", "akeyless:/x")}, injectors.Yes, nil},
		"akeyless: no":      {injectors.Akeyless(), secretive{annotations: keys{"akeyless/enabled": "false"}}, injectors.No, nil},
		"akeyless: a value alone": {
			injectors.Akeyless(),
			secretive{mains: with("app", "akeyless:/x")},
			injectors.Unknown,
			[]injectors.Muddle{{
				What: `values "akeyless:..." in the environment of "app" do nothing without annotation akeyless/enabled`,
				Fix:  `Annotate the template: akeyless/enabled: "true"`,
			}},
		},
	} {
		target := c.pod.target()
		if got := c.injector.Asked(target); got != c.asked {
			t.Errorf("%s: asked: got %v, want %v", name, got, c.asked)
		}
		var muddle []injectors.Muddle
		if c.injector.Muddle != nil {
			muddle = c.injector.Muddle(target)
		}
		if diff := cmp.Diff(c.muddle, muddle); diff != "" {
			t.Errorf("%s: muddle (-want +got):\n%s", name, diff)
		}
	}
}

// TestSecretsOwns: a webhook is told by the name of its entry.
func TestSecretsOwns(t *testing.T) {
	agents := []*injectors.Injector{
		injectors.BankVaults(), injectors.Conjur(), injectors.Infisical(), injectors.Akeyless(), injectors.AKV2K8s(), injectors.OnePassword(),
	}
	for _, c := range []struct {
		hook injectors.Hook
		want string
	}{
		{injectors.Hook{Name: "pods.vault-secrets-webhook.admission.banzaicloud.com"}, "bank-vaults"},
		{injectors.Hook{Name: "pods.renamed.admission.banzaicloud.com"}, "bank-vaults"},
		{injectors.Hook{Name: "secrets.vault-secrets-webhook.admission.banzaicloud.com"}, ""},
		{injectors.Hook{Name: "pods.akv2k8s-envinjector.admission.spv.no"}, "akv2k8s"},
		{injectors.Hook{Name: "pods.env-injector.admission.spv.no"}, "akv2k8s"},
		{injectors.Hook{Name: "secrets-injector.1password.com"}, "1password"},
		{injectors.Hook{Name: "sidecar-injector.conjur.org"}, "conjur"},
		{injectors.Hook{Name: "sidecar-injector.cyberark.com"}, "conjur"},
		{injectors.Hook{Name: "org.infisical.com"}, "infisical"},
		{injectors.Hook{Name: "pods.injector-akeyless-secrets-injection.admission"}, "akeyless"},
		{injectors.Hook{Name: "pods.secrets.admission", Service: "akeyless/secrets"}, "akeyless"},
		{injectors.Hook{Name: "pods.secrets.admission", Service: "shop/secrets"}, ""},
		{injectors.Hook{Name: "stranger.example", Configuration: "vault-secrets-webhook"}, ""},
	} {
		got := ""
		for _, i := range agents {
			if _, ok := i.Owns(&c.hook); ok {
				got += i.Name
			}
		}
		if got != c.want {
			t.Errorf("%s (%s): got %q, want %q", c.hook.Name, c.hook.Service, got, c.want)
		}
	}
}

// TestSecretsRead: settings come from the Deployment behind the webhook's Service; one that cannot be told from others is none.
func TestSecretsRead(t *testing.T) {
	bank := func(namespace, name string, env map[string]string) injectors.Deployment {
		return injectors.Deployment{Namespace: namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/name": "vault-secrets-webhook"}, Env: env}
	}
	akeyless := func(chart string) injectors.Deployment {
		return injectors.Deployment{
			Namespace: "a", Name: "x", Labels: map[string]string{"component": "mutating-webhook", "chart": chart},
			Env: map[string]string{"AKEYLESS_URL": "https://public", "AKEYLESS_API_GW_URL": "http://gateway"},
		}
	}
	src := &injectors.Sources{Deployments: []injectors.Deployment{
		bank("a", "one", map[string]string{"VAULT_ADDR": "http://one", "RUN_AS_USER": "100", "RUN_AS_GROUP": "0x10"}), bank("b", "two", nil), bank("b", "three", nil),
		akeyless("vault-secrets-webhook-1.0.0"), akeyless("akeyless-k8s-secrets-injection-1.15.0"),
	}}
	for service, want := range map[string]string{
		"a/one": "http://one", "a/renamed": "http://one", "b/two": "https://vault:8200", "b/renamed": "", "c/one": "", "": "",
	} {
		if s := injectors.BankVaults().Read(src, service); s.Address != want || (len(s.Missing) > 0) != (want == "") {
			t.Errorf("bank-vaults behind %q: got %q, missing %v, want %q", service, s.Address, s.Missing, want)
		}
	}
	if s := injectors.BankVaults().Read(src, "a/one"); s.UID != 100 || s.GID != 16 {
		t.Errorf("bank-vaults: got ids %d and %d, want 100 and 16", s.UID, s.GID)
	}
	if s := injectors.Akeyless().Read(src, "a/x"); s.Address != "http://gateway" {
		t.Errorf("akeyless: got %+v, want http://gateway", s)
	}
	if s := injectors.Akeyless().Read(&injectors.Sources{}, "a/x"); len(s.Missing) != 1 {
		t.Errorf("akeyless: got missing %v, want one thing", s.Missing)
	}
}
