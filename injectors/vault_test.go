package injectors_test

import (
	"encoding/base64"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"holdfast.dev/holdfast/injectors"
)

func TestVaultWants(t *testing.T) {
	const inject, status = "vault.hashicorp.com/agent-inject", "vault.hashicorp.com/agent-inject-status"
	for name, c := range map[string]struct {
		annotations map[string]string
		want        injectors.Tri
	}{
		"nothing":          {want: injectors.No},
		"true":             {map[string]string{inject: "true"}, injectors.Yes},
		"1":                {map[string]string{inject: "1"}, injectors.Yes},
		"T":                {map[string]string{inject: "T"}, injectors.Yes},
		"false":            {map[string]string{inject: "false"}, injectors.No},
		"yes":              {map[string]string{inject: "yes"}, injectors.No},
		"empty":            {map[string]string{inject: ""}, injectors.No},
		"injected already": {map[string]string{inject: "true", status: "injected"}, injectors.No},
		"another status":   {map[string]string{inject: "true", status: "update"}, injectors.Yes},
		"OpenBao's":        {map[string]string{"openbao.openbao.org/agent-inject": "true"}, injectors.No},
	} {
		if got := injectors.Vault().Wants(&injectors.Target{Meta: &metav1.ObjectMeta{Annotations: c.annotations}}, &injectors.Settings{}); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestVaultRead(t *testing.T) {
	deployment := func(name string, env map[string]string) injectors.Deployment {
		return injectors.Deployment{Namespace: "vault", Name: name, Labels: map[string]string{"app.kubernetes.io/name": name}, Env: env}
	}
	src := &injectors.Sources{Deployments: []injectors.Deployment{
		deployment("openbao-agent-injector", map[string]string{"AGENT_INJECT_VAULT_ADDR": "http://bao"}),
		deployment("vault-agent-injector", map[string]string{"AGENT_INJECT_VAULT_ADDR": "http://vault", "AGENT_INJECT_RUN_AS_USER": "200", "AGENT_INJECT_RUN_AS_GROUP": "x"}),
	}}
	if s := injectors.Vault().Read(src, ""); s.Address != "http://vault" || s.UID != 200 || s.GID != 0 || len(s.Missing) != 0 {
		t.Errorf("vault: got %+v", s)
	}
	if s := injectors.OpenBao().Read(src, ""); s.Address != "http://bao" || s.UID != 0 {
		t.Errorf("openbao: got %+v", s)
	}
	src.Deployments[1].Env["AGENT_INJECT_PROXY_ADDR"] = "http://proxy:3128"
	if s := injectors.Vault().Read(src, ""); s.Address != "http://proxy:3128" {
		t.Errorf("behind an HTTP proxy: got %s, want the proxy", s.Address)
	}
	if s := injectors.Vault().Read(&injectors.Sources{}, ""); len(s.Missing) != 1 || s.Address != "" {
		t.Errorf("no Deployment: got %+v, want it named", s)
	}
}

// TestVaultDials: the container, the pod's annotation, the injector's Deployment, the configuration, in this order.
func TestVaultDials(t *testing.T) {
	config := func(text string) corev1.EnvVar {
		return corev1.EnvVar{Name: "VAULT_CONFIG", Value: base64.StdEncoding.EncodeToString([]byte(text))}
	}
	address := corev1.EnvVar{Name: "VAULT_ADDR", Value: "http://c:3"}
	full := config(`{"auto_auth":{"method":{"type":"kubernetes"}},"vault":{"address":"https://a:1"}}`)
	for name, c := range map[string]struct {
		env                           []corev1.EnvVar
		service, deployment, fallback string
		want                          string
	}{
		"the container's configuration": {env: []corev1.EnvVar{full}, service: "http://b:2", deployment: "http://d:4", want: "a:1"},
		"over VAULT_ADDR":               {env: []corev1.EnvVar{address, full}, want: "a:1"},
		"an HTTP proxy over all":        {env: []corev1.EnvVar{full, {Name: "HTTPS_PROXY", Value: "http://p:3128"}}, want: "p:3128"},
		"VAULT_ADDR":                    {env: []corev1.EnvVar{address}, service: "http://b:2", want: "c:3"},
		"a configuration without it":    {env: []corev1.EnvVar{config(`{"vault":{}}`), address}, want: "c:3"},
		"no base64":                     {env: []corev1.EnvVar{{Name: "VAULT_CONFIG", Value: "%"}}, service: "http://b:2", want: "b:2"},
		"no JSON":                       {env: []corev1.EnvVar{config("vault {")}, service: "http://b:2", want: "b:2"},
		"the annotation":                {service: "http://b:2", deployment: "http://d:4", fallback: "e:5", want: "b:2"},
		"the Deployment":                {deployment: "http://d:4", fallback: "e:5", want: "d:4"},
		"the configuration":             {fallback: "e:5", want: "e:5"},
		"nobody":                        {want: ""},
		"a secret in the environment":   {env: []corev1.EnvVar{{Name: "VAULT_ADDR", ValueFrom: &corev1.EnvVarSource{}}}, fallback: "e:5", want: "e:5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := env()
			if c.fallback != "" {
				to, err := injectors.ParseHostPort(c.fallback)
				if err != nil {
					t.Fatal(err)
				}
				e.Addresses = map[string]injectors.Endpoint{"vault": to}
			}
			pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "vault-agent-init", Env: c.env}}}}
			if c.service != "" {
				pod.Annotations = map[string]string{"vault.hashicorp.com/service": c.service}
			}
			namespace := &injectors.Namespace{Name: "shop"}
			if c.deployment != "" {
				namespace.Hooks = []*injectors.Hook{{
					Name: "vault.hashicorp.com", Namespaces: labels.Everything(), Objects: labels.Everything(), Injector: e.Catalogue.All[1],
					Settings: &injectors.Settings{Address: c.deployment},
				}}
			}
			p := injectors.New(injectors.PodTarget(pod, namespace), e, injectors.Fact)
			got := ""
			if len(p.Inits[0].To) > 0 {
				got = p.Inits[0].To[0].String()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestVaultInjects predicts the containers and the ids that the injector gives them.
func TestVaultInjects(t *testing.T) {
	const prefix = "vault.hashicorp.com/agent-"
	user := int64(1000)
	for name, c := range map[string]struct {
		annotations map[string]string
		settings    injectors.Settings
		want        string
		uid, gid    int64
	}{
		"as it is":            {want: "migrate, vault-agent-init", uid: 100, gid: 1000},
		"first":               {annotations: map[string]string{"init-first": "true"}, want: "vault-agent-init, migrate", uid: 100, gid: 1000},
		"not first":           {annotations: map[string]string{"init-first": "no"}, want: "migrate, vault-agent-init", uid: 100, gid: 1000},
		"no pre-population":   {annotations: map[string]string{"pre-populate": "false"}, want: "migrate", uid: -1, gid: -1},
		"ids of the injector": {settings: injectors.Settings{UID: 200, GID: 300}, want: "migrate, vault-agent-init", uid: 200, gid: 300},
		"ids of the pod":      {annotations: map[string]string{"run-as-user": "400", "run-as-group": "500"}, settings: injectors.Settings{UID: 200}, want: "migrate, vault-agent-init", uid: 400, gid: 500},
		"ids of the app":      {annotations: map[string]string{"run-as-same-user": "true"}, want: "migrate, vault-agent-init", uid: 1000, gid: 1000},
		"ids of the image":    {annotations: map[string]string{"set-security-context": "false"}, want: "migrate, vault-agent-init", uid: -1, gid: -1},
		"ids by patch":        {annotations: map[string]string{"init-json-patch": "[]"}, want: "migrate, vault-agent-init", uid: -1, gid: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := env()
			pod := webPod(false)
			pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: &user}
			for k, v := range c.annotations {
				pod.Annotations[prefix+k] = v
			}
			namespace := &injectors.Namespace{Name: "shop", Hooks: []*injectors.Hook{{
				Name: "vault.hashicorp.com", Namespaces: labels.Everything(), Objects: labels.Everything(), Injector: e.Catalogue.All[1], Settings: &c.settings,
			}}}
			p := injectors.New(injectors.PodTarget(pod, namespace), e, injectors.All)
			if got := order(p); got != c.want {
				t.Errorf("init containers: got %s, want %s", got, c.want)
			}
			if _, patched := c.annotations["init-json-patch"]; p.Certain() == patched {
				t.Errorf("got doubts %v with a patch %v", p.Doubts, patched)
			}
			if i := step(p, "vault-agent-init"); i >= 0 && (p.Inits[i].UID != c.uid || p.Inits[i].GID != c.gid) {
				t.Errorf("ids: got %d and %d, want %d and %d", p.Inits[i].UID, p.Inits[i].GID, c.uid, c.gid)
			}
		})
	}
}
