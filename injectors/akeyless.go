package injectors

import (
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"
)

// Akeyless' annotations, of its documentation.
const (
	akeylessDomain  = "akeyless/"
	akeylessEnabled = akeylessDomain + "enabled"
	akeylessSidecar = akeylessDomain + "side_car_enabled"
	akeylessCrash   = akeylessDomain + "crash_on_error"

	akeylessGateway  = "AKEYLESS_API_GW_URL"
	akeylessURL      = "AKEYLESS_URL"
	akeylessCrashEnv = "AKEYLESS_CRASH_POD_ON_ERROR"

	akeylessInit      = "akeyless-init"
	akeylessContainer = "akeyless-sidecar"
)

// Akeyless is the secrets injector of Akeyless. Its source is closed: where its init container goes among the others is not
// known (its chart is made after Bank-Vaults', which prepends), nor the ids it runs with; prediction is always in doubt. A pod
// whose secrets cannot be fetched starts without them, unless it is told to crash: only then is a cut init container certain
// to keep it from starting.
func Akeyless() *Injector {
	i := &Injector{
		Name: "akeyless", Title: "Akeyless",
		Facts: "its documentation and chart akeyless-k8s-secrets-injection, and transcripts; closed source: the init container's place and ids are not known, " +
			"nor how environment variables get their values",
		Containers: map[string]Role{akeylessInit: Dialer, akeylessContainer: Dialer},
		Owns:       akeylessOwns,
		Read:       readAkeyless,
		Reads: Reads{
			Deployments: []string{"component=mutating-webhook"},
			Environment: []string{akeylessGateway, akeylessURL, akeylessCrashEnv},
		},
		Marked: akeylessMarked,
		Wants:  func(t *Target, _ *Settings) Tri { return TriOf(!akeylessMarked(t) && flag(t, akeylessEnabled, false)) },
		Asked: func(t *Target) Tri {
			if _, said := t.Meta.Annotations[akeylessEnabled]; !said {
				return Unknown
			}
			return TriOf(flag(t, akeylessEnabled, false))
		},
		Muddle:         akeylessMuddle,
		WithoutSidecar: func(*Target) (key, value string) { return akeylessSidecar, "false" },
	}
	for _, name := range [...]string{
		"enabled", "side_car_enabled", "side_car_refresh_interval", "side_car_versions_to_retrieve", "inject_file", "inject_folder", "volume",
		"post_inject_script", "crash_on_error", "ignore_cache", "registry_creds", "disable_restart_rollout",
		"agent_limits_cpu", "agent_limits_mem", "agent_requests_cpu", "agent_requests_mem",
	} {
		i.Annotations = append(i.Annotations, Annotation{Key: akeylessDomain + name})
	}
	i.Inject = func(p *Plan, s *Settings) { akeylessInjects(p, i, s) }
	i.Dials = func(p *Plan, c *corev1.Container) (Endpoint, bool) { return akeylessDials(p, i, c) }
	return i
}

// akeylessOwns: the entry is named pods.NAME.admission after the release, as others may be; the release, its Service or the
// configuration bear the product's name where nobody renames them all.
func akeylessOwns(h *Hook) (service string, ok bool) {
	name, pods := strings.CutPrefix(h.Name, "pods.")
	name, admission := strings.CutSuffix(name, ".admission")
	return h.Service, pods && admission && strings.Contains(name+" "+h.Service+" "+h.Configuration, "akeyless")
}

// akeylessMarked: no other mark is known.
func akeylessMarked(t *Target) bool {
	its := func(c corev1.Container) bool { return c.Name == akeylessInit || c.Name == akeylessContainer }
	return slices.ContainsFunc(t.Spec.InitContainers, its) || slices.ContainsFunc(t.Spec.Containers, its)
}

func readAkeyless(src *Sources, service string) *Settings {
	s := &Settings{Missing: src.Missing}
	d, ok := src.behind(service, func(d *Deployment) bool {
		return d.Labels["component"] == "mutating-webhook" && strings.HasPrefix(d.Labels["chart"], "akeyless")
	})
	if !ok {
		s.missing("no Deployment labelled component=mutating-webhook of a chart akeyless-*")
		return s
	}
	if s.Address = d.Env[akeylessGateway]; s.Address == "" {
		s.Address = d.Env[akeylessURL]
	}
	s.Metadata = map[string]string{akeylessCrashEnv: d.Env[akeylessCrashEnv]}
	return s
}

// akeylessCrashes tells whether a failure certainly keeps the pod from starting.
func akeylessCrashes(t *Target, s *Settings) bool {
	if value, said := t.Meta.Annotations[akeylessCrash]; said {
		return truthy(value, false)
	}
	return s.Metadata[akeylessCrashEnv] == "enable"
}

func akeylessMuddle(t *Target) []Muddle {
	if akeylessMarked(t) || flag(t, akeylessEnabled, false) {
		return nil
	}
	asks := func(value string) bool { return strings.HasPrefix(value, "akeyless:") }
	for _, list := range [...][]corev1.Container{t.Spec.InitContainers, t.Spec.Containers} {
		for i := range list {
			if inEnvironment(&list[i], asks) {
				return []Muddle{{
					What: `values "akeyless:..." in the environment of "` + list[i].Name + `" do nothing without annotation ` + akeylessEnabled,
					Fix:  "Annotate the template: " + akeylessEnabled + `: "true"`,
				}}
			}
		}
	}
	return nil
}

func akeylessInjects(p *Plan, i *Injector, s *Settings) {
	t := p.Target
	if akeylessMarked(t) || p.has(i) {
		return
	}
	p.Doubt("where Akeyless puts its init container is not known")
	step := Step{Name: akeylessInit, Phase: Init, Role: Dialer, Injector: i, UID: NoID, GID: NoID}
	to, ok := p.reach(s.Address, httpproxy.Config{})
	step.To = p.destination(i, to, ok)
	p.Add(step, true)
	if flag(t, akeylessSidecar, false) {
		step.Name, step.Phase = akeylessContainer, Main
		p.Add(step, true)
	}
}

func akeylessDials(p *Plan, i *Injector, c *corev1.Container) (Endpoint, bool) {
	s := p.Settings(i)
	if s == nil {
		s = unknownSettings()
	}
	if len(p.Meshes) > 0 && !akeylessCrashes(p.Target, s) {
		p.Doubt("a pod may start where Akeyless fails")
	}
	for _, name := range [...]string{akeylessGateway, akeylessURL} {
		if url := variable(c, name); url != "" {
			return p.reach(url, proxies(c))
		}
	}
	return p.reach(s.Address, proxies(c))
}
