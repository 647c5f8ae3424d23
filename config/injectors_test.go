package config_test

import (
	"strings"
	"testing"

	"holdfast.dev/holdfast/config"
	"holdfast.dev/holdfast/injectors"
)

const described = `
injectors:
- name: acme-mesh
  webhooks: [inject.acme.example]
  mark: {annotation: acme.example/status, value: injected}
  ask: {label: acme.example/inject, value: "true"}
  containers:
  - {name: acme-init, role: installer}
  - {name: acme-proxy, role: proxy, uid: 1500}
  redirect: {excludeUIDs: [1500], inbound: true, excludeInboundPorts: "9090", waitsForClient: true}
  annotations: {excludeOutboundIPRanges: acme.example/exclude-ips, excludeInboundPorts: acme.example/exclude-inbound, hold: acme.example/wait}
- name: acme-agent
  containers:
  - {name: acme-fetch, role: dialer, place: first, address: "secrets.acme.svc:8443"}
meshes: [{injector: acme-mesh, cni: true}]
dialers: [{injector: acme-agent, cidrs: [203.0.113.0/24]}]
initNetwork: [{image: flyway/flyway, address: "db.shop.svc:5432"}, {name: wait-for-db}]
`

func TestDescribedInjectors(t *testing.T) {
	c := load(t, described)
	all := c.Catalogue().All
	mesh, agent := all[len(all)-2], all[len(all)-1]
	if mesh.Name != "acme-mesh" || mesh.Title != "acme-mesh" || mesh.Observe == nil || mesh.Hold == nil || len(mesh.Annotations) != 3 {
		t.Errorf("got mesh %+v, want one with an observation, hold and three annotations", mesh)
	}
	if a := mesh.Annotation(injectors.ExcludeInbound); a == nil || a.Key != "acme.example/exclude-inbound" || a.Check("9090,1-2") != nil || a.Check("x") == nil {
		t.Errorf("got inbound annotation %+v, want a list of ports", a)
	}
	if s := mesh.Read(&injectors.Sources{}, ""); s.ExcludeInbound != "9090" || mesh.ServerFirst == nil || mesh.ServerFirst(nil, 3306) != injectors.No {
		t.Errorf("got settings %+v, want port 9090 out of the inbound capture, and a proxy that waits for the client", s)
	}
	if agent.Name != "acme-agent" || agent.Observe != nil || agent.Dials == nil {
		t.Errorf("got agent %+v, want one that dials and redirects nothing", agent)
	}
	if got := c.KnownInits(); len(got) != 2 || got[0].Image != "flyway/flyway" || got[0].To.String() != "db.shop.svc:5432" || got[1].Name != "wait-for-db" {
		t.Errorf("got known init containers %+v", got)
	}
}

// TestDescribedInjectorsAreStrict holds that every mistake is named with its path, and all of them at once.
func TestDescribedInjectorsAreStrict(t *testing.T) {
	for name, test := range map[string]struct{ file, want string }{
		"a known name":                     {"injectors: [{name: istio, containers: [{name: a, role: helper}]}]", `injectors[0].name: Duplicate value: "istio"`},
		"a name twice":                     {"injectors: [{name: a, containers: [{name: b, role: helper}]}, {name: a, containers: [{name: c, role: helper}]}]", `injectors[1].name: Duplicate value: "a"`},
		"a known container":                {"injectors: [{name: a, containers: [{name: istio-proxy, role: helper}]}]", `injectors[0].containers[0].name: Duplicate value: "istio-proxy"`},
		"no containers":                    {"injectors: [{name: a}]", "injectors[0].containers: Required value"},
		"an unknown role":                  {"injectors: [{name: a, containers: [{name: b, role: x}]}]", `injectors[0].containers[0].role: Unsupported value: "x"`},
		"an unknown place":                 {"injectors: [{name: a, containers: [{name: b, role: helper, place: middle}]}]", `containers[0].place: Unsupported value: "middle"`},
		"a webhook":                        {"injectors: [{name: a, webhooks: [inject], containers: [{name: b, role: helper}]}]", `injectors[0].webhooks[0]: Invalid value: "inject"`},
		"a sign of two":                    {"injectors: [{name: a, mark: {annotation: a, label: b}, containers: [{name: b, role: helper}]}]", "injectors[0].mark: Invalid value"},
		"no sign at all":                   {"injectors: [{name: a, ask: {value: x}, containers: [{name: b, role: helper}]}]", "injectors[0].ask: Invalid value"},
		"an address":                       {"injectors: [{name: a, containers: [{name: b, role: dialer, address: nowhere}]}]", "containers[0].address: Invalid value"},
		"who does not dial":                {"injectors: [{name: a, containers: [{name: b, role: helper, address: 'a:1'}]}]", "containers[0].address: Forbidden"},
		"a native main":                    {"injectors: [{name: a, containers: [{name: b, role: dialer, main: true, native: true}]}]", "containers[0].native: Invalid value"},
		"a main installer":                 {"injectors: [{name: a, redirect: {}, containers: [{name: b, role: installer, main: true}, {name: c, role: proxy}]}]", "containers[0].main: Invalid value"},
		"a negative user":                  {"injectors: [{name: a, containers: [{name: b, role: helper, uid: -2}]}]", "containers[0].uid: Invalid value"},
		"no redirect":                      {"injectors: [{name: a, containers: [{name: b, role: proxy}]}]", "injectors[0].redirect: Required value"},
		"no proxy":                         {"injectors: [{name: a, redirect: {}, containers: [{name: b, role: installer}]}]", "injectors[0].redirect: Required value"},
		"no installer":                     {"injectors: [{name: a, redirect: {}, containers: [{name: b, role: proxy}]}]", "injectors[0].redirect: Required value"},
		"a plugin installer":               {"injectors: [{name: a, redirect: {cni: true}, containers: [{name: b, role: proxy}, {name: c, role: installer}]}]", "injectors[0].redirect.cni: Invalid value"},
		"late without cni":                 {"injectors: [{name: a, redirect: {late: true}, containers: [{name: b, role: proxy}, {name: c, role: installer}]}]", "injectors[0].redirect.late: Invalid value"},
		"ranges":                           {"injectors: [{name: a, redirect: {cni: true, excludeOutboundIPRanges: x}, containers: [{name: b, role: proxy}]}]", "excludeOutboundIPRanges: Invalid value"},
		"ports":                            {"injectors: [{name: a, redirect: {cni: true, excludeOutboundPorts: x}, containers: [{name: b, role: proxy}]}]", "excludeOutboundPorts: Invalid value"},
		"inbound ports":                    {"injectors: [{name: a, redirect: {cni: true, inbound: true, excludeInboundPorts: x}, containers: [{name: b, role: proxy}]}]", "redirect.excludeInboundPorts: Invalid value"},
		"ports of nothing":                 {"injectors: [{name: a, redirect: {cni: true, excludeInboundPorts: '1'}, containers: [{name: b, role: proxy}]}]", "redirect.inbound: Required value"},
		"a control plane":                  {"injectors: [{name: a, redirect: {cni: true, discovery: nowhere}, containers: [{name: b, role: proxy}]}]", "redirect.discovery: Invalid value"},
		"a discovery key":                  {"injectors: [{name: a, annotations: {discovery: 'not a key'}, containers: [{name: b, role: helper}]}]", "annotations.discovery: Invalid value"},
		"an inbound key":                   {"injectors: [{name: a, annotations: {excludeInboundPorts: 'not a key'}, containers: [{name: b, role: helper}]}]", "annotations.excludeInboundPorts: Invalid value"},
		"a key":                            {"injectors: [{name: a, annotations: {hold: 'not a key'}, containers: [{name: b, role: helper}]}]", "injectors[0].annotations.hold: Invalid value"},
		"another key":                      {"injectors: [{name: a, annotations: {others: ['not a key']}, containers: [{name: b, role: helper}]}]", "injectors[0].annotations.others[0]: Invalid value"},
		"a value of no key":                {"injectors: [{name: a, annotations: {holdValue: x}, containers: [{name: b, role: helper}]}]", "injectors[0].annotations.hold: Required value"},
		"an unknown field":                 {"injectors: [{name: a, container: []}]", "injectors[0].container: Forbidden: unknown key"},
		"too many":                         {"injectors: [" + strings.Repeat("{name: a, containers: [{name: b, role: helper}]},", 9) + "]", "injectors: Too many"},
		"a user in a list":                 {`injectors: [{name: a, redirect: {cni: true, excludeUIDs: [5, -1]}, containers: [{name: b, role: proxy}]}]`, `injectors[0].redirect.excludeUIDs[1]: Invalid value: -1`},
		"a user in a list twice":           {`injectors: [{name: a, redirect: {cni: true, excludeUIDs: [5, 5]}, containers: [{name: b, role: proxy}]}]`, `injectors[0].redirect.excludeUIDs[1]: Duplicate value: 5`},
		"a negative group":                 {`injectors: [{name: a, containers: [{name: b, role: helper, gid: -2}]}]`, `injectors[0].containers[0].gid: Invalid value: -2`},
		"a huge user":                      {`injectors: [{name: a, containers: [{name: b, role: helper, uid: 4294967296}]}]`, `injectors[0].containers[0].uid: Invalid value: 4294967296`},
		"a name of a container twice":      {`injectors: [{name: a, containers: [{name: b, role: helper}, {name: b, role: dialer}]}]`, `injectors[0].containers[1].name: Duplicate value: "b": already in injectors[0].containers[0].name`},
		"a name that begins as known ones": {`injectors: [{name: a, containers: [{name: csql-x, role: dialer}]}]`, `injectors[0].containers[0].name: Duplicate value: "csql-x": already in the catalogue: Cloud SQL`},
		"a webhook of Istio":               {`injectors: [{name: a, webhooks: [rev.namespace.sidecar-injector.istio.io], containers: [{name: b, role: helper}]}]`, `injectors[0].webhooks[0]: Duplicate value: "rev.namespace.sidecar-injector.istio.io": already in the catalogue: Istio`},
		"a webhook twice":                  {`injectors: [{name: a, webhooks: [a.b.c, a.b.c], containers: [{name: b, role: helper}]}]`, `injectors[0].webhooks[1]: Duplicate value: "a.b.c"`},
		"a webhook of two":                 {`injectors: [{name: a, webhooks: [a.b.c], containers: [{name: b, role: helper}]}, {name: c, webhooks: [a.b.c], containers: [{name: d, role: helper}]}]`, `injectors[1].webhooks[0]: Duplicate value: "a.b.c": already in injectors[0].webhooks[0]`},
		"a webhook that is no name":        {`injectors: [{name: a, webhooks: [A_b.c.d], containers: [{name: b, role: helper}]}]`, `injectors[0].webhooks[0]: Invalid value: "A_b.c.d"`},
		"a known key":                      {`injectors: [{name: a, redirect: {cni: true}, containers: [{name: b, role: proxy}], annotations: {excludeOutboundPorts: traffic.sidecar.istio.io/excludeOutboundPorts}}]`, `injectors[0].annotations.excludeOutboundPorts: Duplicate value: "traffic.sidecar.istio.io/excludeOutboundPorts": already in the catalogue: Istio`},
		"a key that begins as known ones":  {`injectors: [{name: a, containers: [{name: b, role: helper}], annotations: {others: [cloudsql.cloud.google.com/x]}}]`, `injectors[0].annotations.others[0]: Duplicate value: "cloudsql.cloud.google.com/x": already in the catalogue: Cloud SQL`},
		"a key twice":                      {`injectors: [{name: a, redirect: {cni: true}, containers: [{name: b, role: proxy}], annotations: {hold: a/b, others: [a/b]}}]`, `injectors[0].annotations.others[0]: Duplicate value: "a/b": already in injectors[0].annotations.hold`},
		"another key twice":                {`injectors: [{name: a, containers: [{name: b, role: helper}], annotations: {others: [a/b, a/c, a/b]}}]`, `injectors[0].annotations.others[2]: Duplicate value: "a/b"`},
		"a key of two":                     {`injectors: [{name: a, containers: [{name: b, role: helper}], annotations: {others: [a/b]}}, {name: c, containers: [{name: d, role: helper}], annotations: {others: [a/b]}}]`, `injectors[1].annotations.others[0]: Duplicate value: "a/b": already in injectors[0].annotations.others[0]`},
		"hold without a proxy":             {`injectors: [{name: a, containers: [{name: b, role: helper}], annotations: {hold: a/b}}]`, `injectors[0].annotations.hold: Forbidden: only with a container of the role proxy`},
		"native without a proxy":           {`injectors: [{name: a, containers: [{name: b, role: helper}], annotations: {native: a/b}}]`, `injectors[0].annotations.native: Forbidden: only with a container of the role proxy`},
		"ranges without a redirect":        {`injectors: [{name: a, containers: [{name: b, role: helper}], annotations: {excludeOutboundIPRanges: a/b}}]`, `injectors[0].annotations.excludeOutboundIPRanges: Forbidden: only with a redirect`},
		"first without a dialer":           {`injectors: [{name: a, containers: [{name: b, role: helper}], annotations: {first: a/b}}]`, `injectors[0].annotations.first: Forbidden: only with a container of the role dialer`},
		"a native helper":                  {`injectors: [{name: a, containers: [{name: b, role: helper, native: true}]}]`, `injectors[0].containers[0].native: Invalid value: true`},
		"a gated helper":                   {`injectors: [{name: a, containers: [{name: b, role: helper, gated: true}]}]`, `injectors[0].containers[0].gated: Invalid value: true`},
		"a gated installer":                {`injectors: [{name: a, redirect: {}, containers: [{name: b, role: installer, gated: true}, {name: c, role: proxy}]}]`, `injectors[0].containers[0].gated: Invalid value: true: installers are init containers, and end`},
		"a native validator":               {`injectors: [{name: a, redirect: {cni: true}, containers: [{name: b, role: validator, native: true}, {name: c, role: proxy}]}]`, `injectors[0].containers[0].native: Invalid value: true: validators are`},
		"a gated init container":           {`injectors: [{name: a, containers: [{name: b, role: dialer, gated: true}]}]`, `injectors[0].containers[0].gated: Invalid value: true`},
		"a value of a label":               {`injectors: [{name: a, ask: {label: a, value: 'b c'}, containers: [{name: b, role: helper}]}]`, `injectors[0].ask.value: Invalid value: "b c"`},
		"an init's name":                   {`initNetwork: [{name: Bad_Name}]`, `initNetwork[0].name: Invalid value: "Bad_Name"`},
		"every image":                      {`initNetwork: [{image: '*'}]`, `initNetwork[0].image: Invalid value: "*": must be a repository`},
		"an image by digest":               {`initNetwork: [{image: 'a@sha256:00'}]`, `initNetwork[0].image: Invalid value`},
		"an init twice":                    {`initNetwork: [{name: a, image: b}, {image: c}, {name: a, image: b}]`, `initNetwork[2]: Duplicate value`},
		"an empty init":                    {"initNetwork: [{address: 'a:1'}]", "initNetwork[0].name: Required value"},
		"a tagged image":                   {"initNetwork: [{image: 'flyway/flyway:11'}]", "initNetwork[0].image: Invalid value"},
		"an init's address":                {"initNetwork: [{name: a, address: 'http://'}]", "initNetwork[0].address: Invalid value"},
		"too many inits":                   {"initNetwork: [" + strings.Repeat("{name: a},", 65) + "]", "initNetwork: Too many"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load([]byte(test.file))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}
