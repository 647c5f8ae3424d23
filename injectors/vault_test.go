package injectors_test

import (
	"encoding/base64"
	"maps"
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
		target := &injectors.Target{Meta: &metav1.ObjectMeta{Annotations: c.annotations}, Namespace: &injectors.Namespace{Name: "shop"}}
		if got := injectors.Vault().Wants(target, &injectors.Settings{}); got != c.want {
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
	maps.Copy(src.Deployments[1].Env, map[string]string{
		"AGENT_INJECT_PROXY_ADDR": "http://proxy:3128", "AGENT_INJECT_SET_SECURITY_CONTEXT": "false", "AGENT_INJECT_RUN_AS_SAME_USER": "1",
		"AGENT_INJECT_VAULT_ADDR": "https://vault.$(NAMESPACE).svc:8200",
	})
	if s := injectors.Vault().Read(src, ""); s.Address != "https://vault.vault.svc:8200" || s.Proxy != "http://proxy:3128" || !s.NoContext || !s.SameUser {
		t.Errorf("everything set: got %+v", s)
	}
	src.Deployments[0].Env["AGENT_INJECT_BAO_ADDR"], src.Deployments[0].Images = "http://openbao", []string{"mirror/istio/proxyv2", "mirror/openbao-k8s:1"}
	if s := injectors.OpenBao().Read(src, ""); s.Address != "http://openbao" || s.Image != "mirror/openbao-k8s:1" || s.NoContext {
		t.Errorf("openbao, its own variable: got %+v", s)
	}
	if s := injectors.Vault().Read(&injectors.Sources{}, ""); len(s.Missing) != 1 || s.Address != "" {
		t.Errorf("no Deployment: got %+v, want it named", s)
	}
}

// TestVaultReadsItsOwnDeployment: the one behind the hook's Service, where there are several.
func TestVaultReadsItsOwnDeployment(t *testing.T) {
	deployment := func(namespace, name, label string) injectors.Deployment {
		return injectors.Deployment{
			Namespace: namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/name": label},
			Env: map[string]string{"AGENT_INJECT_VAULT_ADDR": "http://" + namespace + "." + name},
		}
	}
	src := &injectors.Sources{Deployments: []injectors.Deployment{
		deployment("a", "vault-agent-injector", "vault-agent-injector"), deployment("b", "old-vault-agent-injector", "vault-agent-injector"),
		deployment("b", "vault-agent-injector", "vault-agent-injector"), deployment("b", "openbao-agent-injector", "openbao-agent-injector"),
		deployment("c", "vault-injector", "vault-injector"),
	}}
	for service, want := range map[string]string{
		"a/vault-agent-injector-svc": "http://a.vault-agent-injector", "a/another": "http://a.vault-agent-injector",
		"b/vault-agent-injector-svc": "http://b.vault-agent-injector", "b/old-vault-agent-injector-svc": "http://b.old-vault-agent-injector",
		"b/another": "", "c/vault-agent-injector-svc": "http://c.vault-injector", "d/vault-agent-injector-svc": "", "": "",
	} {
		revision, ok := injectors.Vault().Owns(&injectors.Hook{Name: "vault.hashicorp.com", Service: service})
		if s := injectors.Vault().Read(src, revision); !ok || s.Address != want || (want == "") != (len(s.Missing) == 1) {
			t.Errorf("%q: got %q and missing %v, want %q", service, s.Address, s.Missing, want)
		}
	}
}

// TestVaultOwns tells Vault's webhook from OpenBao's, whose chart has kept Vault's name for it.
func TestVaultOwns(t *testing.T) {
	labelled := func(name string) map[string]string { return map[string]string{"app.kubernetes.io/name": name} }
	for name, c := range map[string]struct {
		hook injectors.Hook
		want string
	}{
		"Vault's chart":                    {injectors.Hook{Name: "vault.hashicorp.com", Configuration: "vault-agent-injector-cfg", Labels: labelled("vault-agent-injector")}, "vault"},
		"Vault in a namespace of OpenBao":  {injectors.Hook{Name: "vault.hashicorp.com", Service: "openbao/vault-agent-injector-svc"}, "vault"},
		"Vault, by a URL":                  {injectors.Hook{Name: "vault.hashicorp.com", Configuration: "0-a-vault"}, "vault"},
		"OpenBao's chart":                  {injectors.Hook{Name: "vault.hashicorp.com", Configuration: "bao", Labels: labelled("openbao-agent-injector")}, "openbao"},
		"OpenBao, without labels":          {injectors.Hook{Name: "vault.hashicorp.com", Configuration: "openbao-agent-injector-cfg"}, "openbao"},
		"OpenBao, by its Service":          {injectors.Hook{Name: "vault.hashicorp.com", Configuration: "0-a", Service: "x/openbao-agent-injector-svc"}, "openbao"},
		"openbao-k8s, deploy/":             {injectors.Hook{Name: "openbao.org", Configuration: "openbao-agent-injector-cfg"}, "openbao"},
		"somebody else":                    {injectors.Hook{Name: "vault.example.com", Configuration: "vault-agent-injector-cfg"}, ""},
		"another secret store of the name": {injectors.Hook{Name: "pods.vault-secrets-webhook.admission.banzaicloud.com"}, ""},
	} {
		got := ""
		for _, i := range injectors.NewCatalogue(injectors.Vault(), injectors.OpenBao()).All {
			if _, ok := i.Owns(&c.hook); ok {
				got += i.Name
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestOpenBaoWants: what its chart runs, and so which annotations are read, only the image tells.
func TestOpenBaoWants(t *testing.T) {
	const vault, old, current = "vault.hashicorp.com", "openbao.openbao.org", "openbao.org"
	for _, c := range []struct {
		domain, image string
		want          injectors.Tri
	}{
		{vault, "docker.io/hashicorp/vault-k8s:1.4.2", injectors.Yes},
		{vault, "quay.io/openbao/openbao-k8s:1.7.2", injectors.Unknown},
		{vault, "", injectors.Unknown},
		{old, "docker.io/hashicorp/vault-k8s:1.4.2", injectors.No},
		{old, "quay.io/openbao/openbao-k8s:1.7.2", injectors.Yes},
		{old, "", injectors.Unknown},
		{current, "docker.io/hashicorp/vault-k8s:1.4.2", injectors.No},
		{current, "quay.io/openbao/openbao-k8s:1.7.2", injectors.Yes},
		{current, "", injectors.Unknown},
	} {
		for status, want := range map[string]injectors.Tri{"": c.want, "injected": injectors.No} {
			annotations := map[string]string{c.domain + "/agent-inject": "true", c.domain + "/agent-inject-status": status}
			target := &injectors.Target{Meta: &metav1.ObjectMeta{Annotations: annotations}, Namespace: &injectors.Namespace{Name: "shop"}}
			if got := injectors.OpenBao().Wants(target, &injectors.Settings{Image: c.image}); got != want {
				t.Errorf("%s read by %q, status %q: got %v, want %v", c.domain, c.image, status, got, want)
			}
		}
	}
}

// TestVaultAsked: the pod asks in the words of one of the two, and OpenBao's injector may read Vault's.
func TestVaultAsked(t *testing.T) {
	both := map[string]*injectors.Injector{"vault": injectors.Vault(), "openbao": injectors.OpenBao()}
	const vault, bao, short = "vault.hashicorp.com/agent-inject", "openbao.openbao.org/agent-inject", "openbao.org/agent-inject"
	for name, c := range map[string]struct {
		annotations map[string]string
		registered  []string
		want        [2]injectors.Tri // of Vault, of OpenBao
	}{
		"nothing":                            {nil, []string{"vault", "openbao"}, [2]injectors.Tri{}},
		"Vault's":                            {map[string]string{vault: "true"}, []string{"vault"}, [2]injectors.Tri{injectors.Yes}},
		"Vault's, nobody there":              {map[string]string{vault: "true"}, nil, [2]injectors.Tri{injectors.Yes}},
		"Vault's, both there":                {map[string]string{vault: "true"}, []string{"vault", "openbao"}, [2]injectors.Tri{injectors.Yes}},
		"Vault's, OpenBao alone":             {map[string]string{vault: "true"}, []string{"openbao"}, [2]injectors.Tri{}},
		"Vault's declined, OpenBao alone":    {map[string]string{vault: "false"}, []string{"openbao"}, [2]injectors.Tri{injectors.No}},
		"OpenBao's":                          {map[string]string{bao: "1"}, []string{"openbao"}, [2]injectors.Tri{injectors.Unknown, injectors.Yes}},
		"OpenBao's, one says yes":            {map[string]string{bao: "false", short: "true"}, nil, [2]injectors.Tri{injectors.Unknown, injectors.Yes}},
		"OpenBao's, Vault alone":             {map[string]string{short: "true"}, []string{"vault"}, [2]injectors.Tri{injectors.Unknown, injectors.Yes}},
		"Vault's, in a word that is no word": {map[string]string{vault: "yes"}, []string{"vault"}, [2]injectors.Tri{injectors.No}},
	} {
		namespace := &injectors.Namespace{Name: "shop", Hooks: []*injectors.Hook{{Name: "a.stranger.example"}}}
		for _, r := range c.registered {
			namespace.Hooks = append(namespace.Hooks, &injectors.Hook{Injector: both[r]})
		}
		target := &injectors.Target{Meta: &metav1.ObjectMeta{Annotations: c.annotations}, Namespace: namespace}
		if got := [2]injectors.Tri{both["vault"].Asked(target), both["openbao"].Asked(target)}; got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
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
		doubt                         bool
	}{
		"the container's configuration": {env: []corev1.EnvVar{full}, service: "http://b:2", deployment: "http://d:4", want: "a:1"},
		"over VAULT_ADDR":               {env: []corev1.EnvVar{address, full}, want: "a:1"},
		"through an HTTP proxy":         {env: []corev1.EnvVar{full, {Name: "HTTPS_PROXY", Value: "http://p:3128"}}, want: "p:3128"},
		"a proxy without a scheme":      {env: []corev1.EnvVar{full, {Name: "https_proxy", Value: "10.9.9.9:3128"}}, want: "10.9.9.9:3128"},
		"a proxy without a port":        {env: []corev1.EnvVar{full, {Name: "HTTPS_PROXY", Value: "https://p"}}, want: "p:443"},
		"a SOCKS proxy":                 {env: []corev1.EnvVar{full, {Name: "HTTPS_PROXY", Value: "socks5://p"}}, want: "p:1080"},
		"a proxy for HTTPS, and HTTP":   {env: []corev1.EnvVar{address, {Name: "HTTPS_PROXY", Value: "http://p:3128"}}, want: "c:3"},
		"a proxy for HTTP":              {env: []corev1.EnvVar{address, {Name: "HTTP_PROXY", Value: "http://p:3128"}}, want: "p:3128"},
		"no proxy for the host":         {env: []corev1.EnvVar{full, {Name: "HTTPS_PROXY", Value: "http://p:3128"}, {Name: "NO_PROXY", Value: ".svc,a"}}, want: "a:1"},
		"no proxy for another":          {env: []corev1.EnvVar{full, {Name: "HTTPS_PROXY", Value: "http://p:3128"}, {Name: "NO_PROXY", Value: ".a,b"}}, want: "p:3128"},
		"no proxy at all":               {env: []corev1.EnvVar{full, {Name: "HTTPS_PROXY", Value: "http://p:3128"}, {Name: "no_proxy", Value: "*"}}, want: "a:1"},
		"no proxy for localhost":        {env: []corev1.EnvVar{config(`{"vault":{"address":"https://localhost:1"}}`), {Name: "HTTPS_PROXY", Value: "http://p:3128"}}, want: "localhost:1"},
		"a proxy that nobody can read":  {env: []corev1.EnvVar{full, {Name: "HTTPS_PROXY", Value: "://"}}, want: "", doubt: true},
		"a socket":                      {env: []corev1.EnvVar{config(`{"vault":{"address":"unix:///run/v.sock"}}`), {Name: "HTTPS_PROXY", Value: "http://p:3128"}}, want: "unix:///run/v.sock"},
		"an address without a scheme":   {env: []corev1.EnvVar{config(`{"vault":{"address":"vault.vault.svc:8200"}}`)}, service: "http://b:2", doubt: true},
		"the same, and configured":      {env: []corev1.EnvVar{config(`{"vault":{"address":"vault.vault.svc:8200"}}`)}, fallback: "e:5", want: "e:5", doubt: true},
		"OpenBao's own key":             {env: []corev1.EnvVar{{Name: "BAO_CONFIG", Value: config(`{"openbao":{"address":"http://o:9"}}`).Value}}, want: "o:9"},
		"VAULT_ADDR":                    {env: []corev1.EnvVar{address}, service: "http://b:2", want: "c:3"},
		"a configuration without it":    {env: []corev1.EnvVar{config(`{"vault":{}}`), address}, want: "c:3"},
		"no base64":                     {env: []corev1.EnvVar{{Name: "VAULT_CONFIG", Value: "%"}}, service: "http://b:2", want: "b:2"},
		"no JSON":                       {env: []corev1.EnvVar{config("vault {")}, service: "http://b:2", want: "b:2"},
		"the annotation":                {service: "http://b:2", deployment: "http://d:4", fallback: "e:5", want: "b:2"},
		"the Deployment":                {deployment: "http://d:4", fallback: "e:5", want: "d:4"},
		"the configuration":             {fallback: "e:5", want: "e:5"},
		"nobody":                        {want: ""},
		"a secret in the environment":   {env: []corev1.EnvVar{{Name: "VAULT_ADDR", ValueFrom: &corev1.EnvVarSource{}}}, fallback: "e:5", want: "e:5", doubt: true},
		"a variable in the address":     {env: []corev1.EnvVar{{Name: "VAULT_ADDR", Value: "https://$(HOST):8200"}}, service: "http://b:2", doubt: true},
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
					Name: "vault.hashicorp.com", Namespaces: labels.Everything(), Objects: labels.Everything(), Injector: named(e, "vault"),
					Settings: &injectors.Settings{Address: c.deployment},
				}}
			}
			p := injectors.New(injectors.PodTarget(pod, namespace), e, injectors.Fact)
			got := ""
			if len(p.Inits[0].To) > 0 {
				got = p.Inits[0].To[0].String()
			}
			if got != c.want || p.Certain() == c.doubt {
				t.Errorf("got %q and doubts %v, want %q and doubt %v", got, p.Doubts, c.want, c.doubt)
			}
		})
	}
}

// TestVaultInjects predicts the containers and the ids that the injector gives them.
func TestVaultInjects(t *testing.T) {
	const prefix = "vault.hashicorp.com/agent-"
	user, proxy := int64(1000), int64(1337)
	for name, c := range map[string]struct {
		annotations map[string]string
		settings    injectors.Settings
		pod         *corev1.PodSecurityContext
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
		"ids of the pod spec": {annotations: map[string]string{"set-security-context": "false"}, pod: &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &proxy}, want: "migrate, vault-agent-init", uid: 1000, gid: 1337},
		"none by default":     {settings: injectors.Settings{NoContext: true}, pod: &corev1.PodSecurityContext{RunAsGroup: &proxy}, want: "migrate, vault-agent-init", uid: -1, gid: 1337},
		"none, but asked for": {annotations: map[string]string{"set-security-context": "true"}, settings: injectors.Settings{NoContext: true}, want: "migrate, vault-agent-init", uid: 100, gid: 1000},
		"none, but a group":   {annotations: map[string]string{"run-as-group": "500"}, settings: injectors.Settings{NoContext: true}, want: "migrate, vault-agent-init", uid: 100, gid: 500},
		"same by default":     {settings: injectors.Settings{SameUser: true}, want: "migrate, vault-agent-init", uid: 1000, gid: 1000},
		"not the same":        {annotations: map[string]string{"run-as-same-user": "false"}, settings: injectors.Settings{SameUser: true}, want: "migrate, vault-agent-init", uid: 100, gid: 1000},
		"empty is false":      {annotations: map[string]string{"pre-populate": ""}, want: "migrate", uid: -1, gid: -1},
		"ids by patch":        {annotations: map[string]string{"init-json-patch": "[]"}, want: "migrate, vault-agent-init", uid: -1, gid: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := env()
			pod := webPod(false)
			pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: &user}
			pod.Spec.SecurityContext = c.pod
			for k, v := range c.annotations {
				pod.Annotations[prefix+k] = v
			}
			namespace := &injectors.Namespace{Name: "shop", Hooks: []*injectors.Hook{{
				Name: "vault.hashicorp.com", Namespaces: labels.Everything(), Objects: labels.Everything(), Injector: named(e, "vault"), Settings: &c.settings,
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
