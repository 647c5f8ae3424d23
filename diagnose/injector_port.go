package diagnose

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

func injectorPort() Probe {
	return Probe{
		Topic: report.Topic{
			Code: "HF233", Name: "injector-port", Severity: report.Error,
			Title: "its Service leads to the port that the pods serve",
			Why:   "The configuration calls a port that the Service does not have, or the Service leads to a port of the pods where no webhook is served. Errors name the port of the Service (443); what a firewall must let pass, and what has to be served, is the port of the pods, such as istiod's 15017.",
			Fix:   "Have the entries call the port of the Service that leads to where the injector serves its webhook; where there is none, set the targetPort of the one that they call.",
		},
		Needs: []string{"HF231"},
		ask:   aboutNeighbour(leadsToPods),
	}
}

// usualPort is where the injector of that name serves its webhooks unless told otherwise; 0 where its pods declare no other port.
func (s *Subject) usualPort(title string) int32 {
	if i := s.program(title); i != nil {
		return int32(i.Port)
	}
	return 0
}

// program is the injector of that name; nil where the catalogue has none.
func (s *Subject) program(title string) *injectors.Injector {
	if s.Catalogue != nil {
		for _, i := range s.Catalogue.All {
			if i.Title == title {
				return i
			}
		}
	}
	return nil
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
		usual := s.usualPort(n.title)
		if usual == 0 {
			usual = onlyPort(b)
		}
		switch {
		case b.service == nil:
			return unknown("", "%s is gone", c)
		case b.port == nil:
			return failed(s.rightPort(ctx, n, c, b, usual), "%s calls port %d of %s, which has only %s", n.where(), c.port, c, portsOf(b))
		case len(b.targets) == 0:
			return failed(s.rightPort(ctx, n, c, b, usual), "%s calls port %d of %s, which leads to a port called %s that no pod has", n.where(), c.port, c, b.port.TargetPort.String())
		}
		if usual != 0 && declares(b, usual) && !slices.Contains(b.targets, usual) {
			r := warn(s.rightPort(ctx, n, c, b, usual), "%s calls port %d of %s, which leads to port %d of the pods; %s serves its webhooks at %d",
				n.where(), c.port, c, b.targets[0], n.title, usual)
			if !declares(b, b.targets[0]) { // nobody says that anything listens there
				r.State = Failed
			}
			return r
		}
		led = append(led, strconv.Itoa(int(c.port))+" to "+strconv.Itoa(int(b.targets[0]))+" of the pods, which is the port for firewalls")
	}
	if len(led) == 0 {
		return notApplicable("it is called by URL")
	}
	return passed("%s", strings.Join(led, "; "))
}

// rightPort is how the entries come to call the port at which the webhook is served: by another port of the Service that leads
// there, else by a Service that does. It is 0 where nobody knows it.
func (s *Subject) rightPort(ctx context.Context, n *neighbour, c callee, b *backing, serves int32) string {
	its, after := kept(b.service.Labels, b.service.Annotations), s.adopted(ctx, n, b)
	if serves == 0 {
		return steps("Which port of the pods serves the webhook is not known. Have the installer of "+n.title+" write Service and configuration again.", n.kept())
	}
	for i := range b.service.Spec.Ports {
		if p := &b.service.Spec.Ports[i]; p != b.port && target(p, b.template()) == serves {
			return steps(fmt.Sprintf("Port %d of the Service leads to %d of the pods, where the webhook is served. Have the entries call that:", p.Port, serves),
				patchEntries(n.at(c), op{"replace", "/clientConfig/service/port", p.Port}), after, n.kept())
		}
	}
	if other := n.before(c, nil); other != nil {
		return steps(other.again("HF233"), after)
	}
	change := withPort(b.service, "webhook", c.port, int(serves))
	if b.port != nil {
		at := "/spec/ports/" + strconv.Itoa(slices.IndexFunc(b.service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == c.port }))
		change = []op{{"test", at + "/port", c.port}, {"replace", at + "/targetPort", serves}}
	}
	return steps(fmt.Sprintf("The webhook is served at port %d of the pods. Have the Service lead there:", serves),
		fmt.Sprintf("kubectl -n %s patch service %s --type=json -p '%s'", c.namespace, c.name, encode(change)), after, its)
}

// template is that of the pods; nil where it is not known.
func (b *backing) template() *corev1.PodSpec {
	if b.deployment == nil {
		return nil
	}
	return &b.deployment.Spec.Template.Spec
}

// onlyPort is the one port that the pods declare, 0 where they declare several.
func onlyPort(b *backing) int32 {
	if b.deployment == nil {
		return 0
	}
	if ports := declaredPorts(b.deployment); len(ports) == 1 {
		return ports[0]
	}
	return 0
}

func declaredPorts(d *appsv1.Deployment) []int32 {
	var ports []int32
	for i := range d.Spec.Template.Spec.Containers {
		for _, p := range d.Spec.Template.Spec.Containers[i].Ports {
			ports = append(ports, p.ContainerPort)
		}
	}
	return ports
}

func portsOf(b *backing) string {
	var ports []string
	for i := range b.service.Spec.Ports {
		ports = append(ports, strconv.Itoa(int(b.service.Spec.Ports[i].Port)))
	}
	return list(ports)
}

// declares tells whether the pods say that they serve a port.
func declares(b *backing, port int32) bool {
	return b.deployment != nil && slices.Contains(declaredPorts(b.deployment), port)
}
