// Package validators holds the rules: what can be wrong with a plan, one file each. A rule reads a plan and says what it
// finds; it never names an injector, changes nothing and does no I/O.
package validators

import (
	"strconv"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// Rule is one thing that can be wrong with a plan.
type Rule struct {
	report.Topic

	// Early rules judge what no validating webhook gets to see: pods that the API server rejects before it calls one.
	Early bool

	check func(c *inspection)
}

// list has the rules in the order of their codes. A rule that is not listed is a function that nobody uses. It is an array of
// functions, so that walking it costs nothing.
func list() [24]func() Rule {
	return [...]func() Rule{
		lateDialer, cutInit, proxyRace, lostSidecar, twoMeshes, deadDNS,
		unusableExemption, misplacedAnnotation, unknownAnnotation, lateExemption, wideExemption,
		proxyIdentity, serverFirst, privilegedPort,
		injectionLabels, noInjector, controlPlaneInjected, hostNetwork,
		endlessJob, holdTrap, meshedWebhook,
		discoveryAddress, unknownMode, exemptionExpired,
	}
}

// All returns the rules in the order of their codes.
func All() []Rule {
	var all []Rule
	for _, rule := range list() {
		all = append(all, rule())
	}
	return all
}

// Topics returns the fixed texts of all rules.
func Topics() []report.Topic {
	all := All()
	topics := make([]report.Topic, len(all))
	for i := range all {
		topics[i] = all[i].Topic
	}
	return topics
}

// Judge returns what the rules find, worst first. Rules that are switched off, and those from which the pod is exempt, say
// nothing.
func Judge(p *injectors.Plan, c *config.Config) []report.Finding { return judge(p, c, false) }

// JudgeEarly is Judge for the mutating webhook: only the rules about what would never reach the validating one.
func JudgeEarly(p *injectors.Plan, c *config.Config) []report.Finding { return judge(p, c, true) }

func judge(p *injectors.Plan, c *config.Config, early bool) []report.Finding {
	i := inspection{plan: p, config: c, target: p.Target}
	for _, rule := range list() {
		i.rule = rule()
		i.severity = c.Severity(&i.rule.Topic)
		if early && !i.rule.Early || i.severity == report.Off || c.Exempt(p.Target, i.rule.Code, i.rule.Name, p.Env.Now) {
			continue
		}
		i.rule.check(&i)
	}
	report.Sort(i.findings)
	return i.findings
}

// inspection is one run of the rules over one plan.
type inspection struct {
	plan   *injectors.Plan
	target *injectors.Target
	config *config.Config

	// What several findings say alike, once it is needed.
	object  string // the target's name
	cutBy   injectors.Blocker
	cutText string

	rule     Rule
	severity report.Severity
	findings []report.Finding
}

// find reports a finding about a container, or about the whole pod where s is nil.
func (i *inspection) find(s *injectors.Step, message, fix string) {
	i.findAs(i.severity, s, message, fix)
}

// findAs is find with a severity that the rule raises or lowers for this case. Configuration can lower it further, and
// nothing that rests on a doubt is an error.
func (i *inspection) findAs(severity report.Severity, s *injectors.Step, message, fix string) {
	severity = i.configured(severity)
	if severity == report.Error && !i.plan.Certain() {
		severity = report.Warning // an error says that the pod certainly never becomes ready
	}
	i.add(severity, s, message, fix)
}

// configured is the severity, unless the configuration says another one for the rule.
func (i *inspection) configured(severity report.Severity) report.Severity {
	if i.severity != i.rule.Severity {
		return i.severity
	}
	return severity
}

func (i *inspection) add(severity report.Severity, s *injectors.Step, message, fix string) {
	if i.findings == nil {
		i.findings = make([]report.Finding, 0, 4)
	}
	f := report.Finding{
		Code: i.rule.Code, Rule: i.rule.Name, Severity: severity,
		Namespace: i.target.Namespace.Name, Object: i.name(), Message: message, Fix: fix,
	}
	if s != nil {
		list, place := i.place(s)
		f.Container, f.Path = s.Name, i.path()+"spec."+list+"["+place+"]"
	}
	i.findings = append(i.findings, f)
}

func (i *inspection) name() string {
	if i.object == "" {
		i.object = i.target.String()
	}
	return i.object
}

// place returns the list that the container is in, and where in it.
func (i *inspection) place(s *injectors.Step) (list, index string) {
	steps, list := i.plan.Inits, "initContainers"
	if s.Phase == injectors.Main {
		steps, list = i.plan.Mains, "containers"
	}
	for k := range steps {
		if &steps[k] == s {
			return list, strconv.Itoa(k) // which does not allocate below 100
		}
	}
	return list, "?"
}

// path is where the pod lies in the object under review.
func (i *inspection) path() string {
	switch {
	case !i.target.Template():
		return ""
	case i.target.Kind == "CronJob":
		return "spec.jobTemplate.spec.template."
	}
	return "spec.template."
}

// at names a container and its place: "istio-init" (initContainers[1]).
func (i *inspection) at(s *injectors.Step) string {
	list, place := i.place(s)
	return `"` + report.Shorten(s.Name, 40) + `" (` + list + "[" + place + "])"
}
