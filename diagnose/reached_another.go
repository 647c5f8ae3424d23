package diagnose

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/report"
)

// anotherWebhook is for an answer that some other webhook gave.
func (s *Subject) anotherWebhook(ctx context.Context, text string) Result {
	_, rest, _ := strings.Cut(text, "webhook \"")
	name, _, _ := strings.Cut(rest, "\"")
	all, _ := s.Entries(ctx)
	at := slices.IndexFunc(all, func(e *Entry) bool { return e.Name == name })
	if at < 0 {
		return unknown(steps("Find the configuration that has it:", "kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations -o custom-columns='KIND:.kind,NAME:.metadata.name,WEBHOOKS:.webhooks[*].name'"),
			"another webhook keeps the probe's ConfigMap out, so that nothing can be told about ours: %s", text)
	}
	e := all[at]
	if !strings.Contains(text, "failed calling webhook") { // it was called, and says no
		return unknown(steps("Have that policy let ConfigMaps with the label "+config.ProbeLabel+"="+config.ProbeLabelValue+" pass in namespace "+s.Own.Namespace+"; it is in:", "kubectl get "+e.Where()+" -o yaml"),
			"%s (entry %s) turns the probe's ConfigMap away, so that nothing can be told about ours: %s", e.Where(), e.Name, text).meaning(noPod)
	}
	ctx, cancel := context.WithTimeout(ctx, lookUp)
	defer cancel()
	to, gone := s.leadsElsewhere(ctx, e)
	gone = gone || strings.Contains(text, "connection refused") && strings.HasSuffix(to, ownMachine)
	whose := "It is not Holdfast's"
	if k := keeperOf(e.Labels, e.Annotations); k != nil {
		whose += ", but of " + k.who
	}
	lines := []string{whose + ". Tell those whose it is; what it is:", "kubectl get " + e.Where() + " -o yaml"}
	if service := e.ClientConfig.Service; service != nil && !gone {
		lines = append(lines, "What it calls:", "kubectl -n "+service.Namespace+" get pods,endpointslices -o wide")
	}
	if e.Fails() {
		lines = append(lines, "If nobody answers and the cluster must go on, have it let everything pass that it cannot judge:", e.patch(op{"replace", "/failurePolicy", "Ignore"}),
			"Once what it calls answers again, this has it refuse as before:", e.patch(op{"replace", "/failurePolicy", "Fail"}))
	}
	if gone {
		copied := stamped(e.Configuration) + ".yaml"
		lines = append(lines, "If nobody knows it, it was left behind by something that is gone; delete it (a copy stays in this directory):",
			"kubectl get "+e.Where()+" -o yaml > "+copied+" && kubectl delete "+e.Where())
	}
	return unknown(steps(lines...), "%s (entry %s, calling %s) keeps the probe's ConfigMap out, so that nothing can be told about ours: %s", e.Where(), e.Name, to, text).
		meaning(s.refusedToo(ctx, e))
}

// leadsElsewhere says where an entry of somebody else's leads, and tells whether certainly nothing is there.
func (s *Subject) leadsElsewhere(ctx context.Context, e *Entry) (to string, gone bool) {
	service := e.ClientConfig.Service
	if service == nil {
		return s.leadsToURL(ctx, value(e.ClientConfig.URL))
	}
	to = "Service " + service.Namespace + "/" + service.Name
	there, err := s.Service(ctx, service.Namespace, service.Name)
	switch {
	case err != nil:
		return to, false
	case there == nil:
		return to + ", which does not exist", true
	}
	all, err := s.EndpointSlices(ctx, service.Namespace, service.Name)
	if err != nil {
		return to, false
	}
	ready := 0
	for i := range all {
		for k := range all[i].Endpoints {
			if isReady(&all[i].Endpoints[k]) {
				ready++
			}
		}
	}
	if ready == 0 {
		return to + ", which has no ready endpoint", false
	}
	return to + ", which has " + plural(ready, "ready endpoint"), false
}

// ownMachine is where loopback addresses lead.
const ownMachine = ", which is the API server's own machine"

// leadsToURL does the same for a URL.
func (s *Subject) leadsToURL(ctx context.Context, to string) (_ string, gone bool) {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" {
		return to, false
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "443"
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return to + ownMachine, false
	}
	c, err := s.Dial(ctx, net.JoinHostPort(host, port))
	if err != nil {
		return to + ", where nobody answers from here either", false
	}
	_ = c.Close()
	return to + ", where somebody answers from here", false
}

// refusedToo says what an entry of somebody else's refuses, and where, by its rules and its selectors.
func (s *Subject) refusedToo(ctx context.Context, e *Entry) string {
	var kinds []string
	verb := "created"
	for i := range e.Rules {
		r := &e.Rules[i]
		if slices.Contains(r.Operations, admissionregistrationv1.Update) || slices.Contains(r.Operations, admissionregistrationv1.OperationAll) {
			verb = "created or changed"
		}
		for _, resource := range r.Resources {
			switch {
			case strings.HasPrefix(resource, "*"):
				resource = "everything"
			case strings.Contains(resource, "/"):
				continue
			}
			kinds = append(kinds, resource)
		}
	}
	what := report.OneLine(strings.Join(unique(kinds), " and "))
	if slices.Contains(kinds, "everything") {
		what = "objects of every kind"
	}
	if e.ObjectSelector != nil && len(e.ObjectSelector.MatchLabels)+len(e.ObjectSelector.MatchExpressions) > 0 || len(e.MatchConditions) > 0 {
		what = "some " + what
	}
	return fmt.Sprintf("Meanwhile %s cannot be %s %s.", what, verb, s.seenWhere(ctx, e))
}

// seenWhere says in which namespaces an entry sees objects.
func (s *Subject) seenWhere(ctx context.Context, e *Entry) string {
	namespaces, err := s.Namespaces(ctx)
	if err != nil {
		return "where its selector matches"
	}
	var names []string
	for i := range namespaces {
		if e.SeesNamespace(namespaces[i].Labels) {
			names = append(names, namespaces[i].Name)
		}
	}
	switch {
	case len(names) == len(namespaces):
		return "in any namespace"
	case len(names) == 1:
		return "in namespace " + names[0] + "; elsewhere they can"
	}
	return fmt.Sprintf("in %d of %d namespaces (%s)", len(names), len(namespaces), list(names))
}
