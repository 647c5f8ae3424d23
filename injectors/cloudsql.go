package injectors

import (
	"strings"

	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"
)

const (
	// cloudSQLDomain begins the annotations that name the AuthProxyWorkloads which a pod has got a proxy of
	// (cloud-sql-proxy-operator, PodAnnotation in internal/workload/podspec_updates.go).
	cloudSQLDomain = "cloudsql.cloud.google.com/"

	// cloudSQLAdmin is the API that the proxy asks about its instances (cloud-sql-go-connector).
	cloudSQLAdmin = "https://sqladmin.googleapis.com"

	cloudSQLAdminEnv = "CSQL_PROXY_SQLADMIN_API_ENDPOINT"
	cloudSQLSkipEnv  = "CSQL_PROXY_SKIP_FAILED_INSTANCE_CONFIG"
	cloudSQLSkipFlag = "skip-failed-instance-config"
)

// CloudSQL is the operator of Google's Cloud SQL Auth Proxy. Which pods get a proxy, and in which form, is in objects of its own
// (AuthProxyWorkload), which are not read: nothing is foreseen, and it has no Inject. The proxies are added before all other init
// containers, as native sidecars with a startup probe, or behind the other containers.
//
// The operator puts the annotation on the template of a workload too, so it is a mark beside a container alone.
func CloudSQL() *Injector {
	i := &Injector{
		Name: "cloud-sql", Title: "Cloud SQL",
		Facts: "cloud-sql-proxy-operator (internal/workload at 0117b59215, config/webhook), cloud-sql-proxy 2 (internal/proxy/proxy.go at " +
			"002394d32f, internal/healthcheck); read, not run",
		// People call their own proxies so too.
		Common: map[string]Role{"csql-*": Dialer},
		Owns:   cloudSQLOwns,
		Marked: cloudSQLMarked,
		Wants: func(t *Target, _ *Settings) Tri {
			if cloudSQLMarked(t) && t.anyContainer(cloudSQLProxy) {
				return No
			}
			return Unknown
		},
		Waits: cloudSQLWaits,
		// The names behind the slash are those of AuthProxyWorkloads.
		Annotations: []Annotation{{Key: cloudSQLDomain}},
	}
	i.Dials = cloudSQLDials
	return i
}

// cloudSQLOwns: older manifests call the webhook as Kubebuilder's examples do (config/webhook/core_webhook.yaml).
func cloudSQLOwns(h *Hook) (service string, ok bool) {
	switch h.Name {
	case "pods.proxy.cloudsql.google.com":
		return h.Service, true
	case scaffolded:
		return h.Service, strings.Contains(h.Configuration+h.Service, "cloud-sql-proxy-operator")
	}
	return "", false
}

// scaffolded is what Kubebuilder's examples call a webhook for pods, and some products have kept: the name alone says nothing.
const scaffolded = "mpod.kb.io"

func cloudSQLMarked(t *Target) bool {
	for key := range t.Meta.Annotations {
		if strings.HasPrefix(key, cloudSQLDomain) {
			return true
		}
	}
	return false
}

func cloudSQLProxy(name string) bool { return strings.HasPrefix(name, "csql-") }

// cloudSQLDials is the API, which the proxy asks where its instances are; their own addresses (port 3307) it learns from there.
func cloudSQLDials(p *Plan, c *corev1.Container) (Endpoint, bool) {
	address := cloudSQLAdmin
	var proxy httpproxy.Config
	for i := range c.Env {
		switch e := &c.Env[i]; e.Name {
		case cloudSQLAdminEnv:
			if e.Value != "" {
				address = e.Value
			}
		case "HTTPS_PROXY":
			proxy.HTTPSProxy = e.Value
		case "NO_PROXY":
			proxy.NoProxy = e.Value
		}
	}
	return p.reach(address, proxy)
}

// cloudSQLWaits tells whether the proxy starts only once the API has answered. What listens on a socket that is a file has to
// know what kind of database it stands for before it listens, and the proxy ends where it cannot; what listens on a port, which
// the operator always names, asks in the background, and its startup probe succeeds at once:
//
//	project:region:db?port=5432                        does not wait
//	project:region:db?unix-socket-path=/sockets/db     waits
func cloudSQLWaits(c *corev1.Container) bool {
	for i := range c.Env {
		if e := &c.Env[i]; e.Name == cloudSQLSkipEnv && e.Value != "false" {
			return false
		}
	}
	waits := false
	for _, arg := range c.Args {
		switch _, query, _ := strings.Cut(arg, "?"); {
		case strings.Contains(arg, cloudSQLSkipFlag):
			return false
		case strings.Contains(query, "unix-socket") && !strings.Contains(query, "port="):
			waits = true
		}
	}
	return waits
}
