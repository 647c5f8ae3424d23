package validators

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"holdfast.dev/holdfast/injectors"
	"holdfast.dev/holdfast/report"
)

// serverFirst finds ports on which the server speaks first, behind a proxy that waits for the client to speak.
func serverFirst() Rule {
	return Rule{
		Topic: report.Topic{
			Code: "HF122", Name: "server-first", Severity: report.Warning,
			Title: "A port on which the server speaks first, behind a proxy that waits for the client",
			Why: "Some meshes look at a connection's first bytes to tell which protocol it carries, and take them from the client. With a protocol in which the server " +
				"greets first (MySQL, SMTP, FTP, NATS) both sides wait: the connection hangs, or begins seconds late, and ends in errors such as \"server has gone " +
				"away\". A Service that declares the port's protocol keeps the proxy from looking.",
			Fix: "Declare the protocol in the Service: appProtocol: tcp, or a port name that begins with tcp-. Only where that is not possible take the port out of the mesh.",
		},
		check: func(i *inspection) {
			for k := range i.plan.Meshes {
				if m := &i.plan.Meshes[k]; m.Injector.ServerFirst != nil {
					i.listens(m)
					i.greeted(m)
					i.configuredPorts(m)
				}
			}
		},
	}
}

// greets returns the protocol that usually runs on the port if its server speaks first, "" otherwise. The specifications have
// it in the section about the beginning of a connection. Not in the list: SSH, in which both sides speak at once (RFC 4253,
// 4.2), PostgreSQL, Redis and MongoDB, in which the client does, and ports that other programs use as much (4444, 4567).
func greets(port uint16) string {
	switch port {
	case 21:
		return "FTP" // RFC 959, 5.4
	case 25, 587:
		return "SMTP" // RFC 5321, 3.1; RFC 6409
	case 110:
		return "POP3" // RFC 1939, 4
	case 119:
		return "NNTP" // RFC 3977, 5.1
	case 143:
		return "IMAP" // RFC 9051, 7.1
	case 3306:
		return "MySQL" // MySQL, Client/Server Protocol, Connection Phase
	case 4222:
		return "NATS" // docs.nats.io, Client Protocol: INFO
	case 5900:
		return "VNC" // RFC 6143, 7.1.1
	}
	return ""
}

// hangs tells whether the mesh waits for the client on the port. Where that is the Service's to say, one is known that does not
// declare the protocol.
// to is the destination, nil for a port of the pod's own.
func (i *inspection) hangs(m *injectors.Mesh, port uint16, to *injectors.Endpoint) bool {
	answer := m.Injector.ServerFirst(i.target, port)
	if answer == injectors.Yes || answer == injectors.No && m.Injector.AppProtocol == "" {
		return answer == injectors.No
	}
	var declares injectors.Tri
	if to == nil {
		declares = i.plan.Declares(port)
	} else {
		declares = i.plan.DeclaresThere(*to)
	}
	return declares == injectors.No || declares == injectors.Unknown && answer == injectors.No
}

// listens finds containers of the user's that serve such a protocol through the proxy. What takes one port out of the mesh takes
// them all.
func (i *inspection) listens(m *injectors.Mesh) {
	var all []uint16
	i.listening(m, func(_ *injectors.Step, ports []uint16) { all = append(all, ports...) })
	i.listening(m, func(s *injectors.Step, ports []uint16) {
		i.find(s, i.at(s)+" serves "+spoken(ports)+": the server speaks first, "+m.Injector.Title+"'s proxy waits.",
			i.declare(m, injectors.ExcludeInbound, all...))
	})
}

// listening goes through those containers and their ports.
func (i *inspection) listening(m *injectors.Mesh, yield func(s *injectors.Step, ports []uint16)) {
	for _, list := range [...][]injectors.Step{i.plan.Inits, i.plan.Mains} {
		for k := range list {
			s := &list[k]
			c := i.plan.Container(s)
			if c == nil || s.Role != injectors.Own && !s.Wrapped || s.Phase == injectors.Init {
				continue
			}
			var ports []uint16
			for n := range c.Ports {
				if port := serves(&c.Ports[n]); port != 0 && m.Capture.Inbound.Takes(port) == injectors.Yes && i.hangs(m, port, nil) {
					ports = append(ports, port)
				}
			}
			if len(ports) > 0 {
				yield(s, ports)
			}
		}
	}
}

// spoken names ports with what they speak: port 25 (SMTP); ports 25 (SMTP), 143 (IMAP).
func spoken(ports []uint16) string {
	text := "port "
	if len(ports) > 1 {
		text = "ports "
	}
	for k, port := range ports {
		if k > 0 {
			text += ", "
		}
		text += strconv.Itoa(int(port)) + " (" + greets(port) + ")"
	}
	return report.Shorten(text, 80)
}

// serves returns the container's port if its server speaks first, else 0.
func serves(p *corev1.ContainerPort) uint16 {
	if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP || p.ContainerPort < 1 || p.ContainerPort > 65535 {
		return 0
	}
	port := uint16(p.ContainerPort)
	if greets(port) == "" {
		return 0
	}
	return port
}

// greeted finds containers, known or declared to need the network, that connect to such a port through the proxy.
func (i *inspection) greeted(m *injectors.Mesh) {
	for k := range i.plan.Inits {
		s := &i.plan.Inits[k]
		if s.Role != injectors.Dialer {
			continue
		}
		for n := range s.To {
			to := &s.To[n]
			if !i.speaksFirst(to.Port) || !i.hangs(m, to.Port, to) {
				continue
			}
			if state := i.plan.Network(s, *to); state == injectors.Meshed || state == injectors.Cut {
				i.find(s, i.at(s)+needed(s)+needs(*to)+": the server speaks first, "+m.Injector.Title+"'s proxy waits.",
					i.declare(m, injectors.ExcludePorts, to.Port))
			}
		}
	}
}

func needed(s *injectors.Step) string {
	if s.Declared {
		return " is declared to need "
	}
	return " needs "
}

func (i *inspection) speaksFirst(port uint16) bool {
	return greets(port) != "" || slices.Contains(i.config.ServerFirstPorts, int32(port))
}

// configuredPorts finds configured ports that the redirect takes from every container of the pod.
func (i *inspection) configuredPorts(m *injectors.Mesh) {
	var ports []uint16
	waits := " may wait there for the client to speak."
	for _, n := range i.config.ServerFirstPorts {
		port := uint16(n) //nolint:gosec // validated when loaded
		if m.Capture.TakesPort(port) != injectors.Yes {
			continue
		}
		switch m.Injector.ServerFirst(i.target, port) {
		case injectors.Yes:
			continue
		case injectors.No:
			waits = " waits there for the client to speak."
		case injectors.Unknown:
		}
		ports = append(ports, port)
	}
	if len(ports) == 0 {
		return
	}
	text := make([]string, len(ports))
	for k, port := range ports {
		text[k] = strconv.Itoa(int(port))
	}
	what := "port " + text[0] + " is"
	if len(text) > 1 {
		what = "ports " + report.Shorten(strings.Join(text, ", "), 60) + " are"
	}
	fix := i.openPorts(m, injectors.ExcludePorts, ports...)
	if fix == "" {
		fix = i.declare(m, injectors.ExcludePorts)
	}
	i.find(nil, what+" configured as server-first, and "+m.Injector.Title+"'s proxy"+waits, fix)
}

// declare is the advice: the Service's own word first, the exemption second.
func (i *inspection) declare(m *injectors.Mesh, means injectors.Meaning, ports ...uint16) string {
	line := i.openPorts(m, means, ports...)
	switch protocol := m.Injector.AppProtocol; {
	case protocol == "" && line == "":
		return "Keep the connections out of the mesh."
	case protocol == "":
		return line
	case line == "":
		return "Set the Service port's appProtocol: " + protocol
	default:
		return "Set the Service port's appProtocol: " + protocol + ", or a" + line[1:]
	}
}

// openPorts is the annotation that takes ports out of the redirect, as the union with what is out of it already; "" where there
// is none, or nobody knows what it would replace.
func (i *inspection) openPorts(m *injectors.Mesh, means injectors.Meaning, ports ...uint16) string {
	a := m.Injector.Annotation(means)
	if a == nil {
		return ""
	}
	list, known := m.List(means, i.target)
	if !known {
		return ""
	}
	more := make([]injectors.Ports, len(ports))
	for k, port := range ports {
		more[k] = injectors.Ports{First: port, Last: port}
	}
	value, err := a.AddPorts(list, more...)
	if err != nil {
		return ""
	}
	return i.annotate(a.Key, value)
}
