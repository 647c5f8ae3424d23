package diagnose

import (
	"context"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/report"
)

func injectorPort() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF233", Name: "injector-port", Severity: report.Error,
			Title: "its Service leads to the port that the pods serve",
			Why:   "The configuration calls a port that the Service does not have, or the Service leads to a port of the pods where no webhook is served. Errors name the port of the Service (443); what a firewall must let pass, and what has to be served, is the port of the pods, such as istiod's 15017.",
			Fix:   "Put the Service right: its targetPort is the port at which the injector serves its webhook.",
		},
		Needs: []string{"HF231"},
		ask:   aboutNeighbour(leadsToPods),
	}
}

// usualPort is where the injector of that name serves its webhooks unless told otherwise; 0 where its pods declare no other port.
func (s *Subject) usualPort(title string) int32 {
	if s.Catalogue != nil {
		for _, i := range s.Catalogue.All {
			if i.Title == title {
				return int32(i.Port)
			}
		}
	}
	return 0
}

func leadsToPods(ctx context.Context, s *Subject, n *neighbour) Result {
	var led []string
	for _, c := range n.callees() {
		if c.url != "" {
			continue
		}
		b, err := s.behind(ctx, c)
		if err != nil {
			return cannot(err)
		}
		edit := "kubectl -n " + c.namespace + " edit service " + c.name
		switch {
		case b.service == nil:
			return unknown("", "%s is gone", c)
		case b.port == nil:
			return failed(edit, "%s calls port %d of %s, which has only %s", n.where(), c.port, c, portsOf(b.service))
		case len(b.targets) == 0:
			return failed(edit, "port %d of %s leads to a port called %s, which no pod has", c.port, c, b.port.TargetPort.String())
		}
		if usual := s.usualPort(n.title); usual != 0 && declares(b, usual) && !slices.Contains(b.targets, usual) {
			return warn(edit+", and set targetPort to "+strconv.Itoa(int(usual)), "port %d of %s leads to port %d of the pods; %s serves its webhooks at %d",
				c.port, c, b.targets[0], n.title, usual)
		}
		led = append(led, strconv.Itoa(int(c.port))+" to "+strconv.Itoa(int(b.targets[0]))+" of the pods, which is the port for firewalls")
	}
	if len(led) == 0 {
		return notApplicable("it is called by URL")
	}
	return passed("%s", strings.Join(led, "; "))
}

func portsOf(service *corev1.Service) string {
	var ports []string
	for _, p := range service.Spec.Ports {
		ports = append(ports, strconv.Itoa(int(p.Port)))
	}
	return list(ports)
}

// declares tells whether the pods say that they serve a port.
func declares(b *backing, port int32) bool {
	if b.deployment == nil {
		return false
	}
	containers := b.deployment.Spec.Template.Spec.Containers
	for i := range containers {
		for _, p := range containers[i].Ports {
			if p.ContainerPort == port {
				return true
			}
		}
	}
	return false
}
